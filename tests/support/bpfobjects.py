"""BPF objects for the tests, from LLVM IR text written here: maps in BTF form, programs, a manifest section.

    count = Code("count", "tracepoint/syscalls/sys_enter_getppid", BODY)
    elf = Source(maps=(Map("counts", HASH, 4, 8, 16),), programs=(count,)).elf()

The IR is text because llvmlite's builder prints no debug info on globals, which BTF-defined maps need.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from llvmlite import binding as llvm

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, RINGBUF = 1, 2, 5, 6, 27
TRIPLE = 'target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"\ntarget triple = "bpfel"\n'


@dataclass(frozen=True)
class Map:
    """A map to declare; a ring buffer has neither key nor value."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int


@dataclass(frozen=True)
class Code:
    """A program: IR statements after `entry:`, which may use %ctx and the maps' names; they all come from source line `line`."""

    name: str
    section: str
    body: str
    line: int = 1


@dataclass(frozen=True)
class Source:
    """All of an object."""

    maps: tuple[Map, ...] = ()
    programs: tuple[Code, ...] = ()
    rodata: int = 0
    manifest: bytes = b""
    text: str = "first line\nsecond line\nthird line\n"
    extra: str = ""
    metadata: list[str] = field(default_factory=list)

    def elf(self) -> bytes:
        """The object file."""
        return _compile(self._ir())

    def _ir(self) -> str:
        self.metadata.clear()
        self.metadata.extend(self._unit())
        parts = [
            TRIPLE,
            self._data(),
            *(self._map(m) for m in self.maps),
            *(self._function(p) for p in self.programs),
            self.extra,
        ]
        named = '!llvm.dbg.cu = !{!1}\n!llvm.module.flags = !{!2}\n!2 = !{i32 2, !"Debug Info Version", i32 3}\n'
        return "\n".join([*parts, named, *self.metadata])

    def _unit(self) -> list[str]:
        text = self.text.replace("\n", "\\0A").replace('"', "\\22")
        return [
            f'!0 = !DIFile(filename: "stdin", directory: "/", source: "{text}")',
            "!1 = distinct !DICompileUnit(language: DW_LANG_C99, file: !0, emissionKind: FullDebug, globals: !4)",
            "",
            '!3 = !DIBasicType(name: "int", size: 32, encoding: DW_ATE_signed)',
            "!4 = !{" + ", ".join(f"!{100 + 20 * i}" for i in range(len(self.maps))) + "}",
            "!5 = !DISubroutineType(types: !6)",
            "!6 = !{!3, !7}",
            "!7 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: null, size: 64)",
        ]

    def _data(self) -> str:
        data = ['@_license = global [4 x i8] c"GPL\\00", section "license", align 1']
        if self.rodata:
            data.append(
                f'@constants = constant [{self.rodata // 8} x i64] zeroinitializer, section ".rodata.kb", align 8, !dbg !10\n'
                "!10 = !DIGlobalVariableExpression(var: !11, expr: !DIExpression())\n"
                '!11 = distinct !DIGlobalVariable(name: "constants", scope: !1, file: !0, line: 1, type: !12)\n'
                f"!12 = !DICompositeType(tag: DW_TAG_array_type, baseType: !3, size: {self.rodata * 8}, elements: !13)\n"
                f"!13 = !{{!14}}\n!14 = !DISubrange(count: {self.rodata // 4})"
            )
        if self.manifest:
            literal = "".join(f"\\{b:02X}" for b in self.manifest)
            data.append(f'@manifest = global [{len(self.manifest)} x i8] c"{literal}", section "kubebpf.manifest", align 1')
        return "\n".join(data)

    def _map(self, m: Map) -> str:
        base = 100 + 20 * self.maps.index(m)
        numbers = {"type": m.type, "key_size": m.key_size, "value_size": m.value_size, "max_entries": m.max_entries}
        attributes = {name: number for name, number in numbers.items() if number}
        members = [base + 3 + 4 * i for i in range(len(attributes))]
        lines = [
            f"!{base} = !DIGlobalVariableExpression(var: !{base + 1}, expr: !DIExpression())",
            f'!{base + 1} = distinct !DIGlobalVariable(name: "{m.name}", scope: !1, file: !0, line: 1, type: !{base + 2}, '
            "isDefinition: true)",
            f"!{base + 2} = distinct !DICompositeType(tag: DW_TAG_structure_type, file: !0, line: 1, size: {64 * len(members)}, "
            f"elements: !{{{', '.join(f'!{number}' for number in members)}}})",
        ]
        for i, (number, (name, value)) in enumerate(zip(members, attributes.items(), strict=True)):
            lines += [
                f'!{number} = !DIDerivedType(tag: DW_TAG_member, name: "{name}", scope: !{base + 2}, file: !0, line: 1, '
                f"baseType: !{number + 1}, size: 64, offset: {64 * i})",
                f"!{number + 1} = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !{number + 2}, size: 64)",
                f"!{number + 2} = !DICompositeType(tag: DW_TAG_array_type, baseType: !3, elements: !{number + 3})",
                f"!{number + 3} = !{{!DISubrange(count: {value})}}",
            ]
        self.metadata.extend(lines)
        return f'@{m.name} = global [{len(members)} x ptr] zeroinitializer, section ".maps", align 8, !dbg !{base}'

    def _function(self, code: Code) -> str:
        number = 1000 + 3 * self.programs.index(code)
        self.metadata.append(
            f'!{number} = distinct !DISubprogram(name: "{code.name}", scope: !0, file: !0, line: {code.line}, type: !5, '
            f"scopeLine: {code.line}, spFlags: DISPFlagDefinition, unit: !1, retainedNodes: !{number + 1})"
        )
        self.metadata.append(f'!{number + 1} = !{{!DILocalVariable(name: "ctx", arg: 1, scope: !{number}, file: !0, type: !7)}}')
        self.metadata.append(f"!{number + 2} = !DILocation(line: {code.line}, column: 1, scope: !{number})")
        body = "\n".join(
            f"  {line}, !dbg !{number + 2}" if line and not line.endswith(":") else line
            for line in (raw.strip() for raw in code.body.strip().splitlines())
        )
        return f'define i32 @{code.name}(ptr %ctx) section "{code.section}" !dbg !{number} {{\nentry:\n{body}\n}}'


