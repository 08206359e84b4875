"""LLVM in process: IR text in, a BPF ELF object out. The only module that talks to llvmlite."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

import llvmlite.binding as llvm

# cpu v3 has 32-bit ALU and jumps, understood by every kernel since 5.1; v4 (6.6) is not required of nodes.
CPU = "v3"
TRIPLE = "bpfel"
LAYOUT = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"


# LLVM remembers CO-RE accesses by name in a table that outlives the module (BPFAbstractMemberAccess::GEPGlobals, a static
# member), and a
# second module with the same access is given a variable of the first, which is gone. So each module spells its struct names
# with a
# suffix of its own, as wide as all others, and `to_object` turns it into zeros again: names end at a zero, and equal modules
# stay equal.
_runs = itertools.count(1)
SUFFIX = "___kb00000000"  # what a module appends to the names of the structs that it relocates


def _fresh_suffix() -> str:
    return f"___kb{next(_runs):08x}"


# A jump spans 32767 instructions at most, and LLVM ends the process over a longer one.
LONGEST = 32767
# More than any line of IR becomes: an instruction with its operands' constants and what is spilled for it, or unaligned;
# a call of LLVM's own, of which copying takes most (128 loads and stores).
_EXPANDS, _EXPANDS_MOST = 24, 260


class EmitError(Exception):
    """LLVM refused what we generated: a defect of the compiler, never of the program."""


class LongFunctionError(Exception):
    """A function has more instructions than a jump can span.

    Args:
        length: how many it has.
    """

    def __init__(self, length: int) -> None:
        super().__init__(f"a function has {length} instructions")
        self.length = length


# Without the first, the parser ends the process over IR that does not verify, instead of leaving that to `verify`
# (UpgradeDebugInfo,
# llvm/lib/IR/AutoUpgrade.cpp). With the second, LLVM lays out stacks beyond 512 bytes, which it would end the process over as
# well:
# `emit/stack.py` looks at what came out.
_OPTIONS = ("--disable-auto-upgrade-debug-info", "--bpf-stack-size=1048576")


@cache
def _machine() -> llvm.TargetMachine:
    for option in _OPTIONS:
        llvm.set_option("kubebpf", option)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=CPU, opt=2)


def optimise(ir: str, linked: Sequence[bytes] = ()) -> tuple[llvm.ModuleRef, str]:
    """Parse, verify and optimise a module.

    Args:
        linked: bitcode of modules whose functions it calls; they become its own.
    Returns: the module, and what stands in it for SUFFIX: each run has its own, even of one text.
    Raises:
        EmitError: the text is not valid IR.
    """
    machine = _machine()  # sets the options that the parser goes by
    suffix = _fresh_suffix()
    ir = ir.replace(SUFFIX, suffix)
    try:
        module = llvm.parse_assembly(f'target triple = "{TRIPLE}"\ntarget datalayout = "{LAYOUT}"\n{ir}')
        for bitcode in linked:
            _link(module, bitcode)
        module.verify()
    except RuntimeError as error:
        raise EmitError(str(error)) from error
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    return module, suffix


def _link(module: llvm.ModuleRef, bitcode: bytes) -> None:
    """Bring another module's code in. Its functions are seen from nowhere else, so what nothing calls is left out."""
    other = llvm.parse_bitcode(bitcode)
    other.triple, other.data_layout = TRIPLE, LAYOUT
    names = [function.name for function in other.functions if not function.is_declaration]
    module.link_in(other)
    for name in names:
        module.get_function(name).linkage = "internal"


def to_object(ir: str, linked: Sequence[bytes] = ()) -> bytes:
    """The ELF object of a module's IR text. Equal texts give equal bytes.

    Args:
        linked: as in `optimise`.

    Raises:
        EmitError: the text is not valid IR.
        LongFunctionError: it cannot become an object.
    """
    module, suffix = optimise(ir, linked)
    # Counting takes as long as making the object: only what could be too long is counted.
    if _at_most(str(module)) > LONGEST and (length := _longest_function(_machine().emit_assembly(module.clone()))) > LONGEST:
        raise LongFunctionError(length)
    return bytes(_machine().emit_object(module)).replace(suffix.encode(), b"\0" * len(suffix))


def to_assembly(ir: str, linked: Sequence[bytes] = ()) -> str:
    """BPF assembly of a module, for a person to read."""
    module, suffix = optimise(ir, linked)
    return str(_machine().emit_assembly(module)).replace(suffix, "")


def _at_most(ir: str) -> int:
    """A bound of the instructions of the longest function of an optimised module; far above what it really has."""
    functions = (function.partition("\n}")[0] for function in ir.split("\ndefine ")[1:])
    return max((_bound(function) for function in functions), default=0)


def _bound(function: str) -> int:
    # Each value that a phi takes, `[ value, block ]`, is a move in that block.
    return (function.count("\n") + function.count("[")) * _EXPANDS + function.count("@llvm.") * _EXPANDS_MOST


def _longest_function(assembly: str) -> int:
    """The number of instructions of the longest function."""
    longest = current = 0
    for line in assembly.splitlines():
        if line.startswith("\t") and line[1:2] not in (".", "#", ""):
            current += 2 if line.endswith(" ll") else 1
        elif line.startswith("\t.size"):
            longest, current = max(longest, current), 0
    return max(longest, current)
