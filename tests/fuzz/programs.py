"""Well-typed programs, made at random: whatever comes must compile.

program(random.Random(7))   -> 'macro m0($a) { … }\\nbegin { … }\\ntracepoint:sched:sched_switch / … / { … }'

The generator knows what it has made: variables with their types by block, maps with the types of their keys and values. Under
hypothesis the Random is hypothesis's own, which then finds the shortest program that shows a mistake.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fuzz.judge import Finding, judge_program

Random = random.Random

PROBES = (
    *("begin", "end", "interval:s:1", "profile:hz:99", "software:page-faults:100", "rawtracepoint:sched_switch"),
    *("tracepoint:sched:sched_switch", "tracepoint:syscalls:sys_enter_read", "tracepoint:raw_syscalls:sys_enter"),
)
FIELDS = {
    "tracepoint:sched:sched_switch": ("args.prev_pid", "args.next_prio"),
    "tracepoint:syscalls:sys_enter_read": ("args.fd", "args.count"),
    "tracepoint:raw_syscalls:sys_enter": ("args.id", "args.args[1]"),
}
BUILTINS = ("pid", "tid", "uid", "nsecs", "cpu", "elapsed", "cgroup", "rand", "ncpus", "numaid", "jiffies")
TASK = ("curtask.pid", "curtask->tgid", "curtask.prio", "curtask.real_parent.tgid", "curtask.mm.map_count", "curtask.se.vruntime")
CASTS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")
CALLS = {
    "count": "count()", "sum": "sum({0})", "min": "min({0})", "max": "max({0})", "avg": "avg({0})", "stats": "stats({0})",
    "hist": "hist({0})", "lhist": "lhist({0}, 0, 100, 10)",
}  # fmt: skip
KINDS = ("hash", "lruhash")


@dataclass
class _Maker:
    """One program under way."""

    chance: Random
    probe: str = "begin"
    depth: int = 0
    used: int = 0
    loops: int = 0
    scopes: list[dict[str, str]] = field(default_factory=list)  # variable -> "int", "string", "tuple"
    maps: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> key type, value type
    macros: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)

    # -- choices -------------------------------------------------------------------------------------------------------

    def one_of(self, *choices: str) -> str:
        return self.chance.choice(choices)

    def name(self, sigil: str) -> str:
        self.used += 1
        return f"{sigil}{self.used}"

    def variables(self, kind: str) -> list[str]:
        return [name for scope in self.scopes for name, found in scope.items() if found == kind]

    # -- expressions ---------------------------------------------------------------------------------------------------

    def number(self) -> str:
        self.depth += 1
        try:
            leaf = self.depth > 4 or self.chance.random() < 0.4
            return self.leaf() if leaf else self.chance.choice(self.branches())()
        finally:
            self.depth -= 1

    def leaf(self) -> str:
        known = [*self.variables("int"), self.one_of(*BUILTINS), self.one_of(*TASK)]
        known += () if self.loops else FIELDS.get(self.probe, ())
        known += [str(self.chance.choice((0, 1, 2, 7, 255, 65536, 1 << 40)))]
        known += [f"{t}.0" for t in self.variables("tuple")]
        return self.chance.choice(known)

    def branches(self) -> list[Callable[[], str]]:
        made: list[Callable[[], str]] = [
            lambda: f"({self.number()} {self.one_of('+', '-', '*', '&', '|', '^')} {self.number()})",
            lambda: f"({self.number()} {self.one_of('<<', '>>')} {self.chance.randrange(8)})",
            lambda: f"({self.number()} {self.one_of('/', '%')} {self.chance.randrange(1, 9)})",
            lambda: f"({self.truth()} ? {self.number()} : {self.number()})",
            lambda: f"({self.one_of(*CASTS[:-1])})({self.number()})",
            lambda: f"strlen({self.text()})",
            lambda: f"({self.number()}, {self.number()}).{self.chance.randrange(2)}",
            lambda: f"(a = {self.number()}, b = {self.text()}).a",
            lambda: f"-({self.number()})",
            lambda: f"~({self.number()})",
            lambda: f"sizeof({self.one_of('uint64', 'struct task_struct', 'uint8[4]')})",
            lambda: f"if ({self.truth()}) {{ {self.number()} }} else {{ {self.number()} }}" if self.depth < 2 else "1",
        ]
        if self.macros:
            made.append(lambda: f"{self.chance.choice(self.macros)}({self.number()})")
        if self.functions:
            made.append(lambda: f"{self.chance.choice(self.functions)}((int64)({self.number()}))")
        scalars = [name for name, (key, value) in self.maps.items() if value == "int"]
        if scalars:
            made.append(lambda: self.place(self.chance.choice(scalars)))
        return made

    def truth(self) -> str:
        self.depth += 1
        try:
            if self.depth > 4:
                return f"{self.leaf()} > 3"
            return self.chance.choice(
                (
                    lambda: f"{self.number()} {self.one_of('<', '<=', '>', '>=', '==', '!=')} {self.number()}",
                    lambda: f"{self.text()} {self.one_of('==', '!=')} {self.text()}",
                    lambda: f"({self.truth()} {self.one_of('&&', '||')} {self.truth()})",
                    lambda: f"!({self.truth()})",
                )
            )()
        finally:
            self.depth -= 1

    def text(self) -> str:
        letters = (self.one_of("a", "b", " ", "é", "\\n", "\\\\", "%", "7") for _ in range(self.chance.randrange(9)))
        return self.chance.choice((f'"{"".join(letters)}"', "comm", "probe", "str(curtask.comm)", *self.variables("string")))

    def tuple(self) -> str:
        return f"({self.number()}, {self.text()}, ({self.number()}, {self.truth()}))"

    def value(self, kind: str) -> str:
        # Maps and variables have the type of all that is assigned to them; a cast keeps the sign of numbers out of that.
        if kind == "int":
            return f"(int64)({self.number()})"
        return self.text() if kind == "string" else self.fixed(kind)

    def fixed(self, kind: str) -> str:
        inner = f"(int64)({self.number()}), {self.text()}"
        return f"({inner})" if kind == "pair" else f"({inner}, ((uint8)({self.number()}), {self.truth()}))"

    def place(self, name: str) -> str:
        key, _ = self.maps[name]
        return f"{name}[{self.value(key)}]" if key else name

    # -- statements ----------------------------------------------------------------------------------------------------

    def block(self, length: int = 4) -> str:
        with self.scope():
            return "{ " + " ".join(self.statement() for _ in range(self.chance.randrange(1, length))) + " }"

    @contextmanager
    def scope(self) -> Iterator[None]:
        self.scopes.append({})
        yield
        self.scopes.pop()

    def statement(self) -> str:
        simple = (self.assign, self.store, self.aggregate, self.printf, self.print)
        nested = () if len(self.scopes) > 3 else (self.choice, self.loop, self.over_map, self.drop)
        return self.chance.choice(simple + nested)()

    def assign(self) -> str:
        kind = self.one_of("int", "string", "tuple")
        known = self.variables(kind)
        if known and self.chance.random() < 0.4:
            return f"{self.chance.choice(known)} = {self.value(kind)};"
        value = self.value(kind)
        name = self.name("$v")
        self.scopes[-1][name] = kind
        return f"{self.one_of('', 'let ')}{name} = {value};"

    def store(self) -> str:
        kind = self.one_of("int", "string", "pair")
        known = [name for name, (_, value) in self.maps.items() if value == kind]
        if not known or self.chance.random() < 0.3:
            return self.first(kind)
        name = self.chance.choice(known)
        if kind == "int" and self.chance.random() < 0.3:
            return f"{self.place(name)}{self.one_of('++', '--', ' += 3', ' |= 1')};"
        return f"{self.place(name)} = {self.value(kind)};"

    def first(self, kind: str) -> str:
        """The assignment that makes a map, which may not read it."""
        name, key = self.name("@m"), self.one_of("", "int", "string", "pair")
        value = CALLS[kind].format(self.number()) if kind in CALLS else self.value(kind)
        made = f"{name}[{self.value(key)}] = {value};" if key else f"{name} = {value};"
        self.maps[name] = (key, kind)
        return made

    def aggregate(self) -> str:
        call = self.one_of(*CALLS)
        known = [name for name, (_, value) in self.maps.items() if value == call]
        if not known or self.chance.random() < 0.3:
            return self.first(call)
        name = self.chance.choice(known)
        return f"{self.place(name)} = {CALLS[call].format(self.number())};"

    def printf(self) -> str:
        return (
            f'printf("%d %s %x %lld %5d|%-8s\\n", {self.number()}, {self.text()}, {self.number()}, {self.number()}, pid, comm);'
        )

    def print(self) -> str:
        return self.chance.choice(
            [f"print({self.number()});", f"print({self.tuple()});", f"print({self.text()});"]
            + [f"{self.one_of('print', 'clear', 'zero')}({name});" for name in self.maps]
        )

    def choice(self) -> str:
        return f"if ({self.truth()}) {self.block()}" + (f" else {self.block()}" if self.chance.random() < 0.5 else "")

    def loop(self) -> str:
        if self.chance.random() < 0.3:
            return f"unroll({self.chance.randrange(1, 4)}) {self.block(3)}"
        name = self.name("$i")
        self.loops += 1
        with self.scope():
            self.scopes[-1][name] = "int"
            jump = self.one_of("", f"if ({self.truth()}) {{ break; }}", f"if ({self.truth()}) {{ continue; }}")
            made = f"for ({name} : 0..{self.chance.randrange(1, 9)}) {{ {jump} {self.statement()} }}"
        self.loops -= 1
        return made

    def over_map(self) -> str:
        keyed = [name for name, (key, value) in self.maps.items() if key and value in ("int", "string", "count", "sum")]
        if not keyed or len(self.scopes) > 2:
            return self.aggregate()
        return f"for ({(pair := self.name('$p'))} : {self.chance.choice(keyed)}) {{ print({pair}.0); print({pair}.1); }}"

    def drop(self) -> str:
        keyed = [name for name, (key, _) in self.maps.items() if key]
        if not keyed:
            return self.store()
        name = self.chance.choice(keyed)
        return f"delete({name}, {self.value(self.maps[name][0])});"

    # -- programs ------------------------------------------------------------------------------------------------------

    def whole(self) -> str:
        parts: list[str] = []
        for number in range(self.chance.randrange(3)):
            parts.append(f"macro twice{number}(a) {{ a {self.one_of('+', '*')} {self.chance.randrange(9)} }}")
        self.macros = [f"twice{number}" for number in range(len(parts))]
        if self.chance.random() < 0.3:
            parts.append("fn plus($n : int64) : int64 { if ($n > 3) { return 1; } return $n + 1; }")
            self.functions = ["plus"]
        if self.chance.random() < 0.3:
            parts.insert(0, f"let @declared = {self.one_of(*KINDS)}({self.chance.randrange(1, 99)});")
            self.maps["@declared"] = ("int", "int")
        for _ in range(self.chance.randrange(1, 4)):
            self.probe = self.one_of(*PROBES)
            with self.scope():
                predicate = f" / {self.truth()} /" if self.chance.random() < 0.3 else ""
            parts.append(f"{self.probe}{predicate} {self.block(6)}")
        if "@declared" in self.maps:
            parts.append("end { @declared[1] = (int64)pid; }")
        return "\n".join(parts)


def program(chance: Random) -> str:
    """A well-typed program."""
    return _Maker(chance).whole()


def must_compile(text: str) -> Finding | None:
    """What is wrong when it does not."""
    return judge_program(text)
