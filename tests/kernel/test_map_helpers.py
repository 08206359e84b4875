"""find: the value of a key and whether it is there, in one look."""

from __future__ import annotations

import pytest

from support.programs import anything, codes, pair, run

pytestmark = pytest.mark.kernel


def test_find() -> None:
    text = """begin {
        @n[7] = 42; @t[1, "x"] = (5, "hello"); @c[3] = count(); @c[3] = count(); @s["k"] = "text"; @w[1] = (int8)5;
        let $n; print((find(@n, 8, $n), $n)); print((find(@n, 7, $n), $n)); print((find(@n, 8, $n), $n));
        let $t; if (find(@t, (1, "x"), $t)) { print($t); } if (!find(@t, (1, "longer"), $t)) { print($t); }
        let $count; print((find(@c, 3, $count), $count)); let $s; print((find(@s, "k", $s), $s));
        $wide = (int64)70000; print((find(@w, 1, $wide), $wide));
    }"""
    assert run(text).printed == [
        pair(False, 0), pair(True, 42), pair(False, 42), pair(5, "hello"), pair(5, "hello"), pair(True, 2), pair(True, "text"),
        pair(True, 5),
    ]  # fmt: skip


def test_find_in_a_loop() -> None:
    text = "begin { @n[1] = 42; @n[2] = 43; let $v; for $i : 0..4 { if (find(@n, $i, $v)) { print(($i, $v)); } } print($v); }"
    assert run(text).printed == [pair(1, 42), pair(2, 43), 43]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("find(@scalar, 1, $v)", "NeedsKeyedMap"),
        ('find(@keyed, "a", $v)', "KeyMismatch"),
        ("find(@keyed, 1, 5)", "NeedsVariable"),
        ("find(@keyed, 1, $never)", "UndefinedVariable"),
        ("find(1, 1, $v)", "NeedsMap"),
        ("find(@keyed, 1)", "WrongArgumentCount"),
    ],
)
def test_find_refuses(call: str, code: str) -> None:
    assert codes(f"begin {{ @scalar = 1; @keyed[1] = 1; let $v; _ = {call}; }}", anything()) == [code]
