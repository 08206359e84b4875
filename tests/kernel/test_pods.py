"""pod, namespace, container and node: names that are found when a value is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubebpf.agent.output.dispatch import map_state
from kubebpf.agent.output.node import NodeResolver
from kubebpf.agent.session.options import Options
from kubebpf.compiler.artifact.cells import Count
from kubebpf.compiler.artifact.values import Text
from support.cgroups import cgroup2_mount, empty_and_remove
from support.programs import codes, running
from support.workload import Workload

pytestmark = pytest.mark.kernel
GETPPID = "tracepoint:syscalls:sys_enter_getppid"


@pytest.fixture
def top() -> Iterator[Path]:
    path = cgroup2_mount() / f"kubebpf-owner-{os.getpid()}"
    (path / "inner" / "most").mkdir(parents=True)
    yield path
    empty_and_remove(path)


@pytest.mark.parametrize(
    ("depth", "wanted"),
    [(None, {"": 5, "/inner": 20, "/inner/most": 100}), (0, {"": 125}), (1, {"": 5, "/inner": 120})],
    ids=["unknown", "own", "below"],
)
def test_pod_is_the_cgroup_at_the_depth_of_containers(top: Path, depth: int | None, wanted: dict[str, int]) -> None:
    text = f'{GETPPID} /comm == "kbowner"/ {{ @[pod] = count(); @by[namespace, container, node] = count(); }}'
    level = None if depth is None else len(top.relative_to(cgroup2_mount()).parts) + depth
    with running(text, options=Options(container_level=level)) as session:
        for calls, cgroup in ((5, top), (20, top / "inner"), (100, top / "inner/most")):
            work = Workload.start("--comm", "kbowner", "--getppid", calls)
            (cgroup / "cgroup.procs").write_text(str(work.pid))
            work.go()
        resolver = NodeResolver(session.manifest)
        by_pod, by = (map_state(session, name, resolver) for name in ("@", "@by"))
    assert {entry.key: entry.cell for entry in by_pod.entries} == {
        (Text(f"/{top.name}{name}", "pod"),): Count(calls) for name, calls in wanted.items()
    }
    # Without a cluster there are no namespaces and containers: several cgroups are one key.
    key = (Text("", "namespace"), Text("", "container"), Text(os.uname().nodename, "node"))
    assert [(entry.key, entry.cell) for entry in by.entries] == [(key, Count(125))]


def test_a_scoped_program_refuses_them_where_nobody_is_the_cause() -> None:
    for name in ("pod", "namespace", "container"):
        text = f"interval:s:1 {{ print({name}); }}"
        assert codes(text) == [] and codes(text, scoped=True) == ["CurrentIsNotTheCause"]
    assert codes("interval:s:1 { print(node); }", scoped=True) == []
