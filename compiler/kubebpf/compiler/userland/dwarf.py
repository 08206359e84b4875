"""The signatures of a binary's functions, by its DWARF debug information, in the types of the language.

    dwarf = Dwarf(elf)
    dwarf.function(0x1159)   -> Signature((("n", int32), ("s", int8*), ("p", struct P*)), int32)

Structs load their members on demand. The tags and attributes are those of the DWARF 5 standard; `elf` is pyelftools' ELFFile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubebpf.compiler.types.model import (
    BOOL,
    U8,
    VOID,
    Array,
    EnumType,
    Field,
    FunctionType,
    Int,
    Origin,
    Pointer,
    Space,
    Struct,
    Type,
)

FLOAT = "float"  # the role of the bytes of a floating-point number
_BOOLEAN, _FLOATS, _SIGNED = 0x02, (0x03, 0x04), (0x05, 0x06, 0x0D)  # DW_ATE_*
_BY_REFERENCE = 4  # DW_CC_pass_by_reference
_QUALIFIERS = frozenset(
    ("DW_TAG_typedef", *(f"DW_TAG_{n}_type" for n in ("const", "volatile", "restrict", "atomic", "immutable", "packed")))
)
_POINTERS = {"DW_TAG_pointer_type": "*", "DW_TAG_reference_type": "&", "DW_TAG_rvalue_reference_type": "&&"}
_STRUCTS = {"DW_TAG_structure_type": "struct", "DW_TAG_class_type": "struct", "DW_TAG_union_type": "union"}

_KINDS = {"DW_TAG_enumeration_type": "enum ", "DW_TAG_structure_type": "struct ", "DW_TAG_union_type": "union "}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function.

    Args:
        name: "" when it has none.
        type: as the language has it.
        spelling: of the type, as C has it.
        floating: it is passed in a floating-point register.
        by_reference: it is an object of C++ that its caller keeps: passed as a pointer.
    """

    name: str
    type: Type
    spelling: str
    floating: bool = False
    by_reference: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function, and what it returns."""

    parameters: tuple[Parameter, ...]
    returns: Parameter


class Dwarf:
    """The debug information of one binary.

    Args:
        elf: it, opened by pyelftools.
        number: tells its types apart from those of other binaries.
    """

    def __init__(self, elf: Any, number: int = 0) -> None:
        self._info, self._number = elf.get_dwarf_info(), number
        self._dies: dict[int, Any] = {}
        self._types: dict[int, Type] = {}

    def function(self, address: int) -> Signature | None:
        """The signature of the function that starts at an address."""
        for unit in self._units_at(address):
            for die in unit.iter_DIEs():
                if die.tag == "DW_TAG_subprogram" and address in self._starts(die):
                    return self._signature(die)
        return None

    def fields(self, struct: Struct) -> tuple[Field, ...]:
        """The members of a struct of this binary; those of its base classes come behind, as anonymous members."""
        die = self._definition(self._dies[struct.ident])
        own = [field for child in die.iter_children() if child.tag == "DW_TAG_member" for field in self._member(child)]
        bases = [child for child in die.iter_children() if child.tag == "DW_TAG_inheritance"]
        inherited = [
            Field("", self._type_of(base), at := _number(base, "DW_AT_data_member_location") or 0, at * 8) for base in bases
        ]
        return (*own, *inherited)

    # -- functions -----------------------------------------------------------------------------------------------------

    def _units_at(self, address: int) -> Iterator[Any]:
        """The compilation units that may hold an address: one where a table says which, else each that does not rule it out."""
        ranges = self._info.get_aranges()
        offset = ranges.cu_offset_at_addr(address) if ranges else None
        if offset is not None:
            yield self._info.get_CU_at(offset)
            return
        for unit in self._info.iter_CUs():
            top = unit.get_top_DIE()
            low, high = _number(top, "DW_AT_low_pc"), _high(top)
            if low is None or high is None or low <= address < high:
                yield unit

    def _starts(self, die: Any) -> tuple[int, ...]:
        """Where the code of a function starts: of one that was split, each part of it."""
        ranges = die.attributes.get("DW_AT_ranges")
        if ranges is None:
            low = _number(die, "DW_AT_low_pc")
            return () if low is None else (low,)
        base, found = _number(die.cu.get_top_DIE(), "DW_AT_low_pc") or 0, list[int]()
        for entry in self._info.range_lists().get_range_list_at_offset(ranges.value, die.cu):
            if hasattr(entry, "base_address"):
                base = entry.base_address
            else:
                found.append(entry.begin_offset + (0 if entry.is_absolute else base))
        return tuple(found)

    def _signature(self, die: Any) -> Signature:
        parameters = [self._parameter(child) for child in die.iter_children() if child.tag == "DW_TAG_formal_parameter"]
        return Signature(tuple(parameters), self._parameter(die))

    def _parameter(self, die: Any) -> Parameter:
        type_ = self._reference(die, "DW_AT_type")
        real = self._unqualified(type_)
        floating = real is not None and real.tag == "DW_TAG_base_type" and _number(real, "DW_AT_encoding") in _FLOATS
        by_reference = real is not None and _number(real, "DW_AT_calling_convention") == _BY_REFERENCE
        return Parameter(self._name(die), self._type(type_), self.spelling(type_), floating, by_reference)

    # -- types ---------------------------------------------------------------------------------------------------------

    def _type_of(self, die: Any) -> Type:
        return self._type(self._reference(die, "DW_AT_type"))

    def _type(self, die: Any) -> Type:
        die = self._unqualified(die)
        if die is None:
            return VOID
        if die.offset not in self._types:
            self._types[die.offset] = self._read(die)
        return self._types[die.offset]

    def _read(self, die: Any) -> Type:
        match die.tag:
            case "DW_TAG_base_type":
                return _base(die)
            case tag if tag in _POINTERS:
                target = self._unqualified(self._reference(die, "DW_AT_type"))
                return Pointer(self._type(target), Space.USER)
            case tag if tag in _STRUCTS:
                return self._struct(die)
            case "DW_TAG_enumeration_type":
                return self._enum(die)
            case "DW_TAG_array_type":
                return self._array(die)
            case "DW_TAG_subroutine_type":
                return FunctionType()
            case _:
                return VOID

    def _struct(self, die: Any) -> Struct:
        ident = self._number << 40 | die.offset
        self._dies[ident] = die
        size = _number(self._definition(die), "DW_AT_byte_size") or 0
        return Struct(_STRUCTS[die.tag], self._name(die), size, Origin.C, self, ident)

    def _enum(self, die: Any) -> EnumType:
        names = [
            (self._name(c), _number(c, "DW_AT_const_value") or 0) for c in die.iter_children() if c.tag == "DW_TAG_enumerator"
        ]
        size = _number(die, "DW_AT_byte_size") or 4
        return EnumType(self._name(die), Int(size * 8, any(value < 0 for _, value in names)), tuple(names))

    def _array(self, die: Any) -> Array:
        result = self._type_of(die)
        for child in reversed([c for c in die.iter_children() if c.tag == "DW_TAG_subrange_type"]):
            result = Array(result, _length(child))
        assert isinstance(result, Array)
        return result

    def _member(self, die: Any) -> Iterator[Field]:
        if "DW_AT_external" in die.attributes or "DW_AT_declaration" in die.attributes:
            return  # a static member
        start, bits = _number(die, "DW_AT_data_member_location") or 0, _number(die, "DW_AT_bit_size") or 0
        type_ = self._type_of(die)
        at = start * 8
        if bits and "DW_AT_data_bit_offset" in die.attributes:
            at = _number(die, "DW_AT_data_bit_offset") or 0
        elif bits:
            # DWARF 3 counts from the high end of a unit of DW_AT_byte_size.
            unit = _number(die, "DW_AT_byte_size") or _number(
                self._unqualified(self._reference(die, "DW_AT_type")), "DW_AT_byte_size"
            )
            at += (unit or 4) * 8 - (_number(die, "DW_AT_bit_offset") or 0) - bits
        yield Field(self._name(die), type_, at // 8, at, bits)

    def _definition(self, die: Any) -> Any:
        """The whole of a struct that is only declared here: in this unit or another."""
        name = self._name(die)
        if "DW_AT_declaration" not in die.attributes or not name:
            return die
        for unit in (die.cu, *self._info.iter_CUs()):
            for other in unit.iter_DIEs():
                if other.tag == die.tag and "DW_AT_declaration" not in other.attributes and self._name(other) == name:
                    return other
        return die

    # -- entries -------------------------------------------------------------------------------------------------------

    def _name(self, die: Any) -> str:
        found = self._with(die, "DW_AT_name")
        return found.attributes["DW_AT_name"].value.decode("utf-8", "surrogateescape") if found else ""

    def _reference(self, die: Any, attribute: str) -> Any:
        found = self._with(die, attribute)
        return found.get_DIE_from_attribute(attribute) if found else None

    def _with(self, die: Any, attribute: str) -> Any:
        """The entry that has an attribute: this one, or the one that it completes (of an inlined or a member function)."""
        while attribute not in die.attributes:
            link = next((n for n in ("DW_AT_abstract_origin", "DW_AT_specification") if n in die.attributes), None)
            if link is None:
                return None
            die = die.get_DIE_from_attribute(link)
        return die

    def _unqualified(self, die: Any) -> Any:
        while die is not None and die.tag in _QUALIFIERS:
            die = self._reference(die, "DW_AT_type")
        return die

    def spelling(self, die: Any) -> str:
        """A type as C spells it: `struct P*`, `const char*`, `unsigned int`."""
        if die is None:
            return "void"
        target = self._reference(die, "DW_AT_type")
        if die.tag in _POINTERS:
            return f"{self.spelling(target)}{_POINTERS[die.tag]}"
        if die.tag in ("DW_TAG_const_type", "DW_TAG_volatile_type"):
            word = die.tag.removeprefix("DW_TAG_").removesuffix("_type")
            inner = self.spelling(target)
            return f"{inner} {word}" if inner.endswith("*") else f"{word} {inner}"
        if die.tag == "DW_TAG_array_type":
            lengths = "".join(f"[{_length(c)}]" for c in die.iter_children() if c.tag == "DW_TAG_subrange_type")
            return f"{self.spelling(target)}{lengths}"
        kind = {"DW_TAG_enumeration_type": "enum ", "DW_TAG_structure_type": "struct ", "DW_TAG_union_type": "union "}.get(
            die.tag, ""
        )
        if die.tag == "DW_TAG_subroutine_type":
            return "void ()"
        return kind + (self._name(die) or "<anonymous>")


def _base(die: Any) -> Type:
    size, encoding = _number(die, "DW_AT_byte_size") or 0, _number(die, "DW_AT_encoding")
    if encoding == _BOOLEAN:
        return BOOL
    if encoding in _FLOATS or size not in (1, 2, 4, 8):
        # The language has no such numbers: their bytes.
        return Array(Int(8, False, FLOAT) if encoding in _FLOATS else U8, size)
    is_char = die.attributes["DW_AT_name"].value == b"char" if "DW_AT_name" in die.attributes else False
    return Int(size * 8, encoding in _SIGNED, "char" if is_char else "")


def _length(die: Any) -> int:
    count = _number(die, "DW_AT_count")
    if count is not None:
        return count
    upper = _number(die, "DW_AT_upper_bound")
    return 0 if upper is None else upper + 1


def _high(die: Any) -> int | None:
    """The end of an entry's code: an address, or a distance from its start."""
    low, high = _number(die, "DW_AT_low_pc"), _number(die, "DW_AT_high_pc")
    if low is None or high is None:
        return None
    return high if die.attributes["DW_AT_high_pc"].form == "DW_FORM_addr" else low + high


def _number(die: Any, attribute: str) -> int | None:
    """A number that is known without running the program; None for expressions and for what is not there."""
    found = None if die is None else die.attributes.get(attribute)
    return found.value if found is not None and isinstance(found.value, int) else None