@cache
def _machine() -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple("bpfel").create_target_machine(cpu="v3", opt=2)


def _compile(ir: str) -> bytes:
    module = llvm.parse_assembly(ir)
    module.verify()
    # The pipeline is what turns preserve.access.index calls into CO-RE relocations.
    builder = llvm.create_pass_builder(_machine(), llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    return bytes(_machine().emit_object(module))


# Bodies of programs. Calls of helpers are calls of their numbers (include/uapi/linux/bpf.h).

ONLY_THIS_PROCESS = """
%who = call i64 inttoptr (i64 14 to ptr)()
%tgid = lshr i64 %who, 32
%self = load volatile i64, ptr @constants, align 8
%mine = icmp eq i64 %tgid, %self
br i1 %mine, label %go, label %out
go:
"""

# @counts[cookie]++, in a per-CPU hash of u64 -> u64.
COUNT_BY_COOKIE = """
%key = alloca i64, align 8
%one = alloca i64, align 8
%cookie = call i64 inttoptr (i64 174 to ptr)(ptr %ctx)
store i64 %cookie, ptr %key, align 8
store i64 1, ptr %one, align 8
%old = call ptr inttoptr (i64 1 to ptr)(ptr @counts, ptr %key)
%absent = icmp eq ptr %old, null
br i1 %absent, label %new, label %add
new:
%made = call i64 inttoptr (i64 2 to ptr)(ptr @counts, ptr %key, ptr %one, i64 1)
br label %out
add:
%n = load i64, ptr %old, align 8
%n1 = add i64 %n, 1
store i64 %n1, ptr %old, align 8
br label %out
out:
ret i32 0
"""

# An event {u32 id, u32 zero, u64 sequence number} to kb_ring; what does not fit counts in kb_sites[0].
SEND = """
%event = alloca [2 x i64], align 8
%site = alloca i32, align 4
store i64 EVENT, ptr %event, align 8
%field = getelementptr i8, ptr %event, i64 8
%number = atomicrmw add ptr @sequence, i64 1 seq_cst, align 8
store i64 %number, ptr %field, align 8
%sent = call i64 inttoptr (i64 130 to ptr)(ptr @kb_ring, ptr %event, i64 16, i64 0)
%good = icmp eq i64 %sent, 0
br i1 %good, label %out, label %lost
lost:
store i32 0, ptr %site, align 4
%slot = call ptr inttoptr (i64 1 to ptr)(ptr @kb_sites, ptr %site)
%gone = icmp eq ptr %slot, null
br i1 %gone, label %out, label %note
note:
%c = load i64, ptr %slot, align 8
%c1 = add i64 %c, 1
store i64 %c1, ptr %slot, align 8
%code = getelementptr i8, ptr %slot, i64 8
store i64 %sent, ptr %code, align 8
br label %out
out:
ret i32 0
"""

SEQUENCE = '@sequence = global i64 0, section ".bss", align 8'
EVENT_MAPS = (Map("kb_ring", RINGBUF, 0, 0, 4096), Map("kb_sites", PERCPU_ARRAY, 4, 16, 1))
COUNTS = Map("counts", PERCPU_HASH, 8, 8, 1024)


def send(event: int) -> str:
    """The body that sends an event of this number."""
    return SEND.replace("EVENT", str(event))


def only_mine(body: str) -> str:
    """A body that runs only in the process whose id is the first constant. Stack slots stay in the entry block."""
    slots = [line for line in body.strip().splitlines() if " = alloca " in line]
    rest = [line for line in body.strip().splitlines() if " = alloca " not in line]
    return "\n".join([*slots, ONLY_THIS_PROCESS.strip(), *rest])
