"""What the program asks of user space, done: one function for each kind of record.

dispatch = Dispatcher(session, resolver, output)
for record in session.poll(0.1):
    dispatch(record)              {kind: printf, format: "%d\\n"} -> output.said("printf", "5\\n")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from kubebpf.agent.output.files import ANY, Files, NotKeptError, NotShownError
from kubebpf.agent.output.joined import join_equal
from kubebpf.agent.output.largest import largest
from kubebpf.agent.output.packets import FullError, PacketFile
from kubebpf.agent.output.writers import Output
from kubebpf.agent.session.ring import Record
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.cells import Average
from kubebpf.compiler.artifact.decode import Resolver, decode
from kubebpf.compiler.artifact.formatter import formatter_of
from kubebpf.compiler.artifact.manifest import Event, MapSchema
from kubebpf.compiler.artifact.printf import printf
from kubebpf.compiler.artifact.state import Entry, Key, MapState, key_of, of_schema, with_default
from kubebpf.compiler.artifact.strftime import format_clock
from kubebpf.compiler.artifact.text import cell_value
from kubebpf.compiler.artifact.types import Desc, DRecord, DResolved, DTuple
from kubebpf.compiler.artifact.values import Bytes, Value

_COMMAND_SECONDS = 60
_OWNERS = ("pod", "namespace", "container", "node")


def map_state(session: Session, name: str, resolver: Resolver, unset: bool = False, empty: bool = False) -> MapState:
    """A map of the session, decoded.

    Args:
        empty: leave it empty.
        unset: with a min or max that nothing has set since zero(), as 0: so it is printed, and in a report it is left out.

    Raises:
        KeyError: the program has no such map.
        LibbpfError: it cannot be read.
    """
    found = (session.drain if empty else session.read)(name, resolver, unset)
    layout = found.schema.key
    entries = [Entry(key_of(decode(layout, key, resolver)) if layout else (), cell) for key, cell in found.rows]
    state = of_schema(found.schema, entries)
    return join_equal(state) if _names_owners(layout) else state


def _names_owners(key: Desc | None) -> bool:
    """Whether a key has the name of a pod: many cgroups are one pod, and many pods one namespace, also for bpftrace's eyes."""
    match key:
        case DResolved(kind):
            return kind in _OWNERS
        case DTuple(items):
            return any(_names_owners(item) for _, item in items)
        case DRecord(fields):
            return any(_names_owners(field.type) for field in fields)
        case _:
            return False


def map_states(session: Session, resolver: Resolver, unset: bool = False) -> list[MapState]:
    """All maps of the session, in the order of their names; `unset` as for `map_state`. For a report, equal keys become one."""
    states = [map_state(session, name, resolver, unset) for name in sorted(schema.name for schema in session.manifest.maps)]
    return states if unset else [join_equal(state) for state in states]


def largest_states(session: Session, resolver: Resolver, most: int) -> list[MapState]:
    """All maps of the session, in the order of their names, each with its largest keys; for a report."""
    return [largest(session, name, resolver, most) for name in sorted(schema.name for schema in session.manifest.maps)]


