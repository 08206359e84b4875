"""The C declarations that tracepoint formats are written in, as types of the language.

parse("const char * filename")        -> Declaration(type="const char *", name="filename", ...)
parse("__data_loc char[] name")       -> Declaration(type="char", name="name", location="__data_loc")
Resolver(btf).type(parse("struct sigaction * act"))    -> Pointer(Struct("struct", "sigaction", …))
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from kubebpf.compiler.kernel.btf import CHAR, Btf
from kubebpf.compiler.types.model import BOOL, U8, VOID, Array, Int, Pointer, Space, Type, sizeof

_DECLARATION = re.compile(r"^(?P<type>.*?)(?P<name>\w+)(?P<dims>(\[[^\]]*\]\s*)*)$", re.S)
_NOISE = re.compile(
    r"\b(const|volatile|restrict|__restrict|__\w*user|__rcu|__percpu|__seg_\w+|__iomem|__force)\b|__attribute__\s*\(\(.*?\)\)"
)
# C's integers (LP64), "int" and "signed" left out. BTF knows only one spelling of each, and a view without BTF knows none.
_INTEGERS: dict[frozenset[str], tuple[int, bool]] = {
    frozenset(): (32, True), frozenset({"unsigned"}): (32, False), frozenset({"short"}): (16, True),
    frozenset({"short", "unsigned"}): (16, False), frozenset({"long"}): (64, True), frozenset({"long", "unsigned"}): (64, False),
}  # fmt: skip
_CHARS = {"char": Int(8, True, CHAR), "signed char": Int(8, True), "unsigned char": Int(8, False)}


@dataclass(frozen=True, slots=True)
class Declaration:
    """`type name dims`, taken apart.

    Args:
        type: as written, without the name and without dimensions.
        name: what is declared.
        dims: the text between each pair of brackets.
        location: `__data_loc` or `__rel_loc`, or "".
        text: the declaration as written.
    """

    type: str
    name: str
    dims: tuple[str, ...]
    location: str
    text: str


def parse(text: str) -> Declaration:
    """Take a declaration apart.

    Raises:
        ValueError: there is no name in it.
    """
    location, rest = "", text.strip()
    for mark in ("__data_loc", "__rel_loc"):
        if rest.startswith(mark + " "):
            location, rest = mark, rest.removeprefix(mark).strip()
    found = _DECLARATION.match(rest)
    if not found or not found["type"].strip():
        raise ValueError(f"not a declaration: {text!r}")
    dims = tuple(re.findall(r"\[([^\]]*)\]", found["dims"]))
    return Declaration(found["type"].strip().removesuffix("[]").strip(), found["name"], dims, location, text.strip())


@dataclass(frozen=True, slots=True)
class Resolver:
    """Gives C types their meaning by a kernel's BTF.

    Args:
        btf: names structs, enums and typedefs.
        space: where pointers point to.
    """

    btf: Btf
    space: Space = Space.KERNEL

    def type(self, declaration: Declaration) -> Type | None:
        """The type of what is declared, dimensions left out; None when BTF does not know its name."""
        text = _NOISE.sub(" ", declaration.type)
        stars = text.count("*")
        found = self.base(" ".join(text.split("*")[0].split()))
        if found is None and stars:
            found = VOID
        for _ in range(stars if found is not None else 0):
            found = Pointer(found or VOID, self.space)
        return None if found is None else in_space(found, self.space)

    def sized(self, declaration: Declaration, size: int, signed: bool) -> Type:
        """As `type`, with `size` bytes in all: what does not fit is an integer, or bytes, of that size."""
        element = self.type(declaration)
        if declaration.dims and element is not None and sizeof(element):
            return _array(element, declaration.dims, size)
        if element is not None and sizeof(element) == size:
            return element
        return Int(size * 8, signed) if size in (1, 2, 4, 8) else Array(U8, size)

    def base(self, name: str) -> Type | None:
        """The type that a name without `*` stands for."""
        kind, _, tag = name.partition(" ")
        match kind:
            case "struct":
                return self.btf.struct(tag)
            case "union":
                return self.btf.union(tag)
            case "enum":
                return self.btf.enum(tag)
        return self.btf.typedef(name) or _integer(name)


def in_space(t: Type, space: Space) -> Type:
    """`t` with its pointers, at every level, pointing into `space`."""
    if not isinstance(t, Pointer):
        return t
    return replace(t, target=in_space(t.target, space), space=space)


def _integer(name: str) -> Type | None:
    """The meaning of C's own names, for kernels without BTF and for spellings that BTF does not use."""
    if name in _CHARS:
        return _CHARS[name]
    if name in ("bool", "_Bool"):
        return BOOL
    if name == "void":
        return VOID
    words = frozenset(name.split())
    found = _INTEGERS.get(words - {"int", "signed"}) if words else None
    return Int(*found) if found else None


def _array(element: Type, dims: tuple[str, ...], size: int) -> Type:
    # A dimension may be a macro's name; the size of the whole says what the outermost one is.
    for dim in reversed(dims[1:]):
        element = Array(element, int(dim)) if dim.isdigit() else element
    return Array(element, size // max(sizeof(element), 1))
