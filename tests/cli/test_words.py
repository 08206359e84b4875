"""The words behind a program."""

import pytest

from kubebpf.cli.problems import UserError
from kubebpf.cli.words import Words, split


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Words()),
        (["7", "abc"], Words(("7", "abc"))),
        (["--", "--foo=9", "--bar"], Words((), {"foo": "9", "bar": ""})),
        (["pos1", "--", "--aa=20", "--cc=bye", "pos2", "--dd"], Words(("pos1", "pos2"), {"aa": "20", "cc": "bye", "dd": ""})),
        (["--", "-5", "--x=a=b", "--y="], Words(("-5",), {"x": "a=b", "y": ""})),
    ],
)
def test_words(words: list[str], expected: Words) -> None:
    assert split(words) == expected


def test_a_single_dash_is_a_mistake() -> None:
    with pytest.raises(UserError, match="-x: behind --") as caught:
        split(["--", "-x"])
    assert caught.value.code == 2
