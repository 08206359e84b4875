"""Textual LLVM IR, one function at a time: values are numbered, blocks are laid down in the order of their use.

    f = Function("p0", "tracepoint/syscalls/sys_enter_getppid")
    n = f.load("i64", f.parameter)
    f.store(f.binary("add", n, const(1)), pointer)
    f.ret(const(0, "i32"))

Text is what LLVM reads best in process (one parse, no object graph), and what a person reads in a dump.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Operand:
    """An SSA value or constant: its spelling and its LLVM type (`i64`, `ptr`, `i1`, …)."""

    text: str
    type: str = "i64"

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


def const(value: int, type: str = "i64") -> Operand:
    """An integer constant."""
    return Operand(str(value), type)


NULL = Operand("null", "ptr")


@dataclass(slots=True)
class Label:
    """A basic block: made first, placed later."""

    name: str


@dataclass
class Function:
    """One function under construction.

    Args:
        name: the symbol.
        section: the ELF section, which tells libbpf the program type.
        subprogram: the metadata number of its DISubprogram, or None.
        returns: LLVM type of the result.
        attributes: further attributes of the function, as LLVM spells them.
    """

    name: str
    section: str
    subprogram: int | None = None
    returns: str = "i32"
    parameters: tuple[str, ...] = ("ptr",)
    location: str = ""
    linkage: str = "dso_local"
    attributes: str = ""
    parameter: Operand = Operand("%a0", "ptr")  # the context of the program, which functions that it calls have elsewhere
    _entry: list[str] = field(default_factory=list)
    _body: list[str] = field(default_factory=list)
    _count: int = 0
    _labels: int = 0
    _open: bool = True
    stack_bytes: int = 0

    # -- blocks --------------------------------------------------------------------------------------------------------

    def label(self, hint: str = "b") -> Label:
        """A new block, not yet placed."""
        self._labels += 1
        return Label(f"{hint}{self._labels}")

    def place(self, label: Label) -> None:
        """Start the block here; the block before falls through to it."""
        if self._open:
            self.jump(label)
        self._body.append(f"{label.name}:")
        self._open = True
        self._current = label

    @property
    def reachable(self) -> bool:
        """Whether the code laid down next can be reached from above."""
        return self._open

    @property
    def current(self) -> Label:
        """The block that is being filled."""
        return getattr(self, "_current", Label("entry"))

    def jump(self, to: Label) -> None:
        """`br`."""
        self._terminate(f"br label %{to.name}")

    def branch(self, condition: Operand, then: Label, otherwise: Label, *, likely: bool | None = None) -> None:
        """Conditional `br`; `likely` weighs the branches so that the cold one is laid out of line."""
        weights = {True: ", !prof !1", False: ", !prof !2", None: ""}[likely]
        self._terminate(f"br {condition}, label %{then.name}, label %{otherwise.name}{weights}")

    def ret(self, value: Operand) -> None:
        """`ret`."""
        self._terminate(f"ret {value}")

    def unreachable(self) -> None:
        """`unreachable`."""
        self._terminate("unreachable")

    def _terminate(self, text: str) -> None:
        if self._open:
            self._emit(text)
            self._open = False

    @property
    def position(self) -> int:
        """Where the function ends now; see `inserting`."""
        return len(self._body)

    @contextmanager
    def inserting(self, position: int) -> Iterator[None]:
        """What is made inside goes to an earlier position, which is the start of a block."""
        rest, was_open = self._body[position:], self._open
        del self._body[position:]
        self._open = True
        yield
        self._body += rest
        self._open = was_open

    # -- instructions --------------------------------------------------------------------------------------------------

    def _emit(self, text: str) -> None:
        if not self._open:
            # What follows a return or a break still wants a block; LLVM drops it.
            self._open = True
            self._body.append(f"{self.label('dead').name}:")
        self._body.append(f"  {text}{self.location}")

    def value(self, text: str, type: str) -> Operand:
        """Any instruction with a result of `type`."""
        self._count += 1
        name = f"%v{self._count}"
        self._emit(f"{name} = {text}")
        return Operand(name, type)

    def do(self, text: str) -> None:
        """Any instruction without a result."""
        self._emit(text)

    def binary(self, op: str, left: Operand, right: Operand) -> Operand:
        """`add sub mul udiv urem and or xor shl lshr ashr`."""
        return self.value(f"{op} {left}, {right.text}", left.type)

    def compare(self, predicate: str, left: Operand, right: Operand) -> Operand:
        """`icmp`."""
        return self.value(f"icmp {predicate} {left}, {right.text}", "i1")

    def select(self, condition: Operand, then: Operand, otherwise: Operand) -> Operand:
        """`select`."""
        return self.value(f"select {condition}, {then}, {otherwise}", then.type)

    def cast(self, op: str, operand: Operand, to: str) -> Operand:
        """`zext sext trunc inttoptr ptrtoint`; nothing when the type is already right."""
        return operand if operand.type == to else self.value(f"{op} {operand} to {to}", to)

    def phi(self, type: str, incoming: Sequence[tuple[Operand, Label]]) -> Operand:
        """`phi`."""
        pairs = ", ".join(f"[ {v.text}, %{b.name} ]" for v, b in incoming)
        return self.value(f"phi {type} {pairs}", type)

    def load(self, type: str, pointer: Operand, *, align: int = 1, volatile: bool = False) -> Operand:
        """`load`."""
        return self.value(f"load {'volatile ' if volatile else ''}{type}, {pointer}, align {align}", type)

    def store(self, operand: Operand, pointer: Operand, *, align: int = 1) -> None:
        """`store`."""
        self._emit(f"store {operand}, {pointer}, align {align}")

    def offset(self, pointer: Operand, by: int | Operand) -> Operand:
        """The pointer plus a number of bytes."""
        if by == 0:
            return pointer
        return self.value(f"getelementptr i8, {pointer}, {by if isinstance(by, Operand) else const(by)}", "ptr")

    def atomic_add(self, pointer: Operand, by: Operand) -> None:
        """An addition that no other CPU or program can tear; BPF_ATOMIC without fetch, because its result is not used."""
        self.value(f"atomicrmw add {pointer}, {by} monotonic, align 8", "i64")

    def exchange(self, pointer: Operand, expected: Operand, new: Operand) -> Operand:
        """BPF_CMPXCHG (kernel 5.12): store `new` if the 64-bit word is `expected`. Gives what the word was."""
        pair = self.value(f"cmpxchg {pointer}, {expected}, {new} monotonic monotonic, align 8", "{ i64, i1 }")
        return self.value(f"extractvalue {pair}, 0", "i64")

    def call(self, number: int, *arguments: Operand) -> Operand:
        """A BPF helper: an indirect call of its number, which LLVM turns into `call N`."""
        return self.value(f"call i64 inttoptr (i64 {int(number)} to ptr)({', '.join(map(str, arguments))})", "i64")

    def call_pointer(self, number: int, *arguments: Operand) -> Operand:
        """As call, for helpers that return a pointer to a map's value or a record: these are aligned to 8 bytes."""
        return self.value(f"call align 8 ptr inttoptr (i64 {int(number)} to ptr)({', '.join(map(str, arguments))})", "ptr")

    def alloca(self, size: int, align: int = 8) -> Operand:
        """`size` bytes of the program's 512-byte stack, for the whole program."""
        self._count += 1
        self.stack_bytes += (size + 7) // 8 * 8
        name = f"%v{self._count}"
        self._entry.append(f"  {name} = alloca [{size} x i8], align {align}")
        return Operand(name, "ptr")

    def text(self) -> str:
        """The function as IR text."""
        parameters = ", ".join(f"{t} %a{i}" for i, t in enumerate(self.parameters))
        debug = f" !dbg !{self.subprogram}" if self.subprogram is not None else ""
        section = f' section "{quoted(self.section.encode(errors="surrogateescape"))}"' if self.section else ""
        attributes = f" {self.attributes}" if self.attributes else ""
        head = f"define {self.linkage} {self.returns} @{self.name}({parameters}) #0{attributes}{section}{debug} {{\nentry:\n"
        if self._open:
            self._emit("unreachable")
        return head + "\n".join(self._entry + self._body) + "\n}\n"


def quoted(data: bytes) -> str:
    """Bytes as the inside of an LLVM string constant: `c"…"` and metadata strings."""
    return "".join(chr(b) if 0x20 <= b < 0x7F and b not in (0x22, 0x5C) else f"\\{b:02X}" for b in data)