class Dispatcher:
    """Hands each record to the function of its kind.

    Args:
        session: whose maps print, clear and zero mean.
        resolver: for values.
        output: takes the results.
        allow_unsafe: run what system() asks; else it is refused with a message. The compiler refuses such programs, too.
        warnings: show warnf.
        files: that cat() may read and skboutput() write.
        most: keys of a map to print, for maps that may have more; 0 for all.
    """

    def __init__(
        self,
        session: Session,
        resolver: Resolver,
        output: Output,
        allow_unsafe: bool = False,
        warnings: bool = True,
        files: Files = ANY,
        most: int = 0,
    ) -> None:
        self.session, self.resolver, self.output, self._most = session, resolver, output, most
        self.allow_unsafe, self.warnings, self.files = allow_unsafe, warnings, files
        self._packets: dict[str, PacketFile] = {}
        self._both: set[int] = set()  # by identity; their list outlives its dispatch
        self._schemas = {schema.name: schema for schema in session.manifest.maps}
        self._clears = any(event.kind == "clear" for event in session.manifest.events)
        printfs = [event for event in session.manifest.events if event.kind == "printf"]
        simple = {event.id: formatter_of(event, resolver.trailer) for event in printfs}
        self._formatters = {id: formatter for id, formatter in simple.items() if formatter}

    def expect(self, records: Sequence[Record]) -> None:
        """Look at records that will come, all in their order: a print() of a map whose next record is a clear() does both."""
        self._both.clear()
        if not self._clears:
            return
        last: dict[str, Record] = {}
        for record in records:
            name = record.event.map
            if record.event.kind == "clear" and name in last and _whole(last[name]):
                self._both |= {id(last[name]), id(record)}
            last[name] = record

    def is_both(self, record: Record) -> bool:
        """Whether it is one of such a pair."""
        return id(record) in self._both

    def __call__(self, record: Record) -> None:
        """Do what the record asks. A kind that this version does not know is reported as an error of the output."""
        action = ACTIONS.get(record.event.kind)
        if action is None:
            self.output.message("errorf", f"this agent cannot do {record.event.kind}()", record.event.place)
            return
        action(self, record)

    def packets(self, path: str) -> PacketFile:
        """The file of packets with this path, made at the first.

        Raises:
            NotKeptError, OSError, ValueError: it cannot be.
        """
        if path not in self._packets:
            self._packets[path] = PacketFile(self.files.create(path), self.files.most)
        return self._packets[path]

    def close(self) -> None:
        """Close the files that were written. A second call does nothing."""
        for file in self._packets.values():
            file.close()
        self._packets.clear()

    def all(self, records: Sequence[Record]) -> None:
        """Do what records ask, one after the other, as if called with each; quicker for a flood of printf."""
        for number, group in groupby(records, _number_of):
            formatter = self._formatters.get(number)
            if formatter is None:
                for record in group:
                    self(record)
            else:
                self.output.printed(formatter([record.data for record in group]))

    def values(self, record: Record) -> list[Value]:
        """The arguments of a record."""
        arguments = record.event.arguments
        return [decode(argument.type, record.argument(i), self.resolver) for i, argument in enumerate(arguments)]

    def formatted(self, record: Record) -> str:
        """The format of a record, applied to its arguments."""
        return printf(record.event.format, self.values(record))

    def whole(self, name: str, empty: bool) -> MapState:
        """A map to be printed; `empty`: and cleared."""
        if self._most and self.schema(name).max_entries > self._most:
            return largest(self.session, name, self.resolver, self._most, empty)
        return map_state(self.session, name, self.resolver, unset=True, empty=empty)

    def schema(self, name: str) -> MapSchema:
        """The schema of a map of the program."""
        return self._schemas[name]


def _whole(record: Record) -> bool:
    return record.event.kind == "print_map" and not record.event.arguments


_number_of = attrgetter("event.id")

Action = Callable[[Dispatcher, Record], None]


def _printf(to: Dispatcher, record: Record) -> None:
    to.output.said("printf", to.formatted(record))


def _message(to: Dispatcher, record: Record) -> None:
    if record.event.kind == "errorf" or to.warnings:
        to.output.message(record.event.kind, to.formatted(record), record.event.place)


def _print_value(to: Dispatcher, record: Record) -> None:
    to.output.value(to.values(record)[0])


def _print_map(to: Dispatcher, record: Record) -> None:
    event = record.event
    state = to.whole(event.map, empty=to.is_both(record))
    if state.dropped:
        said = f"print(): {state.dropped} more keys of {event.map} are not printed, the smallest"
        to.output.message("warnf", said, event.place)
    if event.arguments:
        _print_key(to, state, key_of(to.values(record)[0]), event)
        return
    to.output.map(with_default(state, to.schema(event.map), to.resolver), event.top, event.div)


