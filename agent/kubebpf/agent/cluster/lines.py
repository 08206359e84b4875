"""Records of a session as printed lines, each with its time and pod.

for line in Lines(session, resolver, identities).of(record):
    line.text -> "hello from 4711\\n"

clear() and zero() print nothing; they are done here, in their place among the lines.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from kubebpf.agent.cluster.identity import Identities
from kubebpf.agent.cluster.report import Line
from kubebpf.agent.output.dispatch import Dispatcher
from kubebpf.agent.output.files import NONE, Files
from kubebpf.agent.output.node import NodeResolver
from kubebpf.agent.output.writers import TextOutput
from kubebpf.agent.session.ring import Record
from kubebpf.agent.session.session import Session
from kubebpf.agent.symbols.known import KnownPlaces
from kubebpf.agent.symbols.place import Place
from kubebpf.compiler.artifact.decode import Resolver
from kubebpf.compiler.artifact.manifest import Manifest
from kubebpf.compiler.artifact.values import Cgroup

PRINTED = 10_000  # keys of a map that may have more: a line of the log, and the memory of a node, have their limits
NODE_USERS = Path("/proc/1/root/etc/passwd")  # of the node: the agent shares its pid namespace


class ClusterResolver(NodeResolver):
    """What this node can say about raw numbers; a cgroup is named by its pod."""

    def __init__(self, manifest: Manifest, identities: Identities) -> None:
        super().__init__(manifest)
        self._identities = identities
        self.places = KnownPlaces()

    def cgroup(self, id: int) -> Cgroup:
        """The id with path and pod."""
        return self._identities.cgroup(id)

    def owner(self, kind: str, id: int) -> str:
        """The name of the pod, namespace, container or node."""
        return self._identities.owner(kind, id)

    def cgroup_path(self, id: int, pattern: str) -> Cgroup:
        """The path with its pod."""
        shown = super().cgroup_path(id, pattern)
        known = self._identities.cgroup(id)
        return Cgroup(id, known.node, shown.path and known.path, known.pod, as_path=True)

    def _user_places(self, pid: int, addresses: Sequence[int]) -> list[Place | None]:
        found = zip(addresses, super()._user_places(pid, addresses), strict=True)
        return [self.places.note(pid, address, place) for address, place in found]

    def username(self, uid: int) -> str:
        """The name of a user of the node: the agent's own image knows none of them."""
        return node_users(NODE_USERS).get(uid) or super().username(uid)

    def _path(self, id: int) -> str:
        # The directory is kept current; the local mode's own walk through the tree is not needed.
        return self._identities.cgroup(id).path


def node_users(passwd: Path) -> dict[int, str]:
    """The users of a passwd file (passwd(5)), by number; none when it cannot be read."""
    try:
        return _users(passwd, passwd.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=1)
def _users(passwd: Path, changed: int) -> dict[int, str]:
    rows = [line.split(":") for line in passwd.read_text(errors="replace").splitlines()]
    # Of two names of one number the first counts, as for getpwuid.
    return {int(row[2]): row[0] for row in reversed(rows) if len(row) > 2 and row[2].isdecimal()}


class Lines:
    """Turns records into lines.

    Args:
        session: whose records they are; clear() and zero() change its maps.
        resolver: for their arguments.
        identities: for the pod of an event.
        allow_unsafe: let system() run its command.
        files: that cat() may read and skboutput() write.
    """

    def __init__(
        self, session: Session, resolver: Resolver, identities: Identities, allow_unsafe: bool = False, files: Files = NONE
    ) -> None:
        self._identities = identities
        self._said: list[tuple[str, str]] = []
        output = TextOutput(lambda kind, text: self._said.append((kind, text)))
        self._dispatch = Dispatcher(session, resolver, output, allow_unsafe, files=files, most=PRINTED)

    def expect(self, records: Sequence[Record]) -> None:
        """Look at records that will come, all in their order."""
        self._dispatch.expect(records)

    def close(self) -> None:
        """Close the files that were written."""
        self._dispatch.close()

    def of(self, record: Record) -> list[Line]:
        """The lines of a record; none when it prints nothing."""
        self._dispatch(record)
        if not self._said:
            return []
        said, self._said[:] = self._said[:], []
        pod = self._identities.pod(record.context.cgroup) if record.context else None
        return [Line(_moment(record), kind, text, pod) for kind, text in said if text]


def _moment(record: Record) -> datetime:
    if record.context is None:
        return datetime.now(UTC)
    boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return datetime.fromtimestamp((boot_ns + record.context.time_ns) / 1e9, UTC)
