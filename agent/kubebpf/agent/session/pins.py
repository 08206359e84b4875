"""The programs, maps and links of one session as files of a bpffs, which outlive the process.

    pins = Pins(Path("/sys/fs/bpf/kubebpf/node-a/UID-3-0123456789ab-6f0c1a2b"))
    pins.keep(held, Kept(points, note={"session": "6f0c…"}))      everything, and last of all the note that says so
    kept = pins.read()                                            in a later process
    with pins.taken_up(kept, artifact.manifest) as held: …
    pins.remove()                                                 the programs stop

A folder without its note is what somebody left who was killed half-way; it is of no use.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.info import program_info
from kubebpf.agent.libbpf.link import Link
from kubebpf.agent.libbpf.map import BpfMap
from kubebpf.agent.libbpf.pins import opened, pin, read_note, replace_note, write_note
from kubebpf.agent.libbpf.program import PinnedProgram
from kubebpf.agent.session.loaded import Loaded
from kubebpf.agent.session.points import Point
from kubebpf.compiler.artifact.manifest import LAST_PROCESS, PROCESSES, Manifest

FORMAT = 2
NOTE = "note"
_ENDED = "ended"
_LINKS = ("link_", "place_")
_PRIVATE = 0o700
_ROOMY = 1 << 26  # bytes of a note, unpacked, that are believed


class StalePinsError(Exception):
    """The pins are not of this version, or not what their note says."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a later process needs beside the descriptors.

    Args:
        scope_levels: that the programs were loaded with.
        note: of whoever owns the session; JSON.
        points: number of the attach point, name, target and cookie of each place.
        maps, programs: name in the object, and the kernel's number.
        clones: the numbers of programs that are instances of others.
        links: number of the place in `points`, and the kernel's number.
    """

    scope_levels: tuple[int, int] | None = None
    note: Mapping[str, Any] = field(default_factory=dict)
    points: Sequence[tuple[int, str, dict[str, str | int], int]] = ()
    maps: Sequence[tuple[str, int]] = ()
    programs: Sequence[tuple[str, int]] = ()
    clones: Sequence[int] = ()
    links: Sequence[tuple[int, int]] = ()

    def pack(self) -> bytes:
        """As bytes."""
        return packed({name: getattr(self, name) for name in self.__slots__} | {"format": FORMAT, "note": dict(self.note)})

    @classmethod
    def unpack(cls, data: bytes) -> Kept:
        """From bytes.

        Raises:
            StalePinsError: another version wrote them.
        """
        try:
            read = unpacked(data)
            if (found := read.pop("format")) != FORMAT:
                raise StalePinsError(f"the pins have the format {found}, of another version of the agent, and not {FORMAT}")
            levels = read.pop("scope_levels")
            return cls(scope_levels=tuple(levels) if levels else None, **read)
        except (KeyError, TypeError, AttributeError) as error:
            raise StalePinsError(f"the note cannot be read: {error!r}") from error

    def places(self, manifest: Manifest) -> list[Point]:
        """The places with their attach points.

        Raises:
            StalePinsError: the manifest has no such attach point.
        """
        attaches = {attach.probe: attach for attach in manifest.attaches}
        try:
            return [Point(attaches[probe], name, target, cookie) for probe, name, target, cookie in self.points]
        except (KeyError, ValueError) as error:
            raise StalePinsError(f"the note names a probe that the object does not have: {error}") from error


def packed(said: object) -> bytes:
    """JSON values as the bytes of a note."""
    return zlib.compress(json.dumps(said).encode())


def unpacked(data: bytes) -> Any:
    """The values in a note.

    Raises:
        StalePinsError: they are damaged.
    """
    try:
        return json.loads(zlib.decompressobj().decompress(data, _ROOMY))
    except (ValueError, zlib.error) as error:
        raise StalePinsError(f"the note cannot be read: {error!r}") from error


class Pins:
    """The folder of one session.

    Args:
        path: its parents are made, and are private to this user, up to the one that is there already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, held: Loaded, kept: Kept) -> None:
        """Pin a session that is attached. When this fails nothing is pinned.

        Args:
            held: programs, maps and links.
            kept: what is known beside; the numbers are filled in here.

        Raises:
            LibbpfError: something cannot be pinned here.
            OSError: the folder cannot be made, or is not private.
        """
        private_folder(self.path)
        try:
            write_note(self.path / NOTE, self._pinned(held, kept).pack())
        except BaseException:
            self.remove()
            raise
        held.pins = self

    def _pinned(self, held: Loaded, kept: Kept) -> Kept:
        maps = [(name, found.info.id, found.fd) for name, found in held.maps.items()]
        programs = [(name, found.info.id, found.fd) for name, found in held.programs.items() if found.autoload]
        clones = [(program_info(fd).id, fd) for fd in held.clones]
        links = [(i, link.info.id, link) for i, (_, of_one) in enumerate(held.attached) for link in of_one]
        for i, (_, _, fd) in enumerate(maps):
            pin(fd, self.path / f"map_{i}")
        for i, (_, _, fd) in enumerate(programs):
            pin(fd, self.path / f"program_{i}")
        for i, (_, fd) in enumerate(clones):
            pin(fd, self.path / f"clone_{i}")
        for i, (_, _, link) in enumerate(links):
            pin(link.fd, self.path / f"link_{i}")
            link.pinned = self.path / f"link_{i}"
        points = [(point.attach.probe, point.name, point.target, point.cookie) for point, _ in held.attached]
        return Kept(
            kept.scope_levels, kept.note, points, [m[:2] for m in maps], [p[:2] for p in programs],
            [number for number, _ in clones], [link[:2] for link in links],
        )  # fmt: skip

    def read(self) -> Kept:
        """What was kept.

        Raises:
            StalePinsError: there is no note, or one of another version.
        """
        try:
            check_private(self.path)
            return Kept.unpack(read_note(self.path / NOTE))
        except (LibbpfError, OSError) as error:
            raise StalePinsError(str(error)) from error

    def opened_map(self, kept: Kept, name: str) -> BpfMap | None:
        """One of the maps, for whoever closes it; None when the session has none of this name.

        Raises:
            LibbpfError: its pin is missing.
        """
        for i, (found, _) in enumerate(kept.maps):
            if found == name:
                return BpfMap.open(self.path / f"map_{i}", name)
        return None

    @contextmanager
    def taken_up(self, kept: Kept, manifest: Manifest) -> Iterator[Loaded]:
        """Open everything that is pinned; the pins stay at the end of the block, unless the loaded set removed them.

        Raises:
            StalePinsError: something is missing, or not what was pinned.
        """
        with ExitStack() as stack:
            try:
                held = self._opened(kept, manifest, stack)
            except (LibbpfError, ValueError, TypeError, IndexError) as error:
                raise StalePinsError(f"the pins are not as they were left: {error}") from error
            yield held

    def _opened(self, kept: Kept, manifest: Manifest, stack: ExitStack) -> Loaded:
        maps, programs = dict[str, BpfMap](), dict[str, PinnedProgram]()
        for i, (name, number) in enumerate(kept.maps):
            maps[name] = BpfMap.open(self.path / f"map_{i}", name)
            stack.callback(maps[name].close)
            _same(maps[name].info.id, number, name)
        for i, (name, number) in enumerate(kept.programs):
            programs[name] = self._program(f"program_{i}", name, number, stack)
        clones = [self._program(f"clone_{i}", "clone", number, stack).fd for i, number in enumerate(kept.clones)]
        held = Loaded(programs, maps, [(point, []) for point in kept.places(manifest)], clones, self)
        stack.callback(held.close)
        if self.ended is None:
            self._open_links(kept, held)
        else:
            self._remove_links()
        return held

    def _program(self, file: str, name: str, number: int, stack: ExitStack) -> PinnedProgram:
        program = PinnedProgram(opened(self.path / file), name)
        stack.callback(program.close)
        _same(program.info.id, number, name)
        return program

    def _open_links(self, kept: Kept, held: Loaded) -> None:
        for i, (place, number) in enumerate(kept.links):
            path = self.path / f"link_{i}"
            point, links = held.attached[place]
            if point.attach.provider == "watchpoint" and not path.exists():
                continue  # unwatch() took it away
            links.append(Link.open(path))
            links[-1].pinned = path
            _same(links[-1].info.id, number, point.name)

    def end(self, over: bool) -> None:
        """Note that the session is ending, before its links go: whoever takes it up only ends it.

        Args:
            over: the end programs have run as well.
        """
        with suppress(LibbpfError, OSError):  # it ends all the same
            self.tell(_ENDED, over)

    @property
    def ended(self) -> bool | None:
        """What `end` was told; None for a session that runs."""
        said = self.told(_ENDED)
        return None if said is None else bool(said)

    def _remove_links(self) -> None:
        for path in self.path.iterdir():
            if path.name.startswith(_LINKS):
                path.unlink(missing_ok=True)

    def tell(self, name: str, said: object) -> None:
        """Leave a word for whoever takes the session up, in place of an earlier one of this name.

        Args:
            name: of letters.
            said: JSON.

        Raises:
            LibbpfError, OSError: it cannot be kept.
        """
        replace_note(self.path / name, packed(said))

    def told(self, name: str) -> Any:
        """What was left under a name; None when nothing readable was."""
        try:
            return unpacked(read_note(self.path / name))
        except (LibbpfError, StalePinsError):
            return None

    def remove(self) -> None:
        """Remove all of it; what nobody else holds stops. A second call does nothing."""
        remove_folder(self.path)


