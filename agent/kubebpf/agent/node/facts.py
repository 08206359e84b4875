"""What a node is for traces: kernel, type information, features; the status of its BpfNode.

facts = gather(Trying(pins=…))
facts.as_json()  -> {"kernelRelease": "6.12.48", "btf": {"digest": "sha256:…", "size": 6291456}, "features": […], …}
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.library import possible_cpus
from kubebpf.agent.libbpf.trials import own_cgroup_id
from kubebpf.agent.node.features import Feature, Trying, features
from kubebpf.agent.pods.cgroups import CgroupId
from kubebpf.agent.pods.directory import PodDirectory

ATTRIBUTION = "attribution"


@dataclass(frozen=True, slots=True)
class Types:
    """A kernel's type information: `sha256:` and the digest of its bytes, and their number."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change while the kernel runs, and the features."""

    kernel: str
    architecture: str
    cpus: int
    agent: str
    btf: Types | None
    features: tuple[Feature, ...]

    def as_json(self) -> dict[str, object]:
        """The status of a BpfNode, without a time. A member that is null takes an earlier one away."""
        return {
            "kernelRelease": self.kernel,
            "architecture": self.architecture,
            "cpus": self.cpus,
            "agentVersion": self.agent,
            "btf": {"digest": self.btf.digest, "size": self.btf.size} if self.btf else None,
            "features": [feature.as_json() for feature in self.features],
        }


def gather(trying: Trying) -> Facts:
    """Look, and try everything out; takes some tenths of a second.

    Raises:
        LibbpfError: this machine does not even say how many CPUs it has.
    """
    machine = os.uname()
    return Facts(
        machine.release, machine.machine, possible_cpus(), agent_version(), type_information(trying.btf), tuple(features(trying))
    )


def type_information(path: Path) -> Types | None:
    """The digest of a kernel's type information; None when it has none."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Types(f"sha256:{digest}", file.tell())
    except OSError:
        return None


def agent_version() -> str:
    """Of this program; "" when it runs from a folder."""
    try:
        return version("kubebpf")
    except PackageNotFoundError:
        return ""


def attribution(directory: PodDirectory) -> Feature:
    """Whether events come to their pods: programs see cgroup ids of the tree that is looked at, and pods are found in it."""
    where = directory.mount.start
    try:
        own = own_cgroup_id()
    except LibbpfError as error:
        return Feature(ATTRIBUTION, False, f"no program could be asked for its cgroup: {error}")
    if where == directory.mount.mount_point and directory.path_of(CgroupId(own)) is None:
        return Feature(ATTRIBUTION, False, f"programs see cgroup {own} for this agent, and nothing below {where} has that id")
    pods = directory.pods()
    if any(cgroups for _, cgroups in pods):
        return Feature(ATTRIBUTION, True)
    if running := [pod for pod, _ in pods if pod.containers]:
        return Feature(ATTRIBUTION, False, f"{len(running)} pods run here, and none has a cgroup of a known layout below {where}")
    return Feature(ATTRIBUTION, True, "no pod runs here yet")
