"""What functions take and return, spelled so that equal texts mean equal things, also of different modules.

    with KernelTypes() as types:
        prototype(types, "vfs_read")    -> {"file": (0, "*struct file"), …, "": (-1, "int64")}     the result last, "" by name

Typedefs and qualifiers are left out: `size_t` and `unsigned long` are one type here (Documentation/bpf/btf.rst).
"""

from __future__ import annotations

from typing import Any

from kubebpf.agent.libbpf.declarations import ffi, text
from kubebpf.agent.libbpf.library import lib
from kubebpf.agent.libbpf.types import FUNCTION, KernelTypes

Prototype = dict[str, tuple[int, str]]

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF = range(1, 9)  # BTF_KIND_*
_VOLATILE, _CONST, _RESTRICT, _TYPE_TAG, _ENUM64 = 9, 10, 11, 18, 19
_TRANSPARENT = (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG)
_NAMED = {_STRUCT: "struct", _UNION: "union", _FWD: "struct", _ENUM: "enum", _ENUM64: "enum"}
_DEEP = 4  # pointers to pointers


def prototype(types: KernelTypes, name: str, module: str = "") -> Prototype | None:
    """Parameter to index and type; under "" the type of the result, which is "" when there is none.

    Args:
        types: the kernel's.
        name: of the function.
        module: that has it; "" for the kernel itself.

    Returns:
        None when the function is not there.
    """
    found = types.lookup(name, FUNCTION, module)
    if found is None:
        return None
    btf, number = found
    function = lib().btf__type_by_id(btf, number)
    proto = lib().btf__type_by_id(btf, function.size)  # a FUNC has the number of its prototype there
    pairs: Any = ffi.cast("__u32 *", proto + 1)  # struct btf_param {name, type}
    count = proto.info & 0xFFFF
    made = {_text(btf, pairs[2 * i]): (i, _spelled(btf, pairs[2 * i + 1], _DEEP)) for i in range(count)}
    return made | {"": (-1, _spelled(btf, proto.size, _DEEP))}


def _spelled(btf: Any, number: int, depth: int) -> str:
    if not number or not depth:
        return ""
    found = lib().btf__type_by_id(btf, number)
    kind = found.info >> 24 & 0x1F
    if kind in _TRANSPARENT:
        return _spelled(btf, found.size, depth)
    if kind == _PTR:
        return "*" + _spelled(btf, found.size, depth - 1)
    if kind == _INT:
        signed = ffi.cast("__u32 *", found + 1)[0] >> 24 & 1  # BTF_INT_SIGNED
        return f"{'' if signed else 'u'}int{found.size * 8}"
    return f"{_NAMED.get(kind, kind)} {_text(btf, found.name_off)}"


def _text(btf: Any, offset: int) -> str:
    return text(lib().btf__name_by_offset(btf, offset))
