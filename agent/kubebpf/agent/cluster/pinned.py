"""What this node's traces have pinned: which folder belongs to which trace, and which belongs to none any more.

pinned = Pinned(Path("/sys/fs/bpf/kubebpf"), "node-a")
pinned.new(identity, session)      -> Pins of /sys/fs/bpf/kubebpf/node-a/UID-GENERATION-DIGEST-SESSION
pinned.newest(identity)            -> those of an earlier agent, with what it kept
pinned.keep_only(uid, session)     the trace's other folders go

Only folders of this node's name are looked at: a machine may have agents of several made-up nodes, in tests.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from kubebpf.agent.cluster.desired import Identity
from kubebpf.agent.cluster.report import node_label
from kubebpf.agent.cluster.trace import Uid
from kubebpf.agent.session.pins import Kept, Pins, StalePinsError, check_private, private_folder

log = logging.getLogger(__name__)

DEFAULT = Path("/sys/fs/bpf/kubebpf")
_LOOK_SECONDS = 0.1
_DIGEST, _SESSION = 16, 12  # characters of each in a folder's name


class Pinned:
    """The pins of one node.

    Args:
        root: in a bpffs; None: nothing is pinned.
        node: the node's name.
    """

    def __init__(self, root: Path | None, node: str) -> None:
        # bpffs takes no names with dots, and no name of a node has an underscore.
        self._folder = root / node_label(node).replace(".", "_") if root else None
        self._warned = False
        self._lock = -1

    def new(self, identity: Identity, session: str) -> Pins | None:
        """Where a session is to be pinned; None: nowhere."""
        if self._folder is None or self._warned:
            return None
        return Pins(self._folder / f"{_stem(identity)}-{session[:_SESSION]}")

    def newest(self, identity: Identity) -> Iterator[tuple[Pins, Kept]]:
        """What earlier agents left of a session, the last one first. What cannot be used is removed."""
        found = list[tuple[str, Pins, Kept]]()
        for path in self._folders():
            if path.name.startswith(f"{_stem(identity)}-"):
                pins = Pins(path)
                try:
                    kept = pins.read()
                    found.append((str(kept.note["startedAt"]), pins, kept))
                except (StalePinsError, KeyError) as error:
                    log.warning("%s: %s; starting afresh", path.name, error)
                    _remove(path)
        for _, pins, kept in sorted(found, key=lambda row: row[0], reverse=True):
            yield pins, kept

    def refused(self, error: Exception) -> None:
        """Pinning does not work here: told once, and not tried again."""
        if not self._warned:
            log.warning("nothing is pinned: %s; counts will start afresh when this agent is started again", error)
        self._warned = True

    def keep_only(self, uid: Uid, session: str = "") -> None:
        """Remove what is pinned of a trace, but for one session."""
        for path in self._folders():
            if path.name.startswith(f"{uid}-") and not (session and path.name.endswith(f"-{session[:_SESSION]}")):
                _remove(path)

    def sweep(self, uids: Collection[Uid]) -> None:
        """Remove what belongs to no trace."""
        for path in self._folders():
            if not any(path.name.startswith(f"{uid}-") for uid in uids):
                log.info("%s: removed, its trace is gone", path.name)
                _remove(path)

    def own(self, stopped: Callable[[], bool]) -> bool:
        """Be the only agent that works with these pins: wait until another one has ended, as in an update that starts the new pod
        first. The lock ends with the process.

        Args:
            stopped: asked while waiting.

        Returns:
            whether to go on; not, when it was stopped meanwhile.
        """
        if self._folder is None:
            return True
        try:
            private_folder(self._folder)
            self._lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            self.refused(error)
            return True
        said = False
        while not stopped():
            with suppress(BlockingIOError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            if not said:
                log.warning("%s: another agent of this node is still at work; waiting for its end", self._folder)
            said = True
            time.sleep(_LOOK_SECONDS)
        return False

    def remove(self) -> None:
        """Remove all that is pinned on this node, and its folder: no agent will come."""
        self.sweep(())
        if self._folder is not None:
            with suppress(OSError):
                self._folder.rmdir()

    def _folders(self) -> list[Path]:
        if self._folder is None:
            return []
        try:
            check_private(self._folder)
            return sorted(self._folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            self.refused(error)
            return []


def _stem(identity: Identity) -> str:
    return f"{identity.uid}-{identity.generation}-{identity.digest.rpartition(':')[2][:_DIGEST]}"


def _remove(path: Path) -> None:
    try:
        Pins(path).remove()
    except OSError as error:
        log.warning("%s cannot be removed: %s", path, error)
