"""Sessions with objects of the project's own compiler: what both sides of the manifest mean must be the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubebpf.agent.session.facts import cgroup_id
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Sum
from kubebpf.compiler.artifact.decode import PlainResolver, decode
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import compile_script
from support.cgroups import cgroup2_mount, empty_and_remove
from support.workload import Workload, make_calls, noise

pytestmark = pytest.mark.kernel
RESOLVER = PlainResolver()
GETPPID = "tracepoint:syscalls:sys_enter_getppid"


@pytest.fixture(scope="module")
def view() -> KernelView:
    return KernelView.running()


def compiled(view: KernelView, text: str, scoped: bool = False, header: str = "plain") -> Artifact:
    compilation = compile_script(text, view, CompileOptions(scoped=scoped, header=header))
    assert compilation.artifact is not None, compilation.report.errors
    return Artifact.read(compilation.artifact.elf)


def only_cells(session: Session) -> dict[str, Cell]:
    return {state.schema.name: state.rows[0][1] for state in session.maps(RESOLVER) if len(state.rows) == 1}


def test_aggregates_are_exact(view: KernelView) -> None:
    work = Workload.start("--getppid", 1000)
    text = f"""{GETPPID} /pid == {work.pid}/ {{
        @n = count(); @s = sum(-3); @low = min(cpu + 7); @high = max(-5); @a = avg(4); @h = hist(42); @l = lhist(25, 0, 100, 10);
        @c[tid] = count();
    }}"""
    with noise(), Session(compiled(view, text)) as session:
        session.start()
        assert work.go() == 1000
        session.finish()
        cells = only_cells(session)
    least = cells.pop("@low")
    assert isinstance(least, Extreme)
    assert 7 <= least.value < 7 + (os.cpu_count() or 1)
    assert cells == {
        "@n": Count(1000),
        "@s": Sum(-3000),
        "@high": Extreme("max", -5),
        "@a": Average(4000, 1000),
        "@h": Histogram(((7, 1000),)),
        "@l": Histogram(((3, 1000),)),
        "@c": Count(1000),
    }


def test_events_in_the_order_of_the_program(view: KernelView) -> None:
    text = 'end { printf("%d", 3); } begin { printf("%d", 1); } interval:ms:10 { printf("%d", 2); exit(); }'
    with Session(compiled(view, text, header="context")) as session:
        session.start()
        records = []
        while session.exit is None:
            records += session.poll(0.1)
        records += session.finish()
    prints = [record for record in records if record.event.kind == "printf"]
    numbers = [decode(record.event.arguments[0].type, record.argument(0), RESOLVER) for record in prints]
    assert numbers[0] == 1
    assert numbers[-1] == 3
    assert set(numbers[1:-1]) == {2}
    times = [record.context.time_ns for record in records if record.context is not None]
    assert len(times) == len(records)
    assert times == sorted(times)
    assert session.exit.code == 0


@pytest.fixture
def pod_cgroup() -> Iterator[Path]:
    top = cgroup2_mount() / f"kubebpf-session-{os.getpid()}"
    (top / "container").mkdir(parents=True)
    yield top
    empty_and_remove(top)


def test_scope_decides_what_is_counted(view: KernelView, pod_cgroup: Path) -> None:
    inside, nested = Workload.start("--getppid", 700), Workload.start("--getppid", 50)
    (pod_cgroup / "cgroup.procs").write_text(str(inside.pid))
    (pod_cgroup / "container" / "cgroup.procs").write_text(str(nested.pid))
    level = len(pod_cgroup.relative_to(cgroup2_mount()).parts)
    artifact = compiled(view, f"{GETPPID} {{ @all = count(); @[cgroup] = count(); }}", scoped=True)
    with noise(), Session(artifact, Options(scope_levels=(level, level))) as session:
        session.start()
        make_calls(10)
        session.scope_add(cgroup_id(str(pod_cgroup)))
        assert inside.go() == 700
        assert nested.go() == 50
        assert session.scope_remove(cgroup_id(str(pod_cgroup)))
        make_calls(10)
        session.finish()
        everything, by_cgroup = (session.read(name, RESOLVER) for name in ("@all", "@"))
    assert [cell for _, cell in everything.rows] == [Count(750)]
    expected = {cgroup_id(str(pod_cgroup)): Count(700), cgroup_id(str(pod_cgroup / "container")): Count(50)}
    assert {int.from_bytes(key[:8], "little"): cell for key, cell in by_cgroup.rows} == expected


def test_full_maps_are_counted_at_their_place(view: KernelView) -> None:
    work = Workload.start("--getppid", 1000)
    text = f"config = {{ max_map_keys = 10; }} {GETPPID} /pid == {work.pid}/ {{ @i = count(); @[nsecs] = count(); }}"
    with Session(compiled(view, text)) as session:
        session.start()
        work.go()
        session.finish()
        rows = session.read("@", RESOLVER).rows
        counters = session.counters()
    full = [failure for failure in counters.failures if failure.site.kind == "map_full"]
    assert len(rows) == 10
    assert counters.map_full == 990
    assert [(failure.count, failure.last) for failure in full] == [(990, -7)]
    assert full[0].site.place is not None
    assert full[0].site.place.line == 1


def test_wildcards_count_each_match(view: KernelView) -> None:
    work = Workload.start("--getppid", 300)
    text = f"tracepoint:syscalls:sys_*_getppid /pid == {work.pid}/ {{ @ = count(); }}"
    with Session(compiled(view, text)) as session:
        session.start()
        assert [point.name for point in session.points] == [f"tracepoint:syscalls:sys_{way}_getppid" for way in ("enter", "exit")]
        work.go()
        session.finish()
        assert only_cells(session) == {"@": Count(600)}


def test_events_over_the_limit_are_dropped_in_the_kernel_and_counted(view: KernelView) -> None:
    work = Workload.start("--getppid", 5000)
    text = f"""begin {{ @seen = count(); }} {GETPPID} /pid == {work.pid}/ {{
        @n = count(); printf("%d\\n", 7); if (tid == 1) {{ clear(@seen); exit(); }} }}"""
    artifact = compiled(view, text, header="context")
    with Session(artifact, Options(max_events=100)) as session:
        session.start()
        assert work.go() == 5000
        records = session.poll(0.1)
        # The calls take some milliseconds: one second, or the end of one and the beginning of the next.
        assert len(records) in (100, 200)
        assert session.counters().lost == 5000 - len(records)
        assert only_cells(session)["@n"] == Count(5000)
        limited = sum(program.info.translated_bytes for program in session.loaded.programs.values())
    with Session(artifact) as session:
        # Without a limit the verifier leaves nothing of it.
        assert sum(program.info.translated_bytes for program in session.loaded.programs.values()) < limited - 100
        session.start()
    assert "kb_rate" not in compiled(view, text).elf.decode("latin-1")
