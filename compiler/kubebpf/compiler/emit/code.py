"""The instructions of one program: the vocabulary in which builtins and statements are written.

Every scalar travels as an i64, sign- or zero-extended by its type; every other value is a pointer to memory that holds it, and
is best
made where it is wanted (`into`): a string goes straight from the traced process into the map key or the event.

    code.scalar(expr)            -> Operand i64
    code.condition(expr)         -> Operand i1
    code.into(expr, pointer)        evaluates into memory
    code.helper(Helper.KTIME_GET_NS)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubebpf.compiler.artifact.manifest import SITES
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import NULL, Function, Label, Operand, const
from kubebpf.compiler.emit.module import Module
from kubebpf.compiler.syntax.span import Span
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Space, Type, round_up, sizeof
from kubebpf.compiler.types.promote import as_int, is_scalar

if TYPE_CHECKING:
    from kubebpf.compiler.probes.record import Target

SCRATCH_SLOT = "scratch base"
CLAIM_BYTES = 8  # at the start of a preemptible program's scratch memory; see scratch.py
INLINE_BYTES = 256  # up to this size memory is set and copied by inline stores


@dataclass(frozen=True, slots=True)
class Makers:
    """What makes instructions of expressions and statements; their modules are written in terms of Code, so it is given them."""

    scalar: Callable[[Code, typed.Expr], Operand]
    condition: Callable[[Code, typed.Expr], Operand]
    into: Callable[[Code, typed.Expr, Operand, bool], None]
    address: Callable[[Code, typed.Expr], Operand]
    statement: Callable[[Code, typed.Statement], None]


@dataclass
class Room:
    """The scratch memory of a program: one for it and for all functions that run on top of it, of which no two lie in one place.

    Args:
        end: what is taken of it, in bytes.
    """

    name: str = ""  # the program's
    end: int = 0
    kept: int = 0  # how many variables have memory
    used: bool = False  # whether the program has to look it up
    offsets: dict[int, int] = field(default_factory=dict)  # of variables, by identity
    shared: frozenset[int] = frozenset()  # variables that several functions read or write
    functions: dict[int, str] = field(default_factory=dict)  # the symbols of the text's functions, by identity
    made: int = 0  # how many functions there are


@dataclass
class Code:
    """One program, or one function that it calls, under construction.

    Args:
        module: the object that it belongs to.
        f: its function.
        target: the attach point.
        makers: of instructions.
    """

    module: Module
    f: Function
    target: Target
    makers: Makers
    shared_maps: frozenset[int] = frozenset()  # the maps whose updates another program can interrupt, by identity
    variables: dict[int, Operand] = field(default_factory=dict)
    operands: set[int] = field(default_factory=set)  # the arguments of a usdt probe that are read
    symbols: list[str] = field(default_factory=list)  # what uaddr() asks
    exit: Label = field(default_factory=lambda: Label("exit"))  # ends the body
    leave: Label = field(default_factory=lambda: Label("leave"))  # ends the program before its body has begun
    number: int = 0  # of the attach point
    traceable: bool = False  # a kprobe's program that can run as fentry or fexit
    destination: Operand = NULL  # where a builtin writes a value that lives in memory
    span: Span = typed.NOWHERE  # of the expression being made
    padded: bool = True  # whether it has to write all of its bytes
    room: Room = field(default_factory=Room)
    function: typed.Function | None = None  # of the text, whose body this is part of
    in_loop: bool = False  # whether a helper calls this function for each round of a loop
    frame: Operand | None = None  # what functions share with their program on its stack; see subprograms.py
    breaks: Label = field(default_factory=lambda: Label("break"))  # where `break` goes
    continues: Label = field(default_factory=lambda: Label("continue"))
    _scratch: Operand | None = None
    _slots: dict[str, Operand] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.result = self.f.alloca(4, 4)  # what the program returns
        self.f.stack_bytes = 0
        if self.target.provider.preemptible:
            self.room.end = max(self.room.end, CLAIM_BYTES)

    def is_shared(self, info: typed.MapInfo) -> bool:
        """Whether another program can come between two instructions that update a map on this CPU."""
        return id(info) in self.shared_maps

    # -- evaluating ----------------------------------------------------------------------------------------------------

    def scalar(self, expr: typed.Expr) -> Operand:
        """The value of an integer, bool, enum or pointer, as an i64."""
        with self._at(expr):
            return self.makers.scalar(self, expr)

    def condition(self, expr: typed.Expr) -> Operand:
        """Whether an expression is true, as an i1."""
        return self.makers.condition(self, expr)

    def into(self, expr: typed.Expr, to: Operand, *, padded: bool = True) -> None:
        """Evaluate into memory; with `padded`, all bytes of the value are written, so that it can be a key."""
        with self._at(expr):
            self.makers.into(self, expr, to, padded)

    def address(self, expr: typed.Expr) -> Operand:
        """A pointer to a value that lies in memory, made there if need be."""
        with self._at(expr):
            return self.makers.address(self, expr)

    @contextmanager
    def _at(self, expr: typed.Expr) -> Iterator[None]:
        """What fails inside fails at the expression's place."""
        before, self.span = self.span, expr.span
        yield
        self.span = before

    def statement(self, node: typed.Statement) -> None:
        """Run a statement."""
        self.makers.statement(self, node)

    # -- helpers -------------------------------------------------------------------------------------------------------

    def helper(self, helper: Helper, *arguments: Operand) -> Operand:
        """Call a BPF helper."""
        return self.f.call(helper, *arguments)

    def shift_right(self, value: Operand, bits: int) -> Operand:
        """Logical shift."""
        return self.f.binary("lshr", value, const(bits))

    def low(self, value: Operand, bits: int) -> Operand:
        """The low bits of a number."""
        return self.f.binary("and", value, const((1 << bits) - 1))

    def extend(self, value: Operand, t: Type) -> Operand:
        """A wrapped-around i64 as a value of type `t`: cut to its width and extended by its sign."""
        bits, signed = sizeof(t) * 8, as_int(t).signed
        if bits >= 64:
            return value
        return self.f.cast("sext" if signed else "zext", self.f.cast("trunc", value, f"i{bits}"), "i64")

    # -- memory --------------------------------------------------------------------------------------------------------

    def temp(self, size: int, align: int = 8) -> Operand:
        """Memory for a value during this run of the program: the stack when small, else this CPU's scratch."""
        size = max(size, 1)
        limit = max(self.module.settings.on_stack_limit, 64)
        if size <= limit and self.f.stack_bytes + round_up(size, 8) <= self.module.stack_budget:
            return self.f.alloca(size, align)
        return self.room_at(self.reserve(size))

    def room_at(self, offset: int) -> Operand:
        """A pointer into the scratch memory."""
        return self.f.offset(self._base(), offset)

    def large(self, size: int) -> Operand:
        """Memory of a map's value, whatever its size: of what lies there the verifier knows nothing."""
        return self.room_at(self.reserve(size))

    def place(self, variable: typed.Variable) -> Operand:
        """Where a variable of the text lies; its memory is made at the first question."""
        key = id(variable)
        if key in self.variables:
            return self.variables[key]
        self.room.kept += key not in self.room.offsets
        if self.module.frugal or key in self.room.shared:
            # Asked anew at each use: LLVM would keep the address of every variable on the stack.
            if key not in self.room.offsets:
                self.room.offsets[key] = self.reserve(max(sizeof(variable.type), 8))
            return self.room_at(self.room.offsets[key])
        self.variables[key] = self.register() if is_scalar(variable.type) else self.temp(sizeof(variable.type))
        return self.variables[key]

    @contextmanager
    def temporaries(self) -> Iterator[None]:
        """Scratch memory that a statement took inside is free behind it, unless a variable is among it."""
        end, kept = self.room.end, self.room.kept
        yield
        if kept == self.room.kept:
            self.room.end = end

    def reserve(self, size: int) -> int:
        """The offset of new scratch memory."""
        offset = self.room.end
        self.room.end += round_up(size, 8)
        self.module.scratch_size = max(self.module.scratch_size, self.room.end)
        return offset

    def _base(self) -> Operand:
        """The start of the scratch memory; when the stack is to be spared, by a load that LLVM cannot merge with others."""
        pointer = self.scratch()
        if not self.module.frugal:
            return pointer
        return self.f.value(f"load volatile ptr, {self.slot(SCRATCH_SLOT)}, align 8, !align !{self.module.debug.eight}", "ptr")

    def scratch(self) -> Operand:
        """This CPU's scratch memory; it is looked up once, at the start of the program."""
        if self._scratch is None:
            self._scratch = Operand("%scratch", "ptr")
            self.room.used = True
        return self._scratch

    @property
    def uses_scratch(self) -> bool:
        """Whether this function reads or writes scratch memory."""
        return self._scratch is not None

    def slot(self, name: str, size: int = 8) -> Operand:
        """A small piece of stack that is shared by all uses of one kind that do not overlap."""
        if name not in self._slots:
            self._slots[name] = self.f.alloca(size)
        return self._slots[name]

    def register(self) -> Operand:
        """A cell for one number that LLVM turns into a register; it does not count as stack."""
        before = self.f.stack_bytes
        cell = self.f.alloca(8)
        self.f.stack_bytes = before
        return cell

    def load(self, t: Type, pointer: Operand, *, align: int = 1) -> Operand:
        """A scalar from memory, as an i64."""
        bits = sizeof(t) * 8
        value = self.f.load(f"i{bits}", pointer, align=align)
        return self.f.cast("sext" if as_int(t).signed else "zext", value, "i64")

    def store(self, t: Type, value: Operand, pointer: Operand, *, align: int = 1) -> None:
        """A scalar to memory, in the width of its type."""
        self.f.store(self.f.cast("trunc", value, f"i{sizeof(t) * 8}"), pointer, align=align)

    def zero(self, pointer: Operand, size: int) -> None:
        """Clear memory."""
        if size <= INLINE_BYTES:
            self.f.do(f"call void @llvm.memset.p0.i64({pointer}, i8 0, i64 {size}, i1 false)")
        elif size:
            # A read from address 0 fails, and a failed read clears its destination (bpf_probe_read_kernel_common).
            self.helper(Helper.PROBE_READ_KERNEL, pointer, const(size, "i32"), NULL)

    def copy(self, to: Operand, source: Operand, size: int) -> None:
        """Copy between memory that the program may access directly."""
        if size <= INLINE_BYTES:
            self.f.do(f"call void @llvm.memcpy.p0.p0.i64({to}, {source}, i64 {size}, i1 false)")
        else:
            self.helper(Helper.PROBE_READ_KERNEL, to, const(size, "i32"), source)

    def read(self, space: Space, to: Operand, size: int | Operand, source: Operand) -> Operand:
        """Copy from the traced kernel or process; a fault clears the destination. Gives the helper's result."""
        helper = Helper.PROBE_READ_USER if space is Space.USER else Helper.PROBE_READ_KERNEL
        length = const(size, "i32") if isinstance(size, int) else size
        return self.reading(helper, to, length, self.as_pointer(source))

    def read_string(self, space: Space, to: Operand, size: int, source: Operand, *, padded: bool) -> Operand:
        """Copy a NUL-terminated string, cut to `size` bytes with its NUL; with `padded` the rest is zeros. Gives the helper's
        result."""
        if padded:
            self.zero(to, size)  # the helper leaves what is behind the NUL as it was
        helper = Helper.PROBE_READ_USER_STR if space is Space.USER else Helper.PROBE_READ_KERNEL_STR
        return self.reading(helper, to, const(size, "i32"), self.as_pointer(source))

    def reading(self, helper: Helper, *arguments: Operand) -> Operand:
        """Call a helper that reads memory of others; with `check_helpers` a failure is counted under the expression's place."""
        result = self.helper(helper, *arguments)
        if not self.module.options.check_helpers:
            return result
        failed, done = self.f.label("fault"), self.f.label("read")
        self.f.branch(self.f.compare("slt", result, const(0)), failed, done, likely=False)
        self.f.place(failed)
        self.count_failure(self.module.site("helper", self.span, helper.name.lower()), result)
        self.f.place(done)
        return result

    def inside(self, pointer: Operand, by: int | Operand) -> Operand:
        """A few bytes into memory, as an argument of helpers. LLVM knows of aligned memory that such an addition is an `or`,
        which the verifier does not let near pointers; behind the barrier it knows nothing."""
        if isinstance(by, int) and not 0 < by < 8:
            return self.f.offset(pointer, by)
        return self.f.offset(self.f.value(f'call ptr asm sideeffect "", "=r,0"({pointer})', "ptr"), by)

    def as_pointer(self, value: Operand) -> Operand:
        """An address as a ptr."""
        return self.f.cast("inttoptr", value, "ptr") if value.type == "i64" else value

    def as_number(self, value: Operand) -> Operand:
        """A ptr as an i64."""
        return self.f.cast("ptrtoint", value, "i64") if value.type == "ptr" else value

    def load_constant(self, kind: str, arg: str = "", default: str = "", span: Span | None = None) -> Operand:
        """A number that the node wrote before the load; volatile, because LLVM must not believe the zeros that stand there
        now."""
        constant = self.module.constant(kind, arg, default=default, span=span)
        return self.f.load("i64", self.constant_address(constant.offset), align=8, volatile=True)

    def constant_address(self, offset: int) -> Operand:
        """The address of a load-time constant."""
        return self.f.offset(Operand("@kb_constants", "ptr"), offset)

    # -- control -------------------------------------------------------------------------------------------------------

    def locate(self, span: Span) -> None:
        """What follows belongs to this place of the text."""
        position = self.module.position(span)
        assert self.f.subprogram is not None
        number = self.module.debug.location(position.line, position.column, self.f.subprogram)
        self.f.location = f", !dbg !{number}"

    def count_failure(self, site: int, code: Operand | None = None) -> None:
        """Count that a site failed, with the return code if there is one."""
        if not self.module.options.count_failures:
            return
        self.module.counted = True
        key = self.slot("site", 4)
        self.f.store(const(site, "i32"), key, align=4)
        counter = self.f.call_pointer(Helper.MAP_LOOKUP_ELEM, Operand(f"@{SITES}", "ptr"), key)
        found, done = self.f.label("counted"), self.f.label("uncounted")
        self.f.branch(self.f.compare("ne", counter, NULL), found, done)
        self.f.place(found)
        self.f.atomic_add(counter, const(1))
        if code is not None:
            self.f.store(code, self.f.offset(counter, 8), align=8)
        self.f.jump(done)
        self.f.place(done)
