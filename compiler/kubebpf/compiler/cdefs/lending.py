"""Kernel types in the program's own structs: clang is told their size and alignment, and BTF is asked for the rest.

struct mine { struct list_head head; u32 n; };
->
struct list_head { char kb[16]; } __attribute__((aligned(8)));     typedef unsigned int u32;
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kubebpf.compiler.types.model import (
    Array,
    Bool,
    EnumType,
    FunctionType,
    Int,
    Pointer,
    Struct,
    Type,
    Void,
    sizeof,
)

if TYPE_CHECKING:
    from kubebpf.compiler.kernel.view import KernelView

_UNKNOWN = re.compile(r"unknown type name '(\w+)'")
_UNDECLARED = re.compile(r"use of undeclared identifier '(\w+)'")
_INCOMPLETE = re.compile(r"incomplete (?:element )?type '(?:const |volatile )*(?:(struct|union|enum) )?(\w+)")
_C_INTEGERS = {8: "char", 16: "short", 32: "int", 64: "long long"}


def wanted(message: str) -> tuple[str, str] | None:
    """What a message of clang's lacks: (keyword, name); the keyword is "constant" for an identifier.

    >>> wanted("field has incomplete type 'struct path'")
    ('struct', 'path')
    """
    if found := _UNKNOWN.search(message):
        return "", found[1]
    if found := _INCOMPLETE.search(message):
        return found[1] or "struct", found[2]
    if found := _UNDECLARED.search(message):
        return "constant", found[1]
    return None


def lend(view: KernelView, keyword: str, name: str) -> str | None:
    """The C text that stands for a type or constant of the kernel, None when it has none of that name."""
    match keyword:
        case "struct" | "union":
            struct = view.struct(name) if keyword == "struct" else view.union(name)
            return f"{keyword} {name} {_opaque(struct)};" if struct and struct.size else None
        case "enum":
            return f"enum {name} {{ kb_{name} }};" if view.enum(name) else None
        case "constant":
            constant = view.enum_constant(name)
            return f"enum {{ {name} = {constant[1]} }};" if constant else None
    found = view.typedef(name)
    return None if found is None else f"typedef {_declaration(found, name)};"


def _opaque(struct: Struct) -> str:
    return f"{{ char kb[{struct.size}]; }} __attribute__((aligned({alignment(struct)})))"


def _declaration(t: Type, name: str) -> str:
    """A C declaration of `name` with the size and alignment of a type."""
    match t:
        case Int(bits=bits, signed=signed, role=role):
            sign = "" if role == "char" else "signed " if signed else "unsigned "
            return f"{sign}{_C_INTEGERS[bits]} {name}"
        case Bool():
            return f"_Bool {name}"
        case EnumType(base=base):
            return _declaration(base, name)
        case Pointer():
            return f"void *{name}"
        case Array(element=element, length=length):
            return _declaration(element, f"{name}[{length}]")
        case Struct() if t.size:
            return f"struct {_opaque(t)} {name}"
        case FunctionType():
            return f"void {name}(void)"
        case Void():
            return f"void {name}"
        case _:
            return f"struct {{ char kb[{max(sizeof(t), 1)}]; }} {name}"


def alignment(t: Type) -> int:
    """The alignment of a kernel type in C, in bytes: BTF does not say it, but its members and its size do."""
    match t:
        case Array(element=element):
            return alignment(element)
        case Struct():
            found = max((alignment(f.type) for f in t.fields if f.name or isinstance(f.type, Struct)), default=1)
            places = [f.offset for f in t.fields if not f.bit_size and alignment(f.type) == found]
            while found > 1 and (t.size % found or any(place % found for place in places)):
                found //= 2
            return found
        case _:
            return max(sizeof(t), 1)
