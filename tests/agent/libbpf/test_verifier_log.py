"""Verifier logs shortened. The texts are what Linux 6.18 and libbpf 1.1 printed."""

from __future__ import annotations

import pytest

from kubebpf.agent.libbpf.verifier import Refusal, Source, refused, shorten

BAD_ACCESS = """\
arg#0 reference type('UNKNOWN ') size cannot be determined: -22
0: R1=ctx() R10=fp0
; third line @ stdin:3
0: (b7) r1 = 0                        ; R1=0
1: (79) r0 = *(u64 *)(r1 +0)
R1 invalid mem access 'scalar'
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

OLD_KERNEL = """\
; $x = *(uint64*)0
0: (b7) r1 = 0
R1 invalid mem access 'scalar'
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
verification time 41 usec
stack depth 0
"""


def core(relocation: str) -> str:
    return (
        "0: R1=ctx() R10=fp0\n; print(curtask.foo) @ stdin:1\n0: <invalid CO-RE relocation>\n"
        f"failed to resolve CO-RE relocation {relocation}\nprocessed 1 insns (limit 1000000)\n"
    )


def test_last_message_before_the_statistics() -> None:
    assert shorten(BAD_ACCESS) == Refusal("R1 invalid mem access 'scalar'", Source("third line", "stdin", 3), 6)


def test_older_kernels_name_no_file() -> None:
    assert shorten(OLD_KERNEL) == Refusal("R1 invalid mem access 'scalar'", Source("$x = *(uint64*)0"), 5)


def test_source_is_the_last_one_before_the_message() -> None:
    log = "; first @ a.bt:1\n0: (b7) r1 = 0\nfrom 3 to 5: R1=0\n; second @ a.bt:2\n5: (95) exit\nR0 !read_ok\nprocessed 6 insns\n"
    assert shorten(log) == Refusal("R0 !read_ok", Source("second", "a.bt", 2), 6)


@pytest.mark.parametrize(
    ("relocation", "sentence"),
    [
        ("<byte_off> [18] struct task_struct.foo (0:3:1 @ offset 4)", "this kernel has no field foo in struct task_struct"),
        ("<field_exists> [3] struct sock.a.b (0:1:2 @ offset 8)", "this kernel has no field a.b in struct sock"),
        ("<type_id> [7] struct nothing", "this kernel has no struct nothing like the one that the program was compiled for"),
        ("<enumval_value> [9] enum state::GONE = 4", "this kernel has no GONE in enum state"),
    ],
)
def test_failed_relocation_is_a_sentence(relocation: str, sentence: str) -> None:
    refusal = shorten(core(relocation))
    assert refusal.message == sentence
    assert refusal.source == Source("print(curtask.foo)", "stdin", 1)


def test_poisoned_instruction_without_libbpfs_words() -> None:
    log = "0: (85) call unknown#195896080\ninvalid func unknown#195896080\nprocessed 1 insns\n"
    assert shorten(log).message.startswith("this kernel lacks a type or field")


def test_refusals_of_two_lines_are_joined() -> None:
    log = "5: (79) r0 = r1\ninvalid access to map value, value_size=8 off=8 size=8\nR0 min value is outside\nprocessed 6\n"
    assert shorten(log) == Refusal("invalid access to map value, value_size=8 off=8 size=8; R0 min value is outside", None, 2)


def test_a_log_of_nothing() -> None:
    assert shorten("") == Refusal("the kernel gave no reason", None, 0)


def test_found_among_the_messages_of_libbpf() -> None:
    text = (
        "libbpf: prog 'probe_0': BPF program load failed: Permission denied\n"
        f"libbpf: prog 'probe_0': -- BEGIN PROG LOAD LOG --\n{BAD_ACCESS}-- END PROG LOAD LOG --\n"
        "libbpf: failed to load object 'x'\n"
    )
    error = refused(13, text)
    assert error is not None
    assert (error.program, error.log, error.errno) == ("probe_0", BAD_ACCESS, 13)
    assert str(error) == "stdin:3: the kernel refused probe_0: R1 invalid mem access 'scalar' (6 lines omitted)"


def test_no_log_among_the_messages() -> None:
    assert refused(1, "libbpf: failed to load object 'x'\n") is None
