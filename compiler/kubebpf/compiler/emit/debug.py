"""Debug information as LLVM metadata: it becomes BTF, and BTF is what libbpf reads maps, functions and CO-RE relocations from.

A node is written once and known by its number; structs that refer to each other get their number before their members.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kubebpf.compiler.emit.ir import quoted
from kubebpf.compiler.syntax.span import Source


@dataclass
class Debug:
    """The metadata of one module.

    Args:
        source: the program text; it is embedded so that the verifier's log quotes it.
    """

    source: Source
    nodes: list[str] = field(default_factory=list)
    globals: list[int] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        text = quoted(self.source.text.encode(errors="replace"))
        self.nodes += ["", '!{!"branch_weights", i32 2000, i32 1}', '!{!"branch_weights", i32 1, i32 2000}']
        name = quoted(self.source.name.encode(errors="surrogateescape"))
        self.file = self.add(f'!DIFile(filename: "{name}", directory: "", source: "{text}")')
        self.unit = self.reserve()
        self.eight = self.add("!{i64 8}")  # for `!align`
        self.int = self.base("int", 32, signed=True)
        self.u64 = self.base("unsigned long", 64, signed=False)
        self.void_pointer = self.pointer(None)
        self.subroutine = self.add(f"!DISubroutineType(types: !{{!{self.int}, !{self.void_pointer}}})")

    def reserve(self) -> int:
        """A number whose text comes later."""
        self.nodes.append("")
        return len(self.nodes) - 1

    def add(self, text: str) -> int:
        """A node, shared with an equal one unless it is distinct."""
        if text in self._known:
            return self._known[text]
        number = self.reserve()
        self.nodes[number] = text
        if not text.startswith("distinct"):
            self._known[text] = number
        return number

    def base(self, name: str, bits: int, *, signed: bool) -> int:
        """A C integer type."""
        return self.add(f'!DIBasicType(name: "{name}", size: {bits}, encoding: DW_ATE_{"" if signed else "un"}signed)')

    def pointer(self, target: int | None) -> int:
        """A pointer type; None is void."""
        base = "null" if target is None else f"!{target}"
        return self.add(f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {base}, size: 64)")

    def array(self, element: int, element_bits: int, count: int) -> int:
        """An array type."""
        return self.add(
            f"!DICompositeType(tag: DW_TAG_array_type, baseType: !{element}, size: {element_bits * count}, "
            f"elements: !{{!DISubrange(count: {count})}})"
        )

    def member(self, name: str, type: int, bits: int, offset: int, *, bitfield: bool = False) -> int:
        """A struct member; `bits` and `offset` are in bits."""
        flags = f", flags: DIFlagBitField, extraData: i64 {offset // 64 * 64}" if bitfield else ""
        named = f'name: "{name}", ' if name else ""
        return self.add(f"!DIDerivedType(tag: DW_TAG_member, {named}baseType: !{type}, size: {bits}, offset: {offset}{flags})")

    def struct(self, name: str, members: list[int], bits: int, *, number: int | None = None, union: bool = False) -> int:
        """A struct or union; with `number` it fills a reserved place, for recursive types."""
        tag = "union" if union else "structure"
        elements = ", ".join(f"!{m}" for m in members)
        named = f'name: "{name}", ' if name else ""
        text = f"!DICompositeType(tag: DW_TAG_{tag}_type, {named}file: !{self.file}, size: {bits}, elements: !{{{elements}}})"
        if number is None:
            return self.add(text)
        self.nodes[number] = "distinct " + text
        return number

    def global_variable(self, name: str, type: int) -> int:
        """A global variable's expression node, for its `!dbg`; the compile unit lists it."""
        variable = self.add(
            f'distinct !DIGlobalVariable(name: "{name}", scope: !{self.unit}, file: !{self.file}, line: 1, '
            f"type: !{type}, isLocal: false, isDefinition: true)"
        )
        expression = self.add(f"!DIGlobalVariableExpression(var: !{variable}, expr: !DIExpression())")
        self.globals.append(expression)
        return expression

    def external(self, name: str, type: int) -> int:
        """A variable that is defined elsewhere, for its `!dbg`."""
        variable = self.add(
            f'distinct !DIGlobalVariable(name: "{name}", scope: !{self.unit}, file: !{self.file}, line: 1, '
            f"type: !{type}, isLocal: false, isDefinition: false)"
        )
        return self.add(f"!DIGlobalVariableExpression(var: !{variable}, expr: !DIExpression())")

    def declaration(self, name: str, returns: int | None, parameters: tuple[int, ...]) -> int:
        """A function that is defined elsewhere; None returns nothing."""
        types = ", ".join(["null" if returns is None else f"!{returns}", *(f"!{p}" for p in parameters)])
        subroutine = self.add(f"!DISubroutineType(types: !{{{types}}})")
        return self.add(
            f'!DISubprogram(name: "{name}", scope: !{self.file}, file: !{self.file}, line: 1, type: !{subroutine}, '
            "flags: DIFlagPrototyped, spFlags: DISPFlagOptimized)"
        )

    def subprogram(self, name: str, line: int) -> int:
        """A program's function. Its one parameter has a name, without which the kernel refuses the FUNC_PROTO
        (btf_func_proto_check)."""
        number, retained = self.reserve(), self.reserve()
        parameter = self.add(
            f'!DILocalVariable(name: "ctx", arg: 1, scope: !{number}, file: !{self.file}, line: {line}, type: '
            f"!{self.void_pointer})"
        )
        self.nodes[retained] = f"!{{!{parameter}}}"
        self.nodes[number] = (
            f'distinct !DISubprogram(name: "{name}", scope: !{self.file}, file: !{self.file}, line: {line}, type: '
            f"!{self.subroutine}, "
            f"scopeLine: {line}, flags: DIFlagPrototyped, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !{self.unit}, "
            f"retainedNodes: !{retained})"
        )
        return number

    def callback(self, name: str, parameters: tuple[str, ...], kinds: tuple[str, ...] = (), line: int = 1) -> int:
        """A static function that a helper or a program calls: it returns a long.

        Args:
            name: the symbol.
            parameters: their names.
            kinds: their LLVM types; pointers when left out.
            line: of the text.
        """
        known = {"i64": self.base("long", 64, signed=True), "ptr": self.void_pointer}
        numbers = [known[kind] for kind in kinds or ("ptr",) * len(parameters)]
        types = ", ".join(f"!{n}" for n in [known["i64"], *numbers])
        subroutine = self.add(f"!DISubroutineType(types: !{{{types}}})")
        number, retained = self.reserve(), self.reserve()
        variables = [
            self.add(
                f'!DILocalVariable(name: "{p}", arg: {i}, scope: !{number}, file: !{self.file}, line: {line}, type: '
                f"!{numbers[i - 1]})"
            )
            for i, p in enumerate(parameters, 1)
        ]
        self.nodes[retained] = f"!{{{', '.join(f'!{v}' for v in variables)}}}"
        self.nodes[number] = (
            f'distinct !DISubprogram(name: "{name}", scope: !{self.file}, file: !{self.file}, line: {line}, type: '
            f"!{subroutine}, scopeLine: {line}, "
            f"spFlags: DISPFlagLocalToUnit | DISPFlagDefinition | DISPFlagOptimized, unit: !{self.unit}, retainedNodes: "
            f"!{retained})"
        )
        return number

    def routine(self, name: str, parameters: tuple[tuple[str, int | None], ...]) -> int:
        """A global function that takes pointers to that many bytes, or numbers (None), and returns a long."""
        char, long = self.base("unsigned char", 8, signed=False), self.base("long", 64, signed=True)
        types = [self.u64 if size is None else self.pointer(self.array(char, 8, size)) for _, size in parameters]
        listed = ", ".join(f"!{t}" for t in (long, *types))
        subroutine = self.add(f"!DISubroutineType(types: !{{{listed}}})")
        number, retained = self.reserve(), self.reserve()
        variables = [
            self.add(f'!DILocalVariable(name: "{p}", arg: {i}, scope: !{number}, file: !{self.file}, line: 1, type: !{t})')
            for i, ((p, _), t) in enumerate(zip(parameters, types, strict=True), 1)
        ]
        self.nodes[retained] = f"!{{{', '.join(f'!{v}' for v in variables)}}}"
        self.nodes[number] = (
            f'distinct !DISubprogram(name: "{name}", scope: !{self.file}, file: !{self.file}, line: 1, type: !{subroutine}, '
            f"scopeLine: 1, flags: DIFlagPrototyped, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !{self.unit}, "
            f"retainedNodes: !{retained})"
        )
        return number

    def location(self, line: int, column: int, subprogram: int) -> int:
        """A place in the program text, for `!dbg` of instructions."""
        return self.add(f"!DILocation(line: {line}, column: {min(column, 65535)}, scope: !{subprogram})")

    def text(self) -> str:
        """All nodes, with the module flags."""
        listed = ", ".join(f"!{g}" for g in self.globals)
        self.nodes[self.unit] = (
            f'distinct !DICompileUnit(language: DW_LANG_C99, file: !{self.file}, producer: "kubebpf", isOptimized: true, '
            f"runtimeVersion: 0, emissionKind: FullDebug, globals: !{{{listed}}})"
        )
        self.nodes[0] = '!{i32 2, !"Debug Info Version", i32 3}'
        lines = [f"!{i} = {t}" for i, t in enumerate(self.nodes)]
        return f"!llvm.dbg.cu = !{{!{self.unit}}}\n!llvm.module.flags = !{{!0}}\n" + "\n".join(lines) + "\n"
