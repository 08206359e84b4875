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
    return bytes(_machine().emit_object(module))