def _print_key(to: Dispatcher, state: MapState, key: Key, event: Event) -> None:
    """One key of a map; what is a value prints as print(value) does, stats for one."""
    entries = tuple(entry for entry in state.entries if entry.key == key)
    if state.kind == "stats":
        to.output.value(cell_value("stats", entries[0].cell if entries else Average(0, 0)))
        return
    to.output.map(replace(state, entries=entries), event.top, event.div)


def _clear(to: Dispatcher, record: Record) -> None:
    if not to.is_both(record):
        to.session.clear(record.event.map)


def _zero(to: Dispatcher, record: Record) -> None:
    to.session.zero(record.event.map)


def _time(to: Dispatcher, record: Record) -> None:
    # The moment of processing, not of the event: stdlib.md, time().
    to.output.said("time", format_clock(int(time.time()), record.event.format))


def _join(to: Dispatcher, record: Record) -> None:
    (words,) = to.values(record)
    assert isinstance(words, Bytes)
    # Every string has its NUL behind it.
    texts = words.data.decode("utf-8", "surrogateescape").split("\0")[:-1]
    to.output.said("join", record.event.format.join(texts))


def _unwatch(to: Dispatcher, record: Record) -> None:
    (address,) = to.values(record)
    assert isinstance(address, int)
    to.session.unwatch(address)


def _cat(to: Dispatcher, record: Record) -> None:
    path = to.formatted(record)
    try:
        data = to.files.read(path, to.session.manifest.config.max_cat_bytes)
    except NotShownError as error:
        to.output.message("errorf", f"cat(): {error}", record.event.place)
        return
    except (OSError, ValueError) as error:
        to.output.message(
            "errorf", f"failed to open file '{path}': {getattr(error, 'strerror', None) or error}", record.event.place
        )
        return
    to.output.said("cat", data.decode("utf-8", "surrogateescape"))


def _system(to: Dispatcher, record: Record) -> None:
    command = to.formatted(record)
    if not to.allow_unsafe:
        to.output.message("errorf", f"system() is unsafe and was not allowed: {command}", record.event.place)
        return
    import subprocess

    try:
        done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        to.output.message("errorf", f"system(): {error}", record.event.place)
        return
    to.output.said("system", done.stdout.decode("utf-8", "surrogateescape"))
    if done.returncode:
        ended = f"ended with exit code {done.returncode}" if done.returncode > 0 else f"was ended by signal {-done.returncode}"
        to.output.message("errorf", f"system(): the command {ended}", record.event.place)


def _skboutput(to: Dispatcher, record: Record) -> None:
    path = record.event.format
    time_ns, copied, whole = (value for value in to.values(record) if isinstance(value, int))
    start, skip = record.event.size, record.event.skip
    packet = record.data[start : start + copied][skip:]
    try:
        to.packets(path).write(time_ns, packet, max(whole - skip, len(packet)))
    except FullError:
        to.output.message("errorf", f"skboutput(): {path} is full; it keeps what it has", record.event.place)
    except (NotKeptError, OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        to.output.message("errorf", f"skboutput(): failed to write '{path}': {what}", record.event.place)


def _process(to: Dispatcher, record: Record) -> None:
    to.resolver.notice(int.from_bytes(record.argument(0)[:4], "little"))


def _exit(to: Dispatcher, record: Record) -> None:
    """Nothing: the session notes it, and its owner decides what follows."""


ACTIONS: dict[str, Action] = {
    "printf": _printf,
    "errorf": _message,
    "warnf": _message,
    "print_value": _print_value,
    "print_map": _print_map,
    "clear": _clear,
    "zero": _zero,
    "time": _time,
    "join": _join,
    "unwatch": _unwatch,
    "cat": _cat,
    "system": _system,
    "skboutput": _skboutput,
    "exit": _exit,
    "process": _process,
}
