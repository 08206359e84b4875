"""The operator's settings: from the command line, or from the environment under `kopf run -m kubebpf.operator.handlers`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class CompileLimits:
    """What one compilation may use. Beyond it the worker is ended and the program refused.

    Args:
        cpu: seconds of processor time.
        wall: seconds from the request to the answer.
        memory: bytes of address space of the worker, LLVM and the kernel's types counted.
        output: bytes of an object. A ConfigMap holds 1 MiB of base64, etcd's request limit is 1.5 MiB.
    """

    cpu: int = 20
    wall: float = 40.0
    memory: int = 4 << 30
    output: int = 700 << 10


@dataclass(frozen=True, slots=True)
class Terms:
    """The times of the election among replicas, in seconds.

    Args:
        duration: how long a lease holds without renewal: when a leader vanishes, another takes over after this and one `retry`.
        give_up: after so long without a renewal the leader stops by itself; shorter than `duration`.
        retry: between two renewals, and between two looks of a follower.
    """

    duration: float = 8.0
    give_up: float = 6.0
    retry: float = 1.5


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the admission webhook is served, and who is to be told of its authority.

    Args:
        port: on all addresses.
        hosts: names and addresses that API servers call; the certificate is about them.
        configurations: `validating/NAME` and `mutating/NAME` of webhook configurations whose caBundle is kept right.
    """

    port: int
    hosts: tuple[str, ...]
    configurations: tuple[str, ...] = ()


Unsafe = Literal["Never", "Reviewed", "Always"]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that an operator can be told.

    Args:
        namespace: the system namespace, where objects are stored.
        btf: the kernel's types to compile against; None: this machine's.
        status_interval: seconds between two writes of results of one trace.
        resync: seconds between two looks at stored objects and left-over reports.
        collect_after: seconds that an object without a trace is kept.
        identity: of this replica among others, the same after a restart of its container; empty: the host's name and something
            random.
        key_lifetime: how long a key signs objects before a new one is made.
        key_overlap: how long agents trust a key after its successor has begun to sign.
        unsafe: who may use unsafe helpers: nobody; whoever has the verb `useunsafe`, asked at admission; everybody who may trace.
        webhook: None: no admission webhook.
        patience: seconds that the types of other kernels are awaited before a trace says that they are missing.
        views: the folder for the uploaded types of other kernels; None: a temporary one.
        election: the times of the election among replicas; None: this operator is alone and always leads.
    """

    namespace: str
    btf: Path | None = None
    status_interval: float = 15.0
    resync: float = 60.0
    collect_after: float = 5.0
    limits: CompileLimits = field(default_factory=CompileLimits)
    identity: str = ""
    key_lifetime: timedelta = timedelta(days=30)
    key_overlap: timedelta = timedelta(hours=1)
    unsafe: Unsafe = "Reviewed"
    webhook: Webhook | None = None
    patience: float = 60.0
    views: Path | None = None
    election: Terms | None = field(default_factory=Terms)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Config:
        """KUBEBPF_NAMESPACE (default kubebpf-system), KUBEBPF_BTF, KUBEBPF_VIEWS, KUBEBPF_IDENTITY; in seconds KUBEBPF_PATIENCE,
        KUBEBPF_STATUS_INTERVAL, KUBEBPF_KEY_LIFETIME and KUBEBPF_KEY_OVERLAP."""
        btf, views = environment.get("KUBEBPF_BTF"), environment.get("KUBEBPF_VIEWS")
        return cls(
            namespace=environment.get("KUBEBPF_NAMESPACE", "kubebpf-system"),
            btf=Path(btf) if btf else None,
            views=Path(views) if views else None,
            patience=float(environment.get("KUBEBPF_PATIENCE", "60")),
            status_interval=float(environment.get("KUBEBPF_STATUS_INTERVAL", "15")),
            identity=environment.get("KUBEBPF_IDENTITY", ""),
            key_lifetime=_seconds(environment, "KUBEBPF_KEY_LIFETIME", timedelta(days=30)),
            key_overlap=_seconds(environment, "KUBEBPF_KEY_OVERLAP", timedelta(hours=1)),
        )


def _seconds(environment: Mapping[str, str], name: str, default: timedelta) -> timedelta:
    return timedelta(seconds=float(environment[name])) if name in environment else default
