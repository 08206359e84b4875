"""Keeps the BpfNode of this node: makes it, writes what has changed, and uploads what the operator asks for.

    keeper = NodeKeeper(api, "node-a", attribution, gather, upload)
    keeper.start()
    keeper.know(uid)            once the Node is seen, and whenever it is another

A thread of its own, with little processor time, beside the sessions: nothing of it holds them up, and an agent that may not write
such objects traces all the same. The object goes with its Node; deleted by hand, it comes back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from kubebpf.agent.cluster.api import Api, ApiError, ApiUnavailableError
from kubebpf.agent.cluster.trace import GROUP_VERSION, Object, format_time
from kubebpf.agent.cluster.upload import step_back
from kubebpf.agent.cluster.watch import Backoff, Change, Changed, Listed, Removed, Resource, Watch
from kubebpf.agent.node.facts import Facts
from kubebpf.agent.node.features import Feature

log = logging.getLogger(__name__)

NODES = f"/apis/{GROUP_VERSION}/bpfnodes"
LOOK_SECONDS = 30.0  # between two looks whether events come to their pods
CONFLICT = 409
# A right that is missing is given by a person, if at all.
_FIRST, _LAST = 1.0, 300.0


class Uploads(Protocol):
    """What uploads; see `upload.Upload`."""

    def bring(self, digest: str) -> int:
        """Make the pieces that are not there."""

    def stop(self) -> None:
        """Begin no other piece."""


class NodeKeeper:
    """See the module.

    Args:
        node: its name.
        gather: what there is to say of the node; called once, in the thread.
        attribution: whether events come to their pods, now.
        upload: brings the type information.
    """

    def __init__(
        self,
        api: Api,
        node: str,
        gather: Callable[[], Facts],
        attribution: Callable[[], Feature],
        upload: Uploads,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._api, self._node, self._gather, self._attribution, self._upload = api, node, gather, attribution, upload
        self._look_seconds = look_seconds
        self._path = f"{NODES}/{node}"
        self._watch = Watch(api, Resource("bpfnodes", NODES, {"fieldSelector": f"metadata.name={node}"}), self._take)
        self._changed = threading.Condition()
        self._uid = ""
        self._listed = self._stopping = self._news = False
        self._stored: Object | None = None
        self._facts: Facts | None = None
        self._attributed: Feature | None = None
        self._attributed_at = time.monotonic()
        self._backoff, self._uploading = Backoff(_FIRST, _LAST), Backoff(_FIRST, _LAST)
        self._thread = threading.Thread(target=self._run, name="bpfnode", daemon=True)

    # -- from other threads

    def start(self) -> None:
        """Begin."""
        self._watch.start()
        self._thread.start()

    def know(self, uid: str) -> None:
        """The Node's uid; "" while there is no Node."""
        if uid != self._uid:
            with self._changed:
                self._uid, self._news = uid, True
                self._changed.notify()

    def stop(self) -> None:
        """Write nothing more. Nobody waits for the thread: it ends with its current request."""
        self._watch.stop()
        self._upload.stop()
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _take(self, change: Change) -> None:
        with self._changed:
            match change:
                case Listed(objects=objects):
                    self._listed, self._stored = True, next(iter(objects), None)
                case Changed(object=obj) if not _older(obj, self._stored):
                    self._stored = obj
                case Removed(object=obj) if not _older(obj, self._stored):
                    self._stored = None
            self._news = True
            self._changed.notify()

    # -- the thread

    def _run(self) -> None:
        step_back()
        while not self._stopping:
            try:
                wait = self._step()
            except ApiUnavailableError as error:
                wait = self._failed(error, logging.WARNING)
            except ApiError as error:
                wait = self._failed(error, logging.ERROR)
            except Exception:
                log.exception("the BpfNode of %s", self._node)
                wait = _LAST
            self._sleep(wait)

    def _failed(self, error: Exception, level: int) -> float:
        log.log(level if self._backoff.fresh else logging.DEBUG, "BpfNode %s: %s", self._node, error)
        return self._backoff.next()

    def _sleep(self, seconds: float) -> None:
        # What comes during a step is news for the next one.
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._stopping, seconds)

    def _step(self) -> float:
        """Do what is to be done. Returns the seconds to the next look, if nothing happens before."""
        with self._changed:
            uid, listed, stored, self._news = self._uid, self._listed, self._stored, False
        if not uid or not listed:
            return self._look_seconds
        status = self._status()
        if stored is None:
            stored = self._create(uid)
        if {name: said for name, said in (stored.get("status") or {}).items() if name != "observedAt"} != _without_null(status):
            self._write(status)
        self._backoff.reset()
        return min(self._look_seconds, self._answer(stored))

    def _status(self) -> Object:
        if self._facts is None:
            self._facts = self._gather()
            lacking = [feature.name for feature in self._facts.features if not feature.supported]
            log.info("kernel %s; not here: %s", self._facts.kernel, ", ".join(lacking) or "nothing")
        return self._facts.as_json() | {"features": [f.as_json() for f in (*self._facts.features, self._look())]}

    def _look(self) -> Feature:
        """Whether events come to their pods. A pod that just starts has no cgroup yet, and a node may be empty for a while:
        only what stays so is told."""
        found, told, now = self._attribution(), self._attributed, time.monotonic()
        if found.supported:
            self._attributed_at = now
            better = told is None or not (told.supported and found.message)
        else:
            better = told is None or now - self._attributed_at >= self._look_seconds
        if better:
            self._attributed = found
        return self._attributed or found

    def _create(self, uid: str) -> Object:
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": uid}
        body = {"apiVersion": GROUP_VERSION, "kind": "BpfNode", "metadata": {"name": self._node, "ownerReferences": [owner]}}
        try:
            return self._know(self._api.request("POST", NODES, body))
        except ApiError as error:
            if error.code != CONFLICT:
                raise
            return {}

    def _write(self, status: Object) -> None:
        body = {"status": status | {"observedAt": format_time(datetime.now(UTC))}}
        self._know(self._api.request("PATCH", f"{self._path}/status", body))

    def _know(self, obj: Object) -> Object:
        with self._changed:
            if not _older(obj, self._stored):
                self._stored = obj
        return obj

    def _answer(self, stored: Object) -> float:
        """Upload what is asked for. Returns the seconds to the next look, as long as the question stands."""
        asked, types = (stored.get("spec") or {}).get("uploadBTF"), self._facts.btf if self._facts else None
        if not asked or types is None or asked != types.digest:
            self._uploading.reset()
            return self._look_seconds
        try:
            began = time.monotonic()
            if made := self._upload.bring(types.digest):
                log.info("type information uploaded in %d pieces, %.1f s", made, time.monotonic() - began)
        except (ApiError, ApiUnavailableError, OSError) as error:
            log.log(logging.WARNING if self._uploading.fresh else logging.DEBUG, "type information: %s", error)
        # The operator may have thrown away what it could not read.
        return self._uploading.next()


def _older(obj: Object, than: Object | None) -> bool:
    """Whether an object is an earlier state of another one: a watch tells what was written here once more."""
    if than is None or obj["metadata"].get("uid") != than["metadata"].get("uid"):
        return False
    mine, other = (str(o["metadata"].get("resourceVersion", "")) for o in (obj, than))
    return mine.isdecimal() and other.isdecimal() and int(mine) < int(other)


def _without_null(status: Object) -> Object:
    return {name: said for name, said in status.items() if said is not None}
