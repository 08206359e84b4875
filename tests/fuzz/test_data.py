"""What a node or the operator reads and others wrote, damaged: it is refused in the words of the reader, in bounded time."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kubebpf.agent.binaries import places
from kubebpf.agent.session.errors import SessionError
from kubebpf.agent.session.points import Node
from kubebpf.agent.symbols.elf import BadImageError, Image
from kubebpf.compiler.artifact.manifest import Attach, Manifest, ManifestError
from kubebpf.operator.state import read_identity, read_state
from kubebpf.operator.values import BadValueError
from support.programs import anything, compiled
from support.targets import targets, x86

ODD: tuple[Any, ...] = (None, True, -1, 0, 1 << 70, 1.5, "", "x" * 300, "\udc80", [], [[]], {}, {"a": None}, [1] * 50)
PROGRAM = """
begin { @a[1, "x"] = hist(3); @b = (1, "y"); printf("%s", comm); errorf("%d", pid); }
tracepoint:sched:sched_switch { @c[kstack] = avg(args.prev_pid); $r = (a = 1, b = pid); print($r); @d = (uint8)$1; }
"""
STATUS: dict[str, Any] = {
    "phase": "Running", "reason": "r", "message": "m", "startedAt": "2026-01-01T00:00:00Z", "observedAt": "2026-01-01T00:00:00Z",
    "exitCode": 1, "generation": 3, "digest": "sha256:0", "lost": {"events": "3"},
    "recent": [{"time": "2026-01-01T00:00:00Z", "text": "t"}],
    "maps": [{"name": "@", "rows": [{"key": [1], "value": {"count": "3"}}], "kind": "count"}],
}  # fmt: skip


def changed(chance: random.Random, whole: Any) -> Any:
    """JSON with one part of it exchanged, left out, or put elsewhere."""
    whole = json.loads(json.dumps(whole))
    inner = whole
    while isinstance(inner, dict | list) and inner:
        place = chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        if chance.random() < 0.3 or not isinstance(inner[place], dict | list) or not inner[place]:
            if chance.random() < 0.2:
                del inner[place]
            else:
                inner[place] = chance.choice(ODD)
            break
        inner = inner[place]
    return whole


def in_time(what: Callable[[], object], *allowed: type[Exception]) -> None:
    began = time.process_time()
    with suppress(*allowed):
        what()
    assert time.process_time() - began < 2


def test_manifests() -> None:
    chance = random.Random(1)
    manifest = json.loads(compiled(PROGRAM, anything(), offline=True).manifest.to_json())
    for _ in range(1500):
        text = json.dumps(changed(chance, manifest))
        in_time(partial(Manifest.from_json, text), ManifestError)
    for bomb in ("[" * 100_000, '{"version":' * 50_000, "1" * 100_000, "\0", "{}", "[]", '{"version": 1}'):
        in_time(partial(Manifest.from_json, bomb), ManifestError)


def test_reports() -> None:
    chance = random.Random(2)
    for _ in range(3000):
        status = changed(chance, STATUS)
        in_time(partial(read_state, status, "node"), BadValueError)
        in_time(partial(read_identity, status))


def damaged(chance: random.Random, data: bytes) -> bytes:
    """An ELF file with some bytes changed, most of them in its headers and in the tables at its end."""
    copy = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        where = chance.choice((range(64), range(64, 1024), range(len(copy) - 4096, len(copy)), range(len(copy))))
        copy[chance.choice(where)] = chance.choice((0, 1, 255, 127, 128, chance.randrange(256)))
    return bytes(copy[: chance.randrange(len(copy))] if chance.random() < 0.1 else copy)


def symbols_of(data: bytes) -> None:
    image = Image(data)
    _ = image.build_id, image.debug_link, image.debug_crc
    image.symbols().find(0x1190)


@x86
def test_elf_images() -> None:
    chance, data = random.Random(3), targets().app.read_bytes()
    for _ in range(400):
        in_time(partial(symbols_of, damaged(chance, data)), BadImageError)


@x86
@pytest.mark.parametrize("provider", ["uprobe", "usdt"])
def test_binaries(provider: str, tmp_path: Path) -> None:
    chance, data = random.Random(4), targets().app.read_bytes()
    path = tmp_path / "app"
    for number in range(150):
        path.write_bytes(damaged(chance, data))
        name: dict[str, str | int] = {"path": str(path), "function": chance.choice(("*", "places", "main")), "offset": 0}
        if provider == "usdt":
            name = {"path": str(path), "namespace": "*", "name": "*", "reads": "0,1"}
        attach = Attach(0, "p", provider, f"{provider}:{path}:{number}", name, wildcard=True)
        look = places.functions if provider == "uprobe" else places.probes
        in_time(lambda: list(look(attach, Node())), SessionError)  # noqa: B023
