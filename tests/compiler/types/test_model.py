"""Sizes, alignments and spellings of types: what lies where in maps, events and on the stack."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebpf.compiler.types.model import (
    BOOL,
    U8,
    U64,
    VOID,
    Aggregate,
    Array,
    Buffer,
    EnumType,
    FunctionType,
    Int,
    Pointer,
    Record,
    Resolved,
    String,
    Tuple,
    Type,
    alignof,
    members,
    round_up,
    sizeof,
)

ELEMENTS = st.recursive(
    st.one_of(
        st.builds(Int, st.sampled_from([8, 16, 32, 64]), st.booleans()),
        st.builds(String, st.integers(1, 30)),
        st.builds(Buffer, st.integers(1, 30)),
        st.just(BOOL),
        st.builds(Pointer, st.just(VOID)),
    ),
    lambda inner: st.one_of(
        st.builds(Tuple, st.lists(inner, min_size=1, max_size=4).map(tuple)),
        st.builds(Array, inner.filter(lambda t: not isinstance(t, Tuple)), st.integers(1, 5)),
    ),
    max_leaves=8,
)


@given(st.lists(ELEMENTS, min_size=1, max_size=6).map(tuple))
def test_members_are_aligned_and_do_not_overlap(elements: tuple[Type, ...]) -> None:
    offsets, size = members(Tuple(elements))
    end = 0
    for offset, element in zip(offsets, elements, strict=True):
        assert offset >= end
        assert offset % alignof(element) == 0
        assert offset - end < alignof(element)
        end = offset + sizeof(element)
    assert end <= size < end + alignof(Tuple(elements))
    assert size == sizeof(Tuple(elements))


@given(st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple))
def test_records_lie_as_tuples_do(elements: tuple[Type, ...]) -> None:
    record = Record(tuple((f"f{i}", e) for i, e in enumerate(elements)))
    assert members(record) == members(Tuple(elements))


@pytest.mark.parametrize(
    ("t", "size", "align", "text"),
    [
        (U8, 1, 1, "uint8"), (U64, 8, 8, "uint64"), (Int(16, True), 2, 2, "int16"), (BOOL, 1, 1, "bool"), (VOID, 0, 1, "void"),
        (String(5), 5, 1, "string[5]"), (Buffer(5), 9, 4, "buffer[5]"), (Pointer(U8), 8, 8, "uint8*"),
        (Pointer(Pointer(VOID)), 8, 8, "void**"),
        (Array(Int(32, True), 3), 12, 4, "int32[3]"), (Array(Array(U8, 3), 2), 6, 1, "uint8[2][3]"),
        (EnumType("color", Int(32, False), (("RED", 0),)), 4, 4, "enum color"), (FunctionType(), 0, 1, "void ()"),
        (Tuple((U8, U64)), 16, 8, "(uint8,uint64)"), (Record((("a", U8),)), 1, 1, "record { .a = uint8; }"),
        (Aggregate("count", signed=False), 8, 8, "count_t"), (Aggregate("sum", signed=False), 8, 8, "usum_t"),
        (Aggregate("hist", params=(3,)), 8, 8, "hist_t(3)"), (Resolved("cgroup_path", 16), 16, 8, "cgroup_path_t"),
    ],
)  # fmt: skip
def test_examples(t: Type, size: int, align: int, text: str) -> None:
    assert (sizeof(t), alignof(t), str(t)) == (size, align, text)


@given(st.integers(0, 10**9), st.integers(1, 4096))
def test_round_up(n: int, to: int) -> None:
    up = round_up(n, to)
    assert up % to == 0
    assert n <= up < n + to
