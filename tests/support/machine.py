"""What this machine lacks for a kind of test, as a sentence for the skip (or, under KUBEBPF_NO_SKIP=1, the failure)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from support.cgroups import cgroup2_mount


def lacks_btf() -> str | None:
    """Why nothing can be compiled for the running kernel."""
    return None if Path("/sys/kernel/btf/vmlinux").exists() else "needs a kernel with BTF (/sys/kernel/btf/vmlinux)"


def lacks_kernel() -> str | None:
    """Why BPF programs cannot be loaded here."""
    if os.geteuid() != 0:
        return "needs root"
    if (reason := lacks_btf()) is not None:
        return reason
    if not Path("/sys/kernel/tracing/events").is_dir():
        return "needs tracefs: mount -t tracefs tracefs /sys/kernel/tracing"
    if not os.path.ismount("/sys/fs/bpf"):
        return "needs bpffs: mount -t bpf bpf /sys/fs/bpf"
    if shutil.which("gcc") is None:
        return "needs gcc for its helper processes"
    return None


def lacks_cluster() -> str | None:
    """Why no control plane and no pods can be made here."""
    if os.geteuid() != 0:
        return "needs root to make the cgroups of pods"
    try:
        cgroup2_mount()
    except LookupError as error:
        return str(error)
    if shutil.which("gcc") is None:
        return "needs gcc for its helper processes"
    return None


def lacks_vm() -> str | None:
    """Why no virtual machine can be started here."""
    if os.geteuid() != 0:
        return "needs root to serve this machine's files to the virtual machine"
    cache = Path(os.environ.get("KUBEBPF_VM", Path.home() / ".cache/kubebpf/vm"))
    return None if (cache / "bzImage").exists() else "needs the virtual machine: hack/vm.sh setup"


LACKS: dict[str, Callable[[], str | None]] = {
    "btf": lacks_btf,
    "kernel": lacks_kernel,
    "cluster": lacks_cluster,
    "vm": lacks_vm,
}
