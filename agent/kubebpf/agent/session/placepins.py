"""The pins of probes that come and go: a note for each file that is probed, and its links beside it.

    number = pins.keep(unit, attached)              place_0_0, place_0_1, …: the links; then place_0: the note that says so
    for number, unit, attached in pins.taken_up():  in a later process; what is not whole is removed
    pins.forget(number)                             the note goes first, the links with whoever closes them

Links without their note are of no use: somebody was killed while making or removing them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.pins import pin, read_note, write_note
from kubebpf.agent.session.pins import StalePinsError, packed, unpacked
from kubebpf.agent.session.points import Point
from kubebpf.compiler.artifact.manifest import Attach

log = logging.getLogger(__name__)

Unit = tuple[int, tuple[int, ...]]  # an attach point's number, and a file
Places = list[tuple[Point, list[Link]]]
_PREFIX = "place_"


class PlacePins:
    """In the folder of one session.

    Args:
        folder: of the session's pins.
        attaches: the attach points in user programs, by their numbers.
    """

    def __init__(self, folder: Path, attaches: Mapping[int, Attach]) -> None:
        self._folder, self._attaches = folder, attaches
        self._next = 1 + max((_number(path) for path in self._files()), default=-1)

    def keep(self, unit: Unit, attached: Places) -> int | None:
        """Pin the links of one unit.

        Returns:
            the number for `forget`; None when they cannot be pinned: they then end with this process.
        """
        number, self._next = self._next, self._next + 1
        links = [(i, link) for i, (_, of_one) in enumerate(attached) for link in of_one]
        try:
            for i, (_, link) in enumerate(links):
                path = self._folder / f"{_PREFIX}{number}_{i}"
                pin(link.fd, path)
                link.pinned = path
            points = [(point.attach.probe, point.name, point.target, point.cookie) for point, _ in attached]
            note = {"unit": unit, "points": points, "links": [(i, link.info.id) for i, link in links]}
            write_note(self._folder / f"{_PREFIX}{number}", packed(note))
        except LibbpfError as error:
            log.warning("%s: %s; its probes will not outlive this process", attached[0][0].name, error)
            for _, link in links:
                link.lose_pin()
            return None
        return number

    def forget(self, number: int | None) -> None:
        """Remove a unit's note, before its links are closed."""
        if number is not None:
            (self._folder / f"{_PREFIX}{number}").unlink(missing_ok=True)

    def taken_up(self) -> Iterator[tuple[int, Unit, Places]]:
        """Every unit that is whole. The others, and links that belong to none, go."""
        used = set[Path]()
        for path in self._files():
            if path.name.count("_") == 1:
                try:
                    unit, places = self._unit(path)
                except (LibbpfError, StalePinsError, ValueError, KeyError, TypeError, IndexError) as error:
                    log.warning("%s: %s; probed afresh", path.name, error)
                    continue
                used |= {path, *(link.pinned for _, links in places for link in links if link.pinned)}
                yield _number(path), unit, places
        for path in self._files():
            if path not in used:
                path.unlink(missing_ok=True)

    def _unit(self, path: Path) -> tuple[Unit, Places]:
        said = unpacked(read_note(path))
        probe, file = said["unit"]
        places: Places = [(Point(self._attaches[n], name, target, cookie), []) for n, name, target, cookie in said["points"]]
        opened = list[Link]()
        try:
            for i, (place, wanted) in enumerate(said["links"]):
                opened.append(_link(path.with_name(f"{path.name}_{i}"), wanted))
                places[place][1].append(opened[-1])
        except BaseException:
            for link in opened:
                link.close()
            raise
        return (probe, tuple(file)), places

    def _files(self) -> Sequence[Path]:
        with suppress(FileNotFoundError):
            return sorted(path for path in self._folder.iterdir() if path.name.startswith(_PREFIX))
        return []


def _link(path: Path, wanted: int) -> Link:
    link = Link.open(path)
    link.pinned = path
    if link.info.id != wanted:
        link.close()
        raise StalePinsError("the pin is of another link")
    return link


def _number(path: Path) -> int:
    return int(path.name.split("_")[1])
