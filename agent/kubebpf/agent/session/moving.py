"""Probes of user programs in containers: their files come and go while a session runs.

    found = search(attaches, {key: process}, known)       in any thread: reads files below the roots of processes
    moving.put(found)                                     in the session's thread: attaches what is new, detaches what is gone

A file is attached once, however many containers see it; whose events count is up to the scope predicate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from kubebpf.agent.session import user
from kubebpf.agent.session.attach import attach_points
from kubebpf.agent.session.errors import MissingProbeError
from kubebpf.agent.session.loaded import Loaded
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.placepins import PlacePins, Places, Unit
from kubebpf.agent.session.points import Node, Point, Target
from kubebpf.compiler.artifact.manifest import NAMES, OPERANDS, SYMBOLS, Attach

if TYPE_CHECKING:
    from kubebpf.agent.libbpf.program import Program

_BARREN = 4096  # files without what is probed that are remembered
RootKey = tuple[int, int, int]  # of binaries.roots.root_key


@dataclass(frozen=True, slots=True)
class Seen:
    """What one root has.

    Args:
        units: the attach points with their files.
        missing: why an attach point has nothing there, by its number.
    """

    units: frozenset[Unit]
    missing: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Place:
    """One place of an attach point in a file; `rows` is what the program is told about it, under a number yet to be given."""

    name: str
    target: Target
    rows: tuple[user.Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found.

    Args:
        roots: every root that was asked for.
        places: of the units that were not known before, each place.
        barren: files in which an attach point has no place.
    """

    roots: Mapping[RootKey, Seen]
    places: Mapping[Unit, Sequence[Place]]
    barren: frozenset[Unit] = frozenset()


def _place(attach: Attach, name: str, target: Target) -> Place:
    return Place(name, target, tuple(user.rows(Point(attach, name, target, 0))))


@dataclass
class _Attached:
    """What a unit holds in the kernel; `pin` is the number of its pins."""

    points: list[Point]
    users: set[RootKey]
    pin: int | None = None


def user_attaches(attaches: Iterable[Attach]) -> list[Attach]:
    """The attach points in user programs."""
    return [attach for attach in attaches if attach.provider in user.PROVIDERS]


def search(
    attaches: Sequence[Attach],
    processes: Mapping[RootKey, int],
    known: frozenset[Unit] = frozenset(),
    barren: frozenset[Unit] = frozenset(),
) -> Search:
    """Look for attach points below the roots of processes.

    Args:
        attaches: in user programs.
        processes: one that is alive for each root.
        known: units whose places need not be read again.
        barren: units that are known to have no places.
    """
    from kubebpf.agent.binaries.binary import forget_below

    roots, places, empty = dict[RootKey, Seen](), dict[Unit, Sequence[Place]](), set[Unit]()
    for key, process in processes.items():
        units, missing = set[Unit](), dict[int, str]()
        for attach in attaches:
            try:
                found = dict(_units(attach, Node(process=process), known | places.keys(), barren | empty))
            except MissingProbeError as error:
                missing[attach.probe] = str(error)
                continue
            mine = {unit for unit, any_ in found.items() if any_ or unit in known or unit in places}
            units |= mine
            empty |= found.keys() - mine
            places |= {unit: found[unit] for unit in mine if unit not in known and unit not in places}
            if not mine:
                missing[attach.probe] = f"{attach.text.partition(':')[2]} is not there"
        roots[key] = Seen(frozenset(units), missing)
        forget_below(f"/proc/{process}/root/")
    return Search(roots, places, frozenset(empty))


def _units(attach: Attach, node: Node, known: frozenset[Unit], barren: frozenset[Unit]) -> Iterator[tuple[Unit, list[Place]]]:
    """The files of an attach point, each with its places; none for those that are known, or known to have none."""
    from kubebpf.agent.binaries.files import NoFileError, files
    from kubebpf.agent.binaries.places import in_file
    from kubebpf.agent.binaries.roots import file_key

    try:
        found = files(str(attach.target["path"]), node.process)
    except NoFileError as error:
        raise MissingProbeError(attach.text, str(error)) from error
    for shown, file in found:
        try:
            unit = (attach.probe, file_key(file.partition("!/")[0], node.process))
            skip = unit in known or unit in barren
            places = [] if skip else [_place(attach, *place) for place in in_file(attach, shown, file, node)]
        except MissingProbeError:
            raise
        except Exception as error:
            # Containers have what they like in their files; one that is damaged is no reason to leave the others.
            if len(found) == 1:
                raise MissingProbeError(attach.text, str(error)) from error
            continue
        yield unit, places


