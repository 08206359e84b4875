"""printf against what bpftrace 0.27.1 printed for the same format and values."""

import pytest

from kubebpf.compiler.artifact.printf import conversions, printf
from kubebpf.compiler.artifact.values import Array, Bytes, Cgroup, Enum, Pointer, Record, Text, Tuple, Value

BIG = 4294967297
BUF = Bytes(b"a\x01b")

CASES: list[tuple[str, list[Value], str]] = [
    ("hi\n", [], "hi\n"),
    ("%% %d%%\n", [5], "% 5%\n"),
    ("100%", [], "100%"),
    ("%y %D %5% %q", [], "%y %D %5% %q"),
    ("%10s|%-10s|%.2s|", ["abc", "abc", "abc"], "       abc|abc       |abc|"),
    ("%10d|%-10d|%05d|%+d|", [5, -5, 42, 7], "         5|-5        |00042|+7|"),
    ("%x|%X|%#x|%#X|%o|%#o|%c|", [255, 255, 255, 255, 8, 8, 65], "ff|FF|0xff|0XFF|10|010|A|"),
    ("%p|%5p|%20p|%#p", [Pointer(10), 1, 5, 7], "0xa|  0x1|                 0x5|0x7"),
    ("%p", [-5], "0xfffffffffffffffb"),
    ("%s|%d|%-6s|%u", [True, True, True, True], "true|1|true  |1"),
    ("%d %ld %u %lu %i", [BIG, BIG, -1, -1, BIG], "1 4294967297 4294967295 18446744073709551615 1"),
    ("%hhd %hd %zd %td %jd %lld", [300, 70000, -5, -5, -5, -5], "44 4464 -5 -5 -5 -5"),
    ("%x %lx %hhx %hx", [-1, -1, -1, -1], "ffffffff ffffffffffffffff ff ffff"),
    ("%Lx %jx %tx %zx %zzx %hhhx %lhd", [BIG, BIG, BIG, BIG, BIG - 1, 300, 70000], "1 100000001 100000001 100000001 0 12c 70000"),
    ("%hhx %hx %x %jx", [0x12345678ABCDEF] * 4, "ef cdef 78abcdef 12345678abcdef"),
    ("%d %s", [2**64 - 1, 2**64 - 1], "-1 18446744073709551615"),
    ("%hhd %hd %d", [200, 200, 200], "-56 200 200"),
    ("%s %s %10s|", [5, -5, 5], "5 -5          5|"),
    ("%5c|%-5c|%05s|%.3d|%8.3d|% d|%08x", [65, 66, "ab", 5, 5, 5, 255], "    A|B    |000ab|5|       5|5|000000ff"),
    ("%05d|%+05d|%#08x|%-#8x|%08d|%-05d", [-5, 7, 255, 255, -42, 65], "000-5|000+7|00000xff|0xff    |00000-42|65000"),
    ("%-+5d|%+ d|%+#x|%+5d|% 5d|%#5x|%-x", [65] * 7, "+65  |+65|0x41|  +65|   65| 0x41|41"),
    ("%+-5d|% +d|%0-5d|%0+5d|%#-8x|%5.d|%.d|%  d", [], "%+-5d|% +d|%0-5d|%0+5d|%#-8x|%5.d|%.d|%  d"),
    ("%.*d|%*.3d|%*d", [65, 65, 65], "65|65|65"),
    ("%+d %+x %+u %+s %+ld", [5, 5, 5, 5, -5], "+5 5 5 +5 -5"),
    ("%#x %#o", [0, 0], "0 0"),
    ("%lc|%llc|%hhs|%hs", [65, 65, "abc", 65], "A|A|abc|65"),
    ("%c%c", [0x1F600, 300], "\0,"),
    ("%r %rx %rh|%20r|", [BUF, BUF, BUF, Bytes(b"abc")], "a\\x01b \\x61\\x01\\x62 61 01 62|                 abc|"),
    ("%-10r|%10rx|%3rh|", [Bytes(b"a")] * 3, "a         |      \\x61| 61|"),
    ("%s|%s|%s|%s|%d", [Record((("a", 1),)), Tuple((1, "a")), Array((1, 2)), Enum("TWO", 2), Enum("TWO", 2)],
     "{ .a = 1 }|(1, a)|[1,2]|TWO|2"),
    ("%-5s %5s %s", [Enum("A", 0), Enum("B", 1), Enum("C", 2)], "A         B C"),
    ("%s|%30s|", [Text("\n        f+1\n", "ustack")] * 2, "\n        f+1\n|                 \n        f+1\n|"),
    ("%x|%d|%lx", [Pointer(5000000000)] * 3, "2a05f200|705032704|12a05f200"),
    ("%d %s %llu", [Cgroup(7), Cgroup(7, "n"), Cgroup(7)], "7 7 (node n) 7"),
    ("%gr|%gr|%20gr|%gr", [0xCC0, 0x41, 1, 0], "GFP_KERNEL|GFP_DMA|__GFP_IO|             GFP_DMA|0"),
    ("%gr|%gr|%gr", [0x100CCA, 0x452CC0, 0x2820],
     "GFP_HIGHUSER|0x8|GFP_KERNEL_ACCOUNT|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP|GFP_ATOMIC|__GFP_NOWARN"),
    ("%d|%r|%s|", ["abc", 5], "!{str is no integer}|!{int is no buffer}|!{missing}|"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "values", "text"), CASES, ids=[format[:30] for format, _, _ in CASES])
def test_printf(format: str, values: list[Value], text: str) -> None:
    assert printf(format, values) == text


def test_the_conversions_that_take_a_value() -> None:
    assert conversions("%% %d %-5s %y 50% of %rx") == ["%d", "%-5s", "% o", "%rx"]
