#!/usr/bin/env python3
"""Write the tables that kubebpf packages for places without tracefs, from the tracefs and the BTF of the running kernel.

    sudo .venv/bin/python hack/gen-tracepoints.py

    compiler/kubebpf/compiler/kernel/data/syscalls.json      {"read": "unsigned int fd, char * buf, size_t count", …}
    compiler/kubebpf/compiler/kernel/data/tracepoints.json   {"block": {"block_rq": "block_rq_insert block_rq_issue", …}, …}

The second one gives the class (`trace_event_raw_<class>`) of each event; events that are a class of their own stand under "".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kubebpf.compiler.kernel.btf import Btf
from kubebpf.compiler.kernel.formats import Formats
from kubebpf.compiler.kernel.tracepoints import Tracepoints

DATA = Path(__file__).parent.parent / "compiler/kubebpf/compiler/kernel/data"
RAW = "trace_event_raw_"


def syscalls(formats: Formats) -> dict[str, str]:
    """Name -> C declarations of the arguments, the system call's number left out."""
    found = {}
    for category, event in formats.names:
        if category == "syscalls" and event.startswith("sys_enter_"):
            fields = formats.read(category, event) or ()
            found[event.removeprefix("sys_enter_")] = ", ".join(f.declaration for f in fields[1:])
    return found


def classes(formats: Formats, tracepoints: Tracepoints) -> dict[str, dict[str, str]]:
    """Category -> class -> the events of it, as one string."""
    found: dict[str, dict[str, list[str]]] = {}
    for category, event in formats.names:
        if category == "syscalls":
            continue
        args = tracepoints.args(category, event)
        name = args.struct.name.removeprefix(RAW) if args and args.struct else ""
        found.setdefault(category, {}).setdefault("" if name == event else name, []).append(event)
    return {category: {name: " ".join(events) for name, events in groups.items()} for category, groups in found.items()}


def write(name: str, data: object) -> None:
    """One line a top-level entry: small, and a change shows in a diff."""
    text = json.dumps(data, sort_keys=True, indent=0, separators=(",", ":"), ensure_ascii=False)
    (DATA / name).write_text(text + "\n")


def main() -> int:
    """Write both files; 1 when this machine has no tracefs."""
    formats = Formats.find()
    if formats is None:
        print("no tracefs: mount -t tracefs nodev /sys/kernel/tracing", file=sys.stderr)
        return 1
    DATA.mkdir(exist_ok=True)
    write("syscalls.json", syscalls(formats))
    write("tracepoints.json", classes(formats, Tracepoints(Btf.read(Path("/sys/kernel/btf/vmlinux")), formats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