def announce_again(maps: Mapping[str, BpfMap]) -> None:
    """Have processes announced that were announced to an earlier process: this one has not read their mappings."""
    if PROCESSES in maps:
        for key in list(maps[PROCESSES].keys()):
            maps[PROCESSES].delete(key)
        maps[LAST_PROCESS].update(bytes(4), bytes(maps[LAST_PROCESS].value_bytes))


def _same(found: int, wanted: int, name: str) -> None:
    if found != wanted:
        raise StalePinsError(f"the pin of {name} is of another object")


def private_folder(path: Path) -> None:
    """Make a folder that only this user can enter, and those of its parents that are missing.

    Raises:
        OSError: it cannot be made, or something else is there: another user's folder, a symbolic link.
    """
    if not path.parent.exists():
        private_folder(path.parent)
    try:
        path.mkdir(_PRIVATE)
    except FileExistsError:
        check_private(path)


def check_private(path: Path) -> None:
    """See that a folder is this user's alone; one that others may enter is closed to them.

    Raises:
        OSError: it is not, or not a folder but a link to one.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
        if stat.S_IMODE(status.st_mode) != _PRIVATE:
            os.fchmod(folder, _PRIVATE)
    finally:
        os.close(folder)


def remove_folder(path: Path) -> None:
    """Remove a folder of pins, the note first, so that what is left of a removal that was cut short is not taken up.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        for name in sorted(os.listdir(folder), key=lambda name: (name != NOTE, name)):  # noqa: PTH208 -- by descriptor
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)
    path.rmdir()
