"""The types and constants of a program's C definitions, as types of the language. It is the `source` of their structs.

    definitions.struct("event").fields[0]      -> Field("pid", Int(32, True), offset 0, …)
    definitions.macro("LIMIT")                 -> "10"

Named kernel types in a definition stay the kernel's: they are read by CO-RE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from kubebpf.compiler.cdefs import clang, places
from kubebpf.compiler.cdefs.clang import RECORDS, CType, Cursor, CursorKind, Kind
from kubebpf.compiler.types.model import (
    BOOL,
    U8,
    U64,
    VOID,
    Array,
    EnumType,
    Field,
    FunctionType,
    Int,
    Origin,
    Pointer,
    Struct,
    Type,
)

if TYPE_CHECKING:
    from kubebpf.compiler.kernel.view import KernelView

_SIGNED = {Kind.SCHAR, Kind.SHORT, Kind.INT, Kind.LONG, Kind.LONGLONG, Kind.WCHAR}
_UNSIGNED = {Kind.UCHAR, Kind.USHORT, Kind.UINT, Kind.ULONG, Kind.ULONGLONG}
_CHARS = {Kind.CHAR_S, Kind.CHAR_U}
_KEYWORDS = {**RECORDS, CursorKind.ENUM_DECL: "enum"}


class Definitions:
    """What clang read, looked up by name.

    Args:
        unit: of clang.
        view: the kernel.
        own_from: the byte offset in the main text where the program's definitions begin; in front of it are lent ones.
    """

    def __init__(self, unit: clang.Unit, view: KernelView, own_from: int) -> None:
        self._unit, self._view, self._own_from = unit, view, own_from
        self._structs: dict[int, tuple[Struct, Cursor]] = {}
        self._fields: dict[int, tuple[Field, ...]] = {}

    # --- Looking up ---

    def struct(self, name: str) -> Struct | None:
        """The struct with this name, when the program defines it."""
        return self._record("struct", name)

    def union(self, name: str) -> Struct | None:
        """As `struct`, for unions."""
        return self._record("union", name)

    def enum(self, name: str) -> EnumType | None:
        """The enum with this name."""
        cursor = self._tagged.get(("enum", name))
        return None if cursor is None or self._is_kernels("enum", cursor) else self._enum(cursor)

    def typedef(self, name: str) -> Type | None:
        """What a typedef of the program or of its headers stands for."""
        cursor = self._tagged.get(("typedef", name))
        if cursor is None or self._is_lent(cursor):
            return None
        return self.type(cursor.underlying_typedef_type)

    def enum_constant(self, name: str) -> tuple[EnumType, int] | None:
        """The enum that declares a constant, and its value."""
        found = self._constants.get(name)
        if found is None or self._is_lent(found[0]):
            return None
        return self._enum(found[0]), found[1]

    def macro(self, name: str) -> str | None:
        """The text of a macro without parameters."""
        cursor = self._macros.get(name)
        if cursor is None or clang.is_function_like(cursor):
            return None
        return _expression(clang.tokens(cursor)[1:])

    def macros(self) -> Iterable[str]:
        """The names of the program's own macros, for hints."""
        own = [(n, c) for n, c in self._macros.items() if clang.file_of(c) == clang.MAIN]
        return [name for name, cursor in own if not clang.is_function_like(cursor)]

    def names(self) -> Iterable[str]:
        """The names of the program's own types, for hints."""
        return [name for (_, name), cursor in self._tagged.items() if clang.file_of(cursor) == clang.MAIN]

    def fields(self, struct: Struct) -> tuple[Field, ...]:
        """The members of a struct that this gave out, in declaration order."""
        if struct.ident not in self._fields:
            cursor = self._structs[struct.ident][1]
            self._fields[struct.ident] = tuple(self._members(cursor))
        return self._fields[struct.ident]

    # --- Indices ---

    @cached_property
    def _tagged(self) -> dict[tuple[str, str], Cursor]:
        """Definitions by keyword and name, those inside other structs too: C has one scope for them all."""
        found: dict[tuple[str, str], Cursor] = {}
        for cursor in self._unit.declarations():
            _index(cursor, found)
        return found

    @cached_property
    def _macros(self) -> dict[str, Cursor]:
        return {c.spelling: c for c in self._unit.declarations() if c.kind is CursorKind.MACRO_DEFINITION and clang.file_of(c)}

    @cached_property
    def _constants(self) -> dict[str, tuple[Cursor, int]]:
        enums = [c for c in self._unit.declarations() if c.kind is CursorKind.ENUM_DECL]
        enums += [c for (keyword, _), c in self._tagged.items() if keyword == "enum" or keyword.startswith("enum in")]
        return {c.spelling: (enum, c.enum_value) for enum in enums for c in enum.get_children() if _is_constant(c)}

    def _record(self, keyword: str, name: str) -> Struct | None:
        cursor = self._tagged.get((keyword, name))
        return None if cursor is None or self._is_kernels(keyword, cursor) else self._struct(cursor)

    def _is_lent(self, cursor: Cursor) -> bool:
        return clang.file_of(cursor) == clang.MAIN and cursor.location.offset < self._own_from

    def _is_kernels(self, keyword: str, cursor: Cursor) -> bool:
        """Whether BTF's definition holds: for lent types, and for kernel types in a system's copy of a kernel header."""
        if self._is_lent(cursor):
            return True
        return places.is_uapi_file(clang.file_of(cursor)) and self._kernels(keyword, cursor.spelling) is not None

    def _kernels(self, keyword: str, name: str) -> Struct | EnumType | None:
        match keyword:
            case "struct" | "union":
                found = self._view.struct(name) if keyword == "struct" else self._view.union(name)
                return found if found and found.size else None
            case _:
                return self._view.enum(name)

    # --- Types ---

    def type(self, t: CType) -> Type:
        """A type of clang's as one of the language; const, volatile and typedefs are taken off."""
        match t.kind:
            case Kind.ELABORATED:
                return self.type(t.get_named_type())
            case Kind.TYPEDEF:
                return self._typedef(t.get_declaration())
            case Kind.POINTER:
                return Pointer(self.type(t.get_pointee()))
            case Kind.CONSTANTARRAY:
                return Array(self.type(t.element_type), t.element_count)
            case Kind.INCOMPLETEARRAY:
                return Array(self.type(t.element_type), 0)
            case Kind.RECORD:
                return self._declared(t.get_declaration())
            case Kind.ENUM:
                return self._declared(t.get_declaration())
            case Kind.FUNCTIONPROTO | Kind.FUNCTIONNOPROTO:
                return FunctionType()
            case Kind.VOID:
                return VOID
            case Kind.BOOL:
                return BOOL
            case Kind.UNEXPOSED:
                return self.type(t.get_canonical())
        return _number(t)

    def _typedef(self, cursor: Cursor) -> Type:
        if self._is_lent(cursor):
            found = self._view.typedef(cursor.spelling)
            assert found is not None
            return found
        return self.type(cursor.underlying_typedef_type)

    def _declared(self, cursor: Cursor) -> Type:
        cursor = cursor.get_definition() or cursor
        keyword = _KEYWORDS[cursor.kind]
        if not cursor.is_definition() or (cursor.spelling and self._is_kernels(keyword, cursor)):
            kernels = self._kernels(keyword, cursor.spelling)
            if kernels is not None:
                return kernels
        return self._enum(cursor) if keyword == "enum" else self._struct(cursor)

    def _struct(self, cursor: Cursor) -> Struct:
        for struct, known in self._structs.values():
            if known == cursor:
                return struct
        name = "" if cursor.is_anonymous() else cursor.spelling
        size = max(cursor.type.get_size(), 0)
        ident = len(self._structs) + 1
        struct = Struct(RECORDS[cursor.kind], name, size, Origin.C, self, ident)
        self._structs[ident] = (struct, cursor)
        return struct

    def _enum(self, cursor: Cursor) -> EnumType:
        base = _number(cursor.enum_type.get_canonical())
        name = "" if cursor.is_anonymous() else cursor.spelling
        values = tuple((c.spelling, c.enum_value) for c in cursor.get_children() if _is_constant(c))
        return EnumType(name, base if isinstance(base, Int) else Int(32, True), values)

    def _members(self, cursor: Cursor) -> Iterator[Field]:
        for index, member in enumerate(cursor.type.get_fields()):
            width = member.get_bitfield_width() if member.is_bitfield() else 0
            name = "" if _is_unnamed(member) else member.spelling
            if not name and member.is_bitfield():
                continue  # padding
            bits = member.get_field_offsetof()
            yield Field(name, self.type(member.type), bits // 8, bits, width, index)


def _is_constant(cursor: Cursor) -> bool:
    return cursor.kind is CursorKind.ENUM_CONSTANT_DECL


def _is_unnamed(member: Cursor) -> bool:
    """An anonymous struct or union as a member has, in place of a name, clang's words for where it is."""
    return not member.spelling.isidentifier()


def _index(cursor: Cursor, found: dict[tuple[str, str], Cursor]) -> None:
    if cursor.kind is CursorKind.TYPEDEF_DECL:
        found["typedef", cursor.spelling] = cursor
    elif cursor.kind in _KEYWORDS and cursor.is_definition():
        name = f"in {len(found)}" if cursor.is_anonymous() else cursor.spelling
        found[_KEYWORDS[cursor.kind] if not cursor.is_anonymous() else f"{_KEYWORDS[cursor.kind]} in", name] = cursor
        if cursor.kind in RECORDS:
            for inner in cursor.get_children():
                _index(inner, found)


def _number(t: CType) -> Type:
    size = max(t.get_size(), 0)
    if t.kind in _CHARS:
        return Int(8, True, "char")
    if t.kind in _SIGNED and size in (1, 2, 4, 8):
        return Int(size * 8, True)
    if t.kind in _UNSIGNED and size in (1, 2, 4, 8):
        return Int(size * 8, False)
    # Floating-point numbers, vectors, __int128: the language has no arithmetic for them, but their bytes can be looked at.
    return Array(U64, 2) if t.kind in (Kind.INT128, Kind.UINT128) else Array(U8, size)


_ESCAPES = {"n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27}


def _character(word: str) -> int:
    """The value of a character as C writes it: `'a'`, `'\\n'`, `'\\0'`, `'\\x41'`."""
    inner = word[1:-1]
    if not inner.startswith("\\"):
        return ord(inner[0])
    rest = inner[1:]
    if rest[0] == "x":
        return int(rest[1:], 16)
    return int(rest, 8) if rest[0] in "01234567" else _ESCAPES.get(rest[0], ord(rest[0]))


def _expression(words: list[str]) -> str:
    """The body of a macro in the language: texts side by side become one, a character its code."""
    done: list[str] = []
    for word in words:
        if word.startswith('"') and done and done[-1].startswith('"'):
            done[-1] = done[-1][:-1] + word[1:]
        elif word.startswith("'"):
            done.append(str(_character(word)))
        else:
            done.append(word)
    return " ".join(done)
