"""What goes and what does not, in programs that differ from each other by little; the reasons stand in goldens."""

from __future__ import annotations

import pytest

from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import check_script

ACCEPTED = {
    "the value of a ternary statement is dropped": """
        begin { pid ? 1 : "s" }
        begin { pid ? printf("a") : 0 }
    """,
    "a literal condition makes one value only": """
        begin { $x = 1 ? 1 : "a"; }
        begin { $x = "a" == "a" ? 1 : "b"; }
        begin { $x = $1 ? 1 : "b"; }
        begin { $x = if (1) { 1 } else { "a" }; }
    """,
    "where a map holds numbers, those of aggregates are meant": """
        begin { @a = @c; @a = 1; @c = count(); }
        begin { @c[1] = avg(5); @a[1] = @c[1]; @a[2] = 1; }
    """,
    "characters of literals are literals": """
        begin { kstack("abc"[0]) }
        begin { print(comptime "abc"[3]); }
    """,
    "bytes that hold an Ethernet address, and more": """
        begin { macaddr(comm) }
        begin { macaddr((int32[2])1) }
    """,
    "a cast number may be none of the enum's": """
        enum foo { a = 1 } begin { $x = (enum foo)(uint8)2; }
    """,
    "pointers to numbers go together, and so do casts to more bytes": """
        begin { $x = (int8*)0; $x = (uint32*)0; $y = pid ? (int8**)0 : (int32**)0; }
        begin { let $x: int32* = (int8*)0; }
        begin { @[(int8*)0] = 1; @[(int32*)0] = 1; }
        begin { print((int16[4])(uint8)1); print((int8[8])pid); }
    """,
    "strings have an address": """
        begin { $t = (int32*)comm; $t = $t + 1; print(*$t); }
    """,
    "a literal without its first characters, either way round": """
        begin { print(1 + "abc"); print("abc" + 1); }
        begin { str($1) && "foo" }
    """,
    "every program has the library": """
        import "stdlib"; begin { }
    """,
    "settings of older releases": """
        config = { cache_user_symbols = 1; print_maps_on_exit = 2; unstable_macro = 1; unstable_import = "error" } begin { }
    """,
    "literals as conditions": """
        begin { if ("a") { } }
        begin { if (str($1)) { } }
        begin { if ("a" && 1) { } }
    """,
}
REFUSED = {
    "bools are no numbers": """
        begin { ksym(true) }
        begin { @ = lhist(true, 0, 10, 1); }
        begin { let $x: int8 = true; }
        begin { $a = true; $a++; }
        begin { for ($i : 0..true) { } }
        begin { str(kaddr("jiffies"), true) }
        begin { unroll(true) { } }
    """,
    "an aggregate is a number where a cast or a comparison asks for it": """
        begin { @c = count(); print(!@c); }
        begin { @c = count(); ksym(@c); }
        begin { @c = count(); @a = @c; @a = "s"; }
    """,
    "strings, arrays and buffers are neither true nor false": """
        begin { if (comm && 1) { } }
        begin { $s = "a"; $x = $s ?: "b"; }
        begin { $x = ((int8[4])1) ? 1 : 2; }
        begin { if (buf(comm, 1)) { } }
    """,
    "pointers to other things do not": """
        begin { $x = (int8*)0; $x = (bool*)0; }
        begin { $x = (struct file*)0; $x = (int8*)0; }
    """,
    "what a cast would cut, or make of no number": """
        begin { $a = (int8[8])true; }
        begin { (buffer)2 }
        begin { print((int8[1])300); }
        begin { return 1 == 1; }
        begin { @ = tseries(1, 1s, 5, ""); }
    """,
    "the kernel is not told what it prints": """
        begin { debugf("%d", "a"); }
        begin { debugf("%s", 1); }
    """,
    "no type holds both": """
        begin { print(-1 == 0xffffffffffffffff); }
    """,
    "suffixes": """
        begin { print(7UL); }
        begin { print(0x1ul); }
    """,
}


def cases(table: dict[str, str]) -> list[str]:
    return [line.strip() for block in table.values() for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("program", cases(ACCEPTED))
def test_accepted(program: str, small: KernelView) -> None:
    assert [type(c).__name__ for c in check_script(program, small, CompileOptions()).report.errors] == []


@pytest.mark.parametrize("program", cases(REFUSED))
def test_refused(program: str, small: KernelView) -> None:
    assert check_script(program, small, CompileOptions()).report.errors
