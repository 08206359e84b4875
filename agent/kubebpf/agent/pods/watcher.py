"""Keeps a PodDirectory current with the cgroup tree: inotify on every directory, and a rescan now and then.

watcher = CgroupWatcher(directory, on_change=loop.wake)
watcher.start()      -> a new container's cgroup is known about a millisecond after mkdir
watcher.close()
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

from inotify_simple import Event, INotify, flags  # type: ignore[import-untyped]

from kubebpf.agent.pods.directory import PodDirectory, walk

log = logging.getLogger(__name__)

# Covers what inotify cannot promise: a full queue, and fs.inotify.max_user_watches.
RESCAN_SECONDS = 60.0
AFTER_FAILURE_SECONDS = 1.0
_MASK = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.ONLYDIR
_APPEARS = flags.CREATE | flags.MOVED_TO


class CgroupWatcher:
    """A thread that tells the directory about new and gone cgroups.

    Args:
        directory: to be kept current.
        on_change: called in the thread after the pod cgroups have changed.
        rescan_seconds: between two readings of the whole tree.
    """

    def __init__(self, directory: PodDirectory, on_change: Callable[[], None], rescan_seconds: float = RESCAN_SECONDS) -> None:
        self._directory = directory
        self._on_change = on_change
        self._rescan_ms = int(rescan_seconds * 1000)
        self._inotify = INotify()
        self._watched: dict[int, Path] = {}
        self._full = False
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="cgroups", daemon=True)

    def start(self) -> None:
        """Read the tree once, then follow it in a thread. What exists when this returns is known."""
        self._rescan()
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        os.write(self._stop_write, b"x")
        if self._thread.is_alive():
            self._thread.join()
        self._inotify.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _run(self) -> None:
        poller = self._poller()
        while True:
            ready = dict(poller(self._rescan_ms))
            if self._stop_read in ready:
                return
            before = self._directory.version
            try:
                self._handle(self._inotify.read(timeout=0)) if ready else self._rescan()
                self._directory.prune()
            except OSError:
                # The next event, or the next reading of the whole tree, finds what is missing now.
                log.exception("cgroups")
                time.sleep(AFTER_FAILURE_SECONDS)
            if self._directory.version != before:
                self._on_change()

    def _poller(self) -> Callable[[int], list[tuple[int, int]]]:
        poller = select.poll()
        for fd in (self._inotify.fileno(), self._stop_read):
            poller.register(fd, select.POLLIN)
        return poller.poll

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if event.mask & flags.Q_OVERFLOW:
                self._rescan()
            elif event.mask & flags.IGNORED:
                self._watched.pop(event.wd, None)
            elif event.mask & flags.ISDIR and event.wd in self._watched:
                self._changed(self._watched[event.wd] / event.name, bool(event.mask & _APPEARS))

    def _changed(self, directory: Path, appears: bool) -> None:
        if not appears:
            self._directory.gone(self._directory.mount.path_of(directory))
            return
        # Children may have been made before the watch was there: watch first, then look.
        for found in walk(directory):
            self._watch(found)
            self._directory.appeared(found)

    def _rescan(self) -> None:
        self._directory.rescan(self._watch)

    def _watch(self, directory: Path) -> None:
        try:
            # The same descriptor again when the directory is watched already.
            self._watched[self._inotify.add_watch(directory, _MASK)] = directory
        except FileNotFoundError:
            return
        except OSError as error:
            if not self._full:
                log.warning("inotify: %s; new pods are noticed only every %d s", error, self._rescan_ms // 1000)
            self._full = True
