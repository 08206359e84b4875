#!/usr/bin/env python3
"""Compile the C declarations of the libbpf binding, so that no run of kubebpf has to parse C.

.venv/bin/python hack/gen-bindings.py            declarations.h -> bindings.py
.venv/bin/python hack/gen-bindings.py --check    exit 1 if it is out of date
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from cffi import FFI

ROOM = Path(__file__).parent.parent / "agent/kubebpf/agent/libbpf"
HEADER, BINDINGS = ROOM / "declarations.h", ROOM / "bindings.py"


def bindings() -> str:
    """The module that cffi makes of the header (its "out-of-line ABI mode")."""
    ffi = FFI()
    ffi.cdef(HEADER.read_text())
    ffi.set_source("kubebpf.agent.libbpf.bindings", None)
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / BINDINGS.name
        with contextlib.redirect_stdout(io.StringIO()):  # it says what it does
            ffi.emit_python_code(str(made))
        return made.read_text()


def main() -> int:
    """Write, or check with --check."""
    wanted = bindings()
    if "--check" in sys.argv[1:]:
        if BINDINGS.read_text() == wanted:
            return 0
        print(f"{BINDINGS} is out of date: run hack/gen-bindings.py", file=sys.stderr)
        return 1
    BINDINGS.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
