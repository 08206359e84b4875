"""C++ names as their source spells them, by the C++ library's own `__cxa_demangle` (Itanium C++ ABI, 3.4).

    demangled("_ZN2ns1fEi")   -> "ns::f(int)"

The library is where C++ programs are; a grammar of our own, or a package of one, would be another that lags behind the compilers.
It is called through cffi, as libbpf is, so it stands in this room.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.library import libc

SONAME = "libstdc++.so.6"


class NoDemanglerError(Exception):
    """The C++ library is not installed."""


@cache
def _library() -> Any:
    try:
        return ffi.dlopen(SONAME)
    except OSError as error:
        hint = "install it (Debian and Ubuntu: apt install libstdc++6)"
        raise NoDemanglerError(f"{SONAME}, which reads the names of C++ functions, was not found: {hint}") from error


def demangled(name: str) -> str:
    """A mangled name in full; "" when it is none.

    Raises:
        NoDemanglerError: the C++ library is not installed.
    """
    status = ffi.new("int *")
    result = _library().__cxa_demangle(name.encode("utf-8", "surrogateescape"), ffi.NULL, ffi.NULL, status)
    if result == ffi.NULL:
        return ""
    try:
        return text(result)
    finally:
        libc().free(result)
