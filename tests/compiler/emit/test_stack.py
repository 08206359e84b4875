"""The 512 bytes of stack: measured, spared, and refused with a diagnostic when nothing helps."""

from __future__ import annotations

import pytest

from kubebpf.compiler.artifact.cells import Last
from kubebpf.compiler.emit import stack, target
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import compile_script
from support.programs import compiled, run

MANY = 80


def many(body: str, then: str) -> str:
    return (
        "begin { "
        + " ".join(body.replace("N", str(i)) for i in range(MANY))
        + " ".join(then.replace("N", str(i)) for i in range(MANY))
        + " }"
    )


PROGRAMS = {
    "numbers": (many("$vN = nsecs;", ' printf("%d", $vN > 0);'), 0),
    "strings": (many("$sN = comm; ", " @[$sN, N] = count();"), MANY),
    "large strings": (many("$sN = str(0, 200); ", " @[$sN, N] = count();"), MANY),
    "steps": (many("$vN = nsecs; $vN++; ", " @[$vN, N] = count();"), MANY),
    "tuples": (many("$tN = (N, comm, nsecs); ", " @[$tN] = count();"), MANY),
    "a callback beside": (
        many("$vN = nsecs; ", " @[$vN, N] = count();").replace("begin {", "begin { @m[1] = 1; print(len(@m)); "),
        MANY,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_large_programs_fit(name: str, small: KernelView) -> None:
    artifact = compiled(PROGRAMS[name][0], small)
    assert 0 < stack.deepest(artifact.elf) <= stack.LIMIT


@pytest.mark.kernel
@pytest.mark.parametrize("name", PROGRAMS)
def test_large_programs_run(name: str) -> None:
    text, keys = PROGRAMS[name]
    ran = run(text)
    if keys:
        assert len(ran.maps["@"]) == keys
    else:
        assert ran.lines == ["1"] * MANY


@pytest.mark.kernel
def test_spared_variables_keep_their_values() -> None:
    text = many("$vN = (uint64)N + $#; $wN = rand;", " print($vN); $vN += 5; @v += $vN; @w += $wN >= 0;")
    ran = run(text)
    assert ran.printed == list(range(MANY))
    assert (ran.cell("@v"), ran.cell("@w")) == (Last(sum(range(5, 5 + MANY))), Last(MANY))


def test_what_fits_nowhere_is_a_diagnostic(small: KernelView) -> None:
    terms = " + ".join(f"($v{i} > 0 ? 1 : 0)" for i in range(MANY))
    text = "begin { " + " ".join(f"$v{i} = nsecs;" for i in range(MANY)) + f" print({terms}); }}"
    done = compile_script(text, small, CompileOptions())
    if done.artifact is None:
        assert [c.code for c in done.report] == ["ProgramTooLarge"]
    else:
        assert stack.deepest(done.artifact.elf) <= stack.LIMIT


def test_too_large_values_are_a_diagnostic(small: KernelView) -> None:
    done = compile_script("config = { max_strlen = 33000 } begin { @ = str(0); }", small, CompileOptions())
    assert done.artifact is None
    assert [c.code for c in done.report] == ["ProgramTooLarge"]


def test_broken_code_is_an_exception_and_not_the_end_of_the_process() -> None:
    with pytest.raises(target.EmitError):
        target.to_object("this is no IR")
    wrong = (
        "declare i64 @llvm.bpf.preserve.type.info(i32, i64 immarg)\n!llvm.module.flags = !{!0}\n!0 = !{i32 2, "
        '!"Debug Info Version", i32 3}\n'
    )
    with pytest.raises(target.EmitError, match="incorrect return type"):
        target.to_object(
            wrong + "define i64 @f() { %x = call i64 @llvm.bpf.preserve.type.info(i32 0, i64 1)\n ret i64 %x }",
        )


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        ("ret i64 0", 0),
        ("%a = alloca [40 x i8], align 8\n %r = call i64 inttoptr (i64 16 to ptr)(ptr %a, i32 40)\n ret i64 %r", 40),
        ("%a = alloca [600 x i8], align 8\n %r = call i64 inttoptr (i64 16 to ptr)(ptr %a, i32 600)\n ret i64 %r", 600),
        ("%a = alloca i64, align 8\n store volatile i64 1, ptr %a, align 8\n ret i64 0", 8),
    ],
)  # fmt: skip
def test_depth_is_read_from_the_instructions(body: str, depth: int) -> None:
    elf = target.to_object(f'define i64 @f(ptr %c) section "raw_tp" {{\n {body}\n}}')
    assert stack.deepest(elf) == depth


def test_programs_longer_than_a_jump_are_a_diagnostic(small: KernelView) -> None:
    """LLVM ends the process over a jump of more than 16 bits."""
    strings = " ".join(f'@m["{"x" * 200}{i}", {i}] = "{"y" * 200}{i}";' for i in range(10))
    done = compile_script("begin { unroll(100) { " + strings + " } }", small, CompileOptions())
    assert done.artifact is None
    assert [c.code for c in done.report] == ["ProgramTooLarge"]