class Moving:
    """The links of one session that come and go. Those that an earlier process pinned are there from the start; which roots have
    them tells the first search.

    `roots` is what each root has, as it was found last; `refused` counts places for which there was no room.

    Args:
        attaches: the attach points in user programs.
        loaded: the session's programs, maps and links.
        options: of the session.
        cookies: that others have.
        most: places at a time.
    """

    def __init__(self, attaches: Sequence[Attach], loaded: Loaded, options: Options, cookies: Collection[int], most: int) -> None:
        self.attaches, self.roots, self.refused = tuple(attaches), dict[RootKey, Seen](), 0
        self._loaded, self._options, self._most = loaded, options, most
        self._by_number = {attach.probe: attach for attach in attaches}
        self._attached: dict[Unit, _Attached] = {}
        self._pins: PlacePins | None = None
        self.barren = frozenset[Unit]()
        known = {*cookies, *self._take_up()}
        self._following = max(known, default=-1) + 1
        self._forget_others(known)

    @property
    def known(self) -> frozenset[Unit]:
        """What is attached: a search need not read it again."""
        return frozenset(self._attached)

    def put(self, found: Search, gone: Iterable[RootKey] = ()) -> None:
        """Make the links those of the roots as they were found.

        Args:
            found: the roots that were looked at; the others stay as they are.
            gone: roots that no container has any longer.
        """
        self.barren = found.barren | (self.barren if len(self.barren) < _BARREN else frozenset())
        for key in gone:
            self.roots.pop(key, None)
            self._leave(key, frozenset())
        for key, seen in found.roots.items():
            self.roots[key] = seen
            for unit in sorted(seen.units):
                self._use(unit, key, found.places.get(unit, ()))
            self._leave(key, seen.units)
        self._release()

    def _use(self, unit: Unit, key: RootKey, places: Sequence[Place]) -> None:
        if unit in self._attached:
            self._attached[unit].users.add(key)
        elif places:  # else it was known when the search began, and was left meanwhile: the next search reads it again
            done = self._attach(self._by_number[unit[0]], places)
            if done:
                pins = self._place_pins()
                self._attached[unit] = _Attached([point for point, _ in done], {key}, pins.keep(unit, done) if pins else None)

    def _place_pins(self) -> PlacePins | None:
        """Where links are pinned; the session gets its folder after it was started."""
        if self._pins is None and self._loaded.pins is not None:
            self._pins = PlacePins(self._loaded.pins.path, self._by_number)
        return self._pins

    def _take_up(self) -> Iterator[int]:
        """What an earlier process pinned; its cookies."""
        pins = self._place_pins()
        for number, unit, places in pins.taken_up() if pins else ():
            self._attached[unit] = _Attached([point for point, _ in places], set(), number)
            self._loaded.attached += places
            yield from (point.cookie for point, _ in places)

    def _attach(self, attach: Attach, places: Sequence[Place]) -> Places:
        held = sum(len(attached.points) for attached in self._attached.values())
        if held + len(places) > self._most:
            self.refused += len(places)
            return []
        points = [self._point(attach, place, first=place is places[0]) for place in places]
        done: Places = []
        # Of a program that was taken up from its pin only what this needs is there.
        for point, links in attach_points(cast("Mapping[str, Program]", self._loaded.programs), points, self._options):
            if not isinstance(links, MissingProbeError):
                self._loaded.attached.append((point, links))
                done.append((point, links))
        return done

    def _point(self, attach: Attach, place: Place, *, first: bool) -> Point:
        # What a program is told about a place it finds by the place's own number; where nothing is told, the written one will do.
        plain = first and not (attach.wildcard or place.rows)
        cookie = attach.probe if plain else self._following
        self._following += not plain
        point = Point(attach, place.name, place.target, cookie)
        for row in (*(replace(row, cookie=cookie) for row in place.rows), *user.names([point])):
            if (told := self._loaded.maps.get(row.map)) is not None:
                told.update(row.cookie.to_bytes(8, "little"), row.value.ljust(told.value_bytes, b"\0"))
        return point

    def _forget_others(self, cookies: Collection[int]) -> None:
        """What an earlier process told the program about places that it had found."""
        for told in (self._loaded.maps[name] for name in (NAMES, OPERANDS, SYMBOLS) if name in self._loaded.maps):
            for key in list(told.keys()):
                if int.from_bytes(key, "little") not in cookies:
                    told.delete(key)

    def _leave(self, key: RootKey, but: frozenset[Unit]) -> None:
        for unit, attached in self._attached.items():
            if unit not in but:
                attached.users.discard(key)

    def _release(self) -> None:
        unused = [self._attached.pop(unit) for unit, attached in list(self._attached.items()) if not attached.users]
        going = [point for attached in unused for point in attached.points]
        if not going:
            return
        for attached in unused:
            if self._pins is not None:
                self._pins.forget(attached.pin)
        numbers = {id(point) for point in going}
        self._loaded.detach_where(lambda point: id(point) in numbers)
        for point in going:
            for name in (NAMES, OPERANDS, SYMBOLS):
                if name in self._loaded.maps:
                    self._loaded.maps[name].delete(point.cookie.to_bytes(8, "little"))
