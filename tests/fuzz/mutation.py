"""Programs made wrong: bytes and words that are moved, repeated, exchanged, cut.

mutant(random.Random(7), seeds())   -> a text; the same one for the same seed
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_][\w]*|\d\w*|[@$]\w*|\s+|.', re.DOTALL)
LONGEST = 20_000  # characters: a mutant of a mutant would grow without end

NUMBERS = (
    *("0", "1", "-1", "63", "64", "65536", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615"),
    *("18446744073709551616", "1e30", "0x", "0b1", "1_000", "10ms", "99999999999999999999999999h", "07", "1ull"),
)
WORDS = (
    *"{}()[]/;:,$@#.<>=+-&|!?~%^*\\\"'\n\t\0",
    *("->", "++", "--", "<<", ">>", "&&", "||", "==", "..", "?:", "/*", "*/", "//", "\\\n", "é", "\u202e", "𝒳", "\udc80", "\r"),
    *("if", "else", "for", "while", "unroll", "break", "continue", "return", "let", "macro", "fn", "import"),
    *("config", "comptime"),
    *("sizeof", "offsetof", "typeof", "typeinfo", "struct", "union", "enum", "true", "args", "$1", "$#", "@", "@x", "$x", "arg0"),
    *("begin", "end", "kprobe:f", "uprobe:/bin/sh:f", "tracepoint:sched:sched_switch", "usdt:/bin/sh:a:b", "interval:s:1"),
    "self:x",
    *("profile:hz:99", "rawtracepoint:sched_switch", "software:faults:1", "hardware:cache-misses:9"),
    *("watchpoint:0x1:8:w", "iter:task"),
    *("(int8)", "(uint64)", "(struct task_struct *)", "(bool)", "(string)", "(uint8[4])", "curtask"),
    *("comm", "pid", "retval", "kstack"),
    *("count()", "sum(1)", "avg(1)", "hist(1)", "lhist(1, 0, 9, 1)", "stats(1)", "str(arg0)", "buf(1, 2)", "ntop(1)", "print(@)"),
    *("#include <stdint.h>\n", "#define A A\n", "#define F(x) x\n", "struct s { int x; };\n", "let @m = hash(1);"),
    *("1, 2", "a = 1"),
    *NUMBERS,
)  # fmt: skip


def mutant(chance: random.Random, programs: Sequence[str]) -> str:
    """A program of the list with some changes, most of them to whole words, so that many get past the parser."""
    text = chance.choice(programs)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 6))):
        kind = chance.random()
        if kind < 0.1:
            text = _bytes(chance, text)
        elif kind < 0.7:
            text = "".join(_like_for_like(chance, WORD.findall(text), programs))
        else:
            text = "".join(_words(chance, WORD.findall(text), programs))
    return text[:LONGEST]


def _like_for_like(chance: random.Random, words: list[str], programs: Sequence[str]) -> list[str]:
    """A word in the place of another of its kind: the parser is content, and the later passes have something to do."""
    places = [i for i, word in enumerate(words) if _kind(word)]
    if not places:
        return words
    at = chance.choice(places)
    other = WORD.findall(chance.choice((chance.choice(programs), " ".join(WORDS))))
    choices = [word for word in other if _kind(word) == _kind(words[at])]
    return [*words[:at], chance.choice(choices), *words[at + 1 :]] if choices else words


def _kind(word: str) -> str:
    """What can stand in the same places: names, numbers, texts, variables, maps, operators."""
    if word[0].isalpha() or word[0] == "_":
        return "name"
    if word[0].isdigit():
        return "number"
    if word in "+-*/%&|^<>":
        return "operator"
    return word[0] if word[0] in '"@$' else ""


def _words(chance: random.Random, words: list[str], programs: Sequence[str]) -> list[str]:
    """One change to a list of words."""
    at = chance.randrange(len(words) + 1)
    end = min(len(words), at + chance.choice((1, 1, 1, 2, 3, 8, 20)))
    piece = words[at:end]
    match chance.randrange(8):
        case 0:  # left out
            return words[:at] + words[end:]
        case 1:  # twice, or often
            return words[:at] + piece * chance.choice((2, 2, 3, 50)) + words[end:]
        case 2:  # elsewhere, too
            to = chance.randrange(len(words) + 1)
            return words[:to] + piece + words[to:]
        case 3:  # exchanged
            return words[:at] + piece[::-1] + words[end:]
        case 4:  # a word of another program
            other = WORD.findall(chance.choice(programs))
            start = chance.randrange(len(other))
            return words[:at] + other[start : start + chance.choice((1, 3, 12))] + words[end:]
        case 5:
            return [*words[:at], chance.choice(WORDS), *words[at:]]
        case 6:
            return [*words[:at], chance.choice(WORDS), *words[at + 1 :]]
        case _:  # a number for a number
            numbers = [i for i, word in enumerate(words) if word[0].isdigit()]
            if numbers:
                words[chance.choice(numbers)] = chance.choice(NUMBERS)
            return words


def _bytes(chance: random.Random, text: str) -> str:
    """One change to the bytes, which may not be UTF-8 then."""
    data = bytearray(text.encode("utf-8", "surrogateescape"))
    at = chance.randrange(len(data) + 1)
    match chance.randrange(4):
        case 0:
            data[at:at] = bytes([chance.randrange(256)])
        case 1:
            del data[at : at + chance.choice((1, 1, 2, 10, 100))]
        case 2 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case _:
            del data[at:]
    return data.decode("utf-8", "surrogateescape")
