"""What a process must be allowed to do before it can load BPF programs."""

from __future__ import annotations

from pathlib import Path

from kubebpf.cli.problems import error_line

_BITS = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


def require_rights() -> None:
    """Refuse early what the kernel would refuse with EPERM.

    Raises:
        UserError: this process may not load BPF programs (capabilities(7)).
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    held = int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)
    has = {name for name, bit in _BITS.items() if held >> bit & 1}
    if "CAP_SYS_ADMIN" not in has and not {"CAP_BPF", "CAP_PERFMON"} <= has:
        raise error_line("loading BPF programs needs root, or the capabilities CAP_BPF and CAP_PERFMON: try sudo kubebpf …")
