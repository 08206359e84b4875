"""The prepared form of printf says what printf says, for any memory; and it is there for what people print most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebpf.compiler.artifact.decode import PlainResolver, decode
from kubebpf.compiler.artifact.formatter import formatter_of
from kubebpf.compiler.artifact.manifest import Argument, Event
from kubebpf.compiler.artifact.printf import printf
from kubebpf.compiler.artifact.types import DBool, Desc, DInt, DPointer, DString, size_of

FLAGS = [f"{minus}{plus}{sharp}{zero}" for minus in ("", "-") for plus in ("", "+") for sharp in ("", "#") for zero in ("", "0")]
KINDS = ["d", "i", "u", "x", "X", "o", "c", "p", "s", "hhd", "hd", "ld", "llu", "hhx", "lx"]
TYPES: list[Desc] = [DInt(bits, signed) for bits in (8, 16, 32, 64) for signed in (False, True)]
TYPES += [DString(4), DString(16), DPointer(), DBool(), DInt(64, False, "cgroup")]


def event(format: str, *types: Desc) -> Event:
    offset, arguments = 8, list[Argument]()
    for t in types:
        arguments.append(Argument(offset, t))
        offset += (size_of(t) + 7) // 8 * 8
    return Event(1, "printf", offset, format, tuple(arguments))


def decoded(of: Event, data: bytes) -> str:
    values = [decode(argument.type, data[argument.offset :], PlainResolver()) for argument in of.arguments]
    return printf(of.format, values)


@given(st.data())
def test_it_agrees_with_printf(data: st.DataObject) -> None:
    """Also with conversions that do not fit their values, and with memory that is full to the last byte."""
    conversion = st.builds(
        lambda f, w, k: f"%{f}{w}{k}", st.sampled_from(FLAGS), st.sampled_from(["", "3", "12"]), st.sampled_from(KINDS)
    )
    pairs = data.draw(st.lists(st.tuples(conversion, st.sampled_from(TYPES)), max_size=4))
    of = event("50%% % " + "|".join(text for text, _ in pairs) + "%%\n", *(t for _, t in pairs))
    memory = st.binary(min_size=of.size, max_size=of.size) | st.lists(
        st.sampled_from(b"\0\0a7\x80\xff"), min_size=of.size, max_size=of.size
    ).map(bytes)
    records = data.draw(st.lists(memory, min_size=1, max_size=3))
    formatter = formatter_of(of, "..")
    if formatter is not None:
        assert formatter(records) == [decoded(of, record) for record in records]


@pytest.mark.parametrize(
    ("format", "types"),
    [
        ("hi\n", ()),
        ("%d %s\n", (DInt(32, False), DString(16))),
        ("%-8d %-16s %-7s %d us, last opened %s\n", (DInt(32, False), DString(16), DString(8), DInt(64, False), DString(64))),
        ("%5llu%% %08x %s %s\n", (DInt(64, False), DInt(64, True), DPointer(), DInt(64, True))),
    ],
)
def test_it_is_there_for_plain_values(format: str, types: tuple[Desc, ...]) -> None:
    of = event(format, *types)
    formatter = formatter_of(of, "..")
    assert formatter is not None
    assert formatter([bytes(of.size)]) == [decoded(of, bytes(of.size))]
