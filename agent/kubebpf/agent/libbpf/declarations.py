"""The C declarations of declarations.h, as cffi knows them.

They come compiled (bindings.py): parsing C takes longer than all else that a short run does with libbpf. After a change of the
header, run hack/gen-bindings.py.
"""

from __future__ import annotations

from typing import Any

from kubebpf.agent.libbpf.bindings import ffi

__all__ = ["ffi", "text"]


def text(chars: Any) -> str:
    """A NUL-terminated C string as text; bytes that are no UTF-8 are replaced."""
    raw = ffi.string(chars)
    return raw if isinstance(raw, str) else raw.decode(errors="replace")
