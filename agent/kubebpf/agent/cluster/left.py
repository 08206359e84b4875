"""The scopes of sessions that an earlier agent left: brought up to date before anything slow happens.

left = Left(pinned)
left.open(trace, identity)            once, when all lists have come
left.sync(pods, namespaces)           pods that came meanwhile are counted from here on, and relabelled ones no longer
left.close(uid)                       its session is taken up, or gone

Taking up a session needs its object, which is fetched and checked, one trace after the other; its scope is a pinned map that
needs nothing of that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from kubebpf.agent.cluster.desired import Identity
from kubebpf.agent.cluster.pinned import Pinned
from kubebpf.agent.cluster.target import Namespaces
from kubebpf.agent.cluster.trace import Trace, Uid
from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.map import BpfMap
from kubebpf.agent.pods.directory import Cgroup
from kubebpf.agent.pods.pod import Pod
from kubebpf.compiler.artifact.manifest import SCOPE

log = logging.getLogger(__name__)

_ONE = (1).to_bytes(8, "little")


@dataclass(frozen=True, slots=True)
class _Scope:
    trace: Trace
    cgroups: BpfMap


class Left:
    """See the module."""

    def __init__(self, pinned: Pinned) -> None:
        self._pinned = pinned
        self._scopes: dict[Uid, _Scope] = {}

    def open(self, trace: Trace, identity: Identity) -> None:
        """Find what was left of a session that is to go on."""
        for pins, kept in self._pinned.newest(identity):
            try:
                if (scope := pins.opened_map(kept, SCOPE)) is not None:
                    self._scopes[identity.uid] = _Scope(trace, scope)
            except LibbpfError as error:
                log.debug("%s: %s", trace.name, error)  # told when it is to be taken up
            return

    def sync(self, pods: Sequence[tuple[Pod, list[Cgroup]]], namespaces: Namespaces | None) -> None:
        """Make the scopes what the traces' targets mean now; one that cannot be evaluated yet stays as it was."""
        for uid, scope in list(self._scopes.items()):
            target = scope.trace.pod_target
            if target.asks_namespaces and namespaces is None:
                continue
            try:
                _make(scope.cgroups, {id.to_bytes(8, "little") for id in target.choose(pods, namespaces).cgroups})
            except LibbpfError as error:
                log.warning("%s: its scope: %s", scope.trace.name, error)
                self.close(uid)

    def close(self, uid: Uid) -> None:
        """Somebody else sees to it now. A second call does nothing."""
        if (scope := self._scopes.pop(uid, None)) is not None:
            scope.cgroups.close()


def _make(scope: BpfMap, wanted: set[bytes]) -> None:
    there = set(scope.keys())
    for key in there - wanted:
        scope.delete(key)
    for key in wanted - there:
        scope.update(key, _ONE)
