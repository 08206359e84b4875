"""What a program says, as text and as JSON; the expectations are bpftrace 0.27.1's."""

from __future__ import annotations

import io

from kubebpf.agent.output.writers import JsonOutput, Streams, TextOutput
from kubebpf.agent.session.counters import SiteCount
from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.manifest import Place, Site
from kubebpf.compiler.artifact.state import Entry, MapState
from kubebpf.compiler.artifact.values import Tuple

PLACE = Place("stdin", 1, 36, 1, 43)
PROGRAM = "let @m = hash(1); begin { @m[1]=1; @m[2]=2; @m[3]=3; }"
FULL = SiteCount(Site("map_full", "map_update_elem", PLACE), 1, -7)
READ = SiteCount(Site("helper", "probe_read", PLACE), 3, -14)
DIVIDED = SiteCount(Site("divide_by_zero", "", PLACE), 1, 0)
BY_ZERO = "Divide or modulo by 0 detected. This can lead to unexpected results. 1 is being used as the result."


def text() -> tuple[list[tuple[str, str]], TextOutput]:
    said: list[tuple[str, str]] = []
    return said, TextOutput(lambda kind, line: said.append((kind, line)), PROGRAM)


def test_text() -> None:
    said, output = text()
    output.attached(1)
    output.attached(2)
    output.said("printf", "no newline")
    output.said("join", "a b")
    output.said("system", "hi\n")
    output.value(Tuple((1, "a")))
    output.map(MapState("@x", "count", scalar=True, entries=(Entry((), Count(3)),)))
    output.map(MapState("@y", "count"))
    output.message("errorf", "e 5", PLACE)
    output.message("warnf", "w\n", Place("stdin", 1, 9, 3, 2))
    output.lost(5)
    output.ending()
    assert said == [
        ("attached", "Attached 1 probe\n"),
        ("attached", "Attached 2 probes\n"),
        ("printf", "no newline"),
        ("join", "a b\n"),
        ("system", "hi\n\n"),
        ("print", "(1, a)\n"),
        ("print", "@x: 3\n"),
        ("errorf", "stdin:1:36-43: ERROR: e 5\n"),
        ("warnf", "stdin:1-3: WARNING: w\n"),
        ("lost", "Lost 5 events\n"),
        ("print", "\n\n"),
    ]


def test_failures_show_the_line_and_the_helper() -> None:
    said, output = text()
    output.failed(FULL)
    output.failed(READ)
    output.failed(DIVIDED)
    underlined = f"{PROGRAM}\n                                   ~~~~~~~\n"
    assert [line for _, line in said] == [
        "stdin:1:36-43: WARNING: Map full; can't update element. Try increasing max_map_keys config or manually setting the max "
        "entries in a map declaration e.g. `let @a = hash(5000)`\nAdditional Info - helper: map_update_elem, retcode: -7\n"
        + underlined,
        "stdin:1:36-43: WARNING: Bad address\nAdditional Info - helper: probe_read, retcode: -14, times: 3\n" + underlined,
        f"stdin:1:36-43: WARNING: {BY_ZERO}\n" + underlined,
    ]


def test_json() -> None:
    said: list[str] = []
    output = JsonOutput(lambda kind, line: said.append(line))
    output.attached(2)
    output.said("system", "hi\n")
    output.said("time", "17\n")
    output.map(MapState("@y", "count"))
    output.message("errorf", "e 5", PLACE)
    output.failed(READ)
    output.failed(DIVIDED)
    output.lost(5)
    output.ending()
    assert said == [
        '{"type": "attached_probes", "count": 2, "data": {"probes": 2}}\n',
        '{"type": "syscall", "data": "hi\\n"}\n',
        '{"type": "time", "data": "17\\n"}\n',
        '{"type": "errorf", "msg": "e 5", "filename": "stdin", "line": 1, "col": 36}\n',
        '{"type": "helper_error", "msg": "Bad address", "helper": "probe_read", "retcode": -14, "count": 3, '
        '"filename": "stdin", "line": 1, "col": 36}\n',
        '{"type": "runtime_error", "msg": "' + BY_ZERO + '", "count": 1, "filename": "stdin", "line": 1, "col": 36}\n',
        '{"type": "lost_events", "count": 5, "data": {"events": 5}}\n',
    ]


def test_streams_keep_output_and_remarks_apart_and_in_order() -> None:
    out, err = io.BytesIO(), io.BytesIO()
    streams = Streams(out, err)
    streams.write("printf", "a\udcff")
    streams.write("errorf", "b")
    streams.write("attached", "c")
    assert (out.getvalue(), err.getvalue()) == (b"a\xff", b"bc")
    both = io.BytesIO()
    together = Streams(both, None)
    together.write("printf", "a")
    together.write("errorf", "b")
    assert both.getvalue() == b"ab"
