"""Types of BTF as C writes them, typedefs and qualifiers kept: for listings, where `size_t count` says more than `uint64 count`.

declare(raw, number, "buf")     -> "const char * buf"
signature(btf, "vfs_read")      -> (("struct file * file", "char * buf", "size_t count", "loff_t * pos"), "ssize_t")
"""

from __future__ import annotations

from collections.abc import Iterator

from kubebpf.compiler.kernel.btf import Btf
from kubebpf.compiler.kernel.btf_raw import BtfError, Kind, RawBtf
from kubebpf.compiler.types.model import Struct

_QUALIFIERS = {Kind.CONST: "const", Kind.VOLATILE: "volatile", Kind.RESTRICT: "restrict"}
_TAGGED = {Kind.STRUCT: "struct", Kind.UNION: "union", Kind.ENUM: "enum", Kind.ENUM64: "enum"}
_DEEPEST = 64
FOLDED = "{ ... }"  # the body of a type without a name


def declare(raw: RawBtf, number: int, name: str = "", depth: int = 0) -> str:
    """The declaration of `name` with type `number`; the type alone when `name` is empty.

    Raises:
        BtfError: the type refers to itself.
    """
    qualifiers: list[str] = []
    inner, pointed = name, False  # what stands behind the base type; whether its outermost part is a `*`
    for _ in range(_DEEPEST):
        kind = raw.kind(number)
        match kind:
            case Kind.PTR:
                inner, pointed, qualifiers = " ".join(["*", *qualifiers, *([inner] if inner else [])]), True, []
            case Kind.ARRAY:
                inner, pointed = f"{f'({inner})' if pointed else inner}[{raw.extra(number)[2]}]", False
            case Kind.FUNC_PROTO:
                inner, pointed = f"{f'({inner})' if pointed else inner}({', '.join(_params(raw, number, depth + 1))})", False
            case Kind.CONST | Kind.VOLATILE | Kind.RESTRICT:
                qualifiers.insert(0, _QUALIFIERS[kind])
            case Kind.TYPE_TAG:
                pass
            case _:
                return " ".join(word for word in (*qualifiers, _base(raw, number, kind), inner) if word)
        number = raw.extra(number)[0] if kind is Kind.ARRAY else raw.target(number)
    raise BtfError(f"type {number} refers to itself, or is nested deeper than {_DEEPEST} levels")


def signature(btf: Btf, function: str) -> tuple[tuple[str, ...], str] | None:
    """The parameters of a function and what it returns, None when BTF does not have it."""
    raw = btf.raw
    number = raw.find(function, (Kind.FUNC,))
    if number is None:
        return None
    proto = raw.target(number)
    return tuple(_params(raw, proto)), declare(raw, raw.target(proto))


def members(struct: Struct) -> Iterator[str]:
    """The declaration of each member of a BTF struct, in order."""
    if not isinstance(struct.source, Btf):
        return
    raw = struct.source.raw
    if raw.kind(struct.ident) is Kind.FWD:
        return
    sizes = [f.bit_size for f in struct.fields]
    for item, bits in zip(raw.items(struct.ident), sizes, strict=True):
        yield declare(raw, item[1], raw.string(item[0])) + (f":{bits}" if bits else "")


def _params(raw: RawBtf, proto: int, depth: int = 0) -> Iterator[str]:
    if depth > 8:  # a function that takes itself through a pointer
        yield "..."
        return
    for label, target in raw.items(proto):
        yield declare(raw, target, raw.string(label), depth) if label or target else "..."


def _base(raw: RawBtf, number: int, kind: Kind) -> str:
    name = raw.name(number)
    if kind is Kind.VOID:
        return "void"
    if kind is Kind.FWD:
        return f"{'union' if raw.flag(number) else 'struct'} {name}"
    return f"{_TAGGED[kind]} {name or FOLDED}" if kind in _TAGGED else name
