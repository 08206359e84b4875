"""Names of functions as their source spells them.

readable("_ZN2ns1fEi")                          -> "ns::f(int)"
readable("_ZN4core3fmt5Write17h0123456789abcdefE")   -> "core::fmt::Write": what Rust adds tells builds apart, not functions
readable("_RNvNtC5hello5inner3run")              -> "hello::inner::run"
readable("main")                                -> "main"
"""

from __future__ import annotations

import re
from functools import lru_cache

from kubebpf.agent.libbpf.demangle import NoDemanglerError, demangled
from kubebpf.agent.symbols import rust

_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")

LONGEST = 2048  # characters: any container can name functions, and longer names of C++ can mean texts beyond all measure


@lru_cache(maxsize=1 << 14)
def readable(name: str) -> str:
    """A mangled name in full; any other name, and all names where the C++ library is not installed, as they are."""
    if name.startswith("_R"):
        return rust.demangled(name) or name
    if not name.startswith("_Z") or len(name) > LONGEST:
        return name
    mangled, dot, clone = name.partition(".")  # `.cold`, `.part.0`: pieces that the compiler cut off
    try:
        found = demangled(mangled)
    except NoDemanglerError:
        return name
    return _RUST_HASH.sub("", found) + dot + clone if found else name
