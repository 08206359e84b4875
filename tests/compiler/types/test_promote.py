"""Joining types: the algebra that makes inference independent of the order of assignments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebpf.compiler.passes.slots import Slot, joined_type
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import (
    BOOL,
    VOID,
    Aggregate,
    Buffer,
    EnumType,
    Int,
    Pointer,
    Record,
    Space,
    String,
    Tuple,
    Type,
)
from kubebpf.compiler.types.promote import as_int, fits, is_integral, join, smallest_int

INTS = st.builds(Int, st.sampled_from([8, 16, 32, 64]), st.booleans())
LEAVES = st.one_of(
    INTS,
    st.builds(String, st.integers(1, 64)),
    st.builds(Buffer, st.integers(1, 64)),
    st.just(BOOL),
    st.builds(EnumType, st.sampled_from(["red", "blue"]), st.just(Int(32, False)), st.just(())),
    st.builds(Aggregate, st.sampled_from(["sum", "hist"]), st.booleans(), st.sampled_from([(0,), (2,)])),
    st.builds(Pointer, st.one_of(INTS, st.just(VOID)), st.sampled_from(list(Space))),
)
TYPES: st.SearchStrategy[Type] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Tuple, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Record, st.tuples(st.tuples(st.just("a"), inner), st.tuples(st.just("b"), inner))),
    ),
    max_leaves=5,
)


@given(TYPES)
def test_a_type_joins_itself(t: Type) -> None:
    assert join(t, t) == t


@given(TYPES, TYPES)
def test_the_order_does_not_matter(a: Type, b: Type) -> None:
    assert join(a, b) == join(b, a)


def join_of(a: Type | None, b: Type | None) -> Type | None:
    return None if a is None or b is None else join(a, b)


@given(TYPES, TYPES, TYPES)
def test_nor_does_the_grouping_when_all_goes_together(a: Type, b: Type, c: Type) -> None:
    left, right = join_of(join(a, b), c), join_of(a, join(b, c))
    if left is not None and right is not None:
        assert left == right


@given(TYPES, TYPES)
def test_the_common_type_takes_both(a: Type, b: Type) -> None:
    both = join(a, b)
    if both is not None:
        assert join(both, a) == both
        assert join(both, b) == both


@given(INTS, INTS)
def test_the_common_integer_holds_both_but_for_the_largest(a: Int, b: Int) -> None:
    both = join(a, b)
    assert isinstance(both, Int)
    for t in (a, b):
        low = -(1 << (t.bits - 1)) if t.signed else 0
        high = low + (1 << t.bits) - 1
        assert fits(low, both)
        assert fits(high, both) or (t == Int(64, False) and both == Int(64, True))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (Int(8, False), Int(32, False), Int(32, False)),
        (Int(32, True), Int(32, False), Int(64, True)),
        (Int(64, True), Int(8, False), Int(64, True)),
        (Int(64, True), Int(64, False), Int(64, True)),
        (String(2), String(6), String(6)),
        (Int(8, True), String(2), None),
        (Tuple((Int(8, True), String(2))), Tuple((Int(16, True), String(9))), Tuple((Int(16, True), String(9)))),
        (Tuple((Int(8, True),)), Tuple((Int(8, True), Int(8, True))), None),
        (Record((("a", Int(8, True)), ("b", BOOL))), Record((("b", BOOL), ("a", Int(16, True)))),
         Record((("a", Int(16, True)), ("b", BOOL)))),
        (Record((("a", BOOL),)), Record((("b", BOOL),)), None),
        (Pointer(VOID), Pointer(Int(8, True)), Pointer(VOID)),
        (Pointer(Int(8, True)), Pointer(Int(16, True)), Pointer(Int(16, True))),
        (Pointer(Int(8, True)), Pointer(BOOL), None),
        (Pointer(Int(8, True)), Pointer(Pointer(Int(8, True))), None),
        (Aggregate("sum", signed=False), Aggregate("sum"), Aggregate("sum")),
        (Aggregate("hist", params=(0,)), Aggregate("hist", params=(1,)), None),
        (Aggregate("sum"), Aggregate("avg"), None),
        (BOOL, Int(8, True), None),
    ],
)  # fmt: skip
def test_examples(a: Type, b: Type, expected: Type | None) -> None:
    assert join(a, b) == expected


def test_roles_survive_only_among_themselves() -> None:
    cgroup, plain = Int(64, False, "cgroup"), Int(64, False)
    same, mixed = join(cgroup, cgroup), join(cgroup, plain)
    assert isinstance(same, Int) and isinstance(mixed, Int)
    assert (same.role, mixed.role) == ("cgroup", "")


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_a_literal_gets_the_smallest_type_that_holds_it(n: int) -> None:
    t = smallest_int(n)
    assert fits(n, t)
    smaller = [Int(bits, True) for bits in (8, 16, 32, 64) if bits < t.bits]
    assert not any(fits(n, s) for s in smaller)
    assert t.signed == (n < 1 << 63)


@given(TYPES)
def test_integral_types_have_an_integer_behind_them(t: Type) -> None:
    if is_integral(t):
        assert as_int(t).bits in (8, 16, 32, 64)


NUMBERS = st.tuples(INTS, st.booleans())


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.randoms())
def test_a_slot_does_not_depend_on_the_order_of_assignments_of_one_sign(values: list[tuple[Int, bool]], random: object) -> None:
    """Numbers that are flexible take the sign of the others; the result is the same whichever came first."""
    from random import Random

    assert isinstance(random, Random)
    signs = {t.signed for t, flexible in values if not flexible}
    if len(signs) > 1:
        return

    def grown(order: list[tuple[Int, bool]]) -> tuple[Type | None, bool]:
        slot = Slot()
        for t, flexible in order:
            t = Int(t.bits, True) if flexible else t  # literals are signed
            assert slot.grow(typed.Constant(span=Span(0, 0), type=t, value=1), flexible=flexible)
        return slot.type, slot.flexible

    shuffled = values[:]
    random.shuffle(shuffled)
    assert grown(values) == grown(shuffled)


def test_flexible_numbers_take_the_other_s_sign() -> None:
    assert joined_type(Int(8, True), True, Int(64, False), False) == Int(64, False)
    assert joined_type(Int(64, False), False, Int(8, True), True) == Int(64, False)
    assert joined_type(Int(8, True), True, Int(64, True), False) == Int(64, True)
    assert joined_type(Int(8, True), False, Int(64, False), False) == Int(64, True)
