"""Which processes of a node a trace is about: an agent on a real API server, real cgroups, and the selectors of a target."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.agents import AgentProcess, Agents, counts, delete, publish, report_of
from support.bpfstate import held_by
from support.chart import System
from support.controlplane import ControlPlane, Object
from support.counting import counting
from support.images import Shop, make_image, mounted
from support.pods import STATIC_HASH, Pods
from support.processes import eventually
from support.programs import compiled
from support.workload import Workload, make_calls

pytestmark = pytest.mark.kernel

NODE = "node-targets"
FAST: dict[str, Any] = {"report": {"interval": "200ms"}}


@pytest.fixture(scope="module")
def agent(cluster: ControlPlane, system: System) -> Iterator[AgentProcess]:
    """One for all tests of this file: each has traces and namespaces of its own."""
    with Pods(cluster) as nodes, Agents(cluster, system.agent) as agents:
        nodes.node(NODE, {"zone": "targets"})
        yield agents.start(NODE)


@pytest.fixture
def pods(cluster: ControlPlane) -> Iterator[Pods]:
    """Pods of one test, on the agent's node."""
    with Pods(cluster, [NODE]) as made:
        yield made


@pytest.fixture
def traces(cluster: ControlPlane) -> Iterator[Callable[..., Object]]:
    """Makes ClusterBpfTraces and BpfTraces that are gone after the test."""
    made: list[Object] = []

    def make(namespace: str, name: str, elf: bytes, **spec: Any) -> Object:
        kind = "BpfTrace" if namespace else "ClusterBpfTrace"
        target = {"nodeSelector": {"zone": "targets"}} | spec.pop("target", {})
        made.append(publish(cluster, namespace, name, elf, kind=kind, target=target, **FAST, **spec))
        return made[-1]

    yield make
    for trace in made:
        delete(cluster, trace)


def reported(cluster: ControlPlane, trace: Object, check: Callable[[Object], Any], timeout: float = 15.0) -> Object:
    """The report, once it is as `check` wants it."""

    def look() -> Object:
        status = report_of(cluster, trace, NODE) or {}
        assert status and check(status), status
        return status

    return eventually(look, timeout=timeout)


def test_namespaces_by_label(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str, traces: Callable[..., Object]
) -> None:
    team = f"team-{namespace}"
    cluster.api("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {"team": team}}})
    other = cluster.namespace(f"{namespace}-x")
    mine = pods.create("mine", namespace=namespace, node=NODE, labels={"app": "api"})
    web = pods.create("web", namespace=namespace, node=NODE, labels={"app": "web"})
    foreign = pods.create("foreign", namespace=other, node=NODE, labels={"app": "api"})
    target = {"namespaceSelector": {"matchLabels": {"team": team}}, "podSelector": {"matchLabels": {"app": "api"}}}
    trace = traces("", f"by-team-{namespace}", counting(), target=target)
    reported(cluster, trace, lambda s: s["phase"] == "Attached" and not s.get("reason"))
    for pod in (mine, web, foreign):
        make_calls(100, pod)
    make_calls(7)
    # Both at run time: one namespace gets the label, the other loses it.
    cluster.api("PATCH", f"/api/v1/namespaces/{other}", {"metadata": {"labels": {"team": team}}})
    cluster.api("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {"team": None}}})
    time.sleep(0.3)
    make_calls(10, foreign)
    make_calls(1000, mine)
    wanted = {(namespace, "mine", "app"): 100, (other, "foreign", "app"): 10}
    reported(cluster, trace, lambda s: counts(s) == wanted)
    cluster.api("PATCH", f"/api/v1/namespaces/{other}", {"metadata": {"labels": {"team": None}}})
    # Nothing is selected any longer: that is said, and no failure.
    status = reported(cluster, trace, lambda s: s.get("reason") == "NoMatchingPods")
    assert status["phase"] == "Attached" and counts(status) == wanted


def test_a_selector_that_cannot_be_evaluated_counts_nothing(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str, traces: Callable[..., Object]
) -> None:
    pod = pods.create("api-0", namespace=namespace, node=NODE)
    requirement = {"key": "team", "operator": "NotIn", "values": []}
    trace = traces("", f"odd-{namespace}", counting(), target={"namespaceSelector": {"matchExpressions": [requirement]}})
    status = reported(cluster, trace, lambda s: s.get("reason") == "SelectorInvalid")
    assert status["message"] == "namespaceSelector: team: NotIn needs values; nothing is counted"
    make_calls(50, pod)
    time.sleep(0.6)
    assert not sum(counts(report_of(cluster, trace, NODE), "@all").values())


def test_the_scope_follows_pods_at_once(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str, traces: Callable[..., Object]
) -> None:
    trace = traces(namespace, "follow", counting(), target={"podSelector": {"matchLabels": {"app": "api"}}})
    reported(cluster, trace, lambda s: s.get("reason") == "NoMatchingPods")
    late = pods.create("late", namespace=namespace, node=NODE, labels={"app": "api"})
    made = time.monotonic()
    time.sleep(0.2)
    # In a cgroup that the container makes for itself, two levels down, after the scope was written.
    inner = late.nested("init/worker")
    work = Workload.start("--getppid", 30, pod=late, cgroup=inner)
    work.go()
    make_calls(3, late)
    print(f"{time.monotonic() - made:.2f} s after the pod was made, its calls were made and counted")
    assert time.monotonic() - made < 1
    reported(cluster, trace, lambda s: counts(s) == {(namespace, "late", "app"): 33} and not s.get("reason"))
    # Relabelled out of the selector: dropped at once, although its process runs on.
    running = Workload.start("--forever", "--gap-us", 500, pod=late)
    running.begin()
    reported(cluster, trace, lambda s: sum(counts(s).values()) > 100)
    cluster.api("PATCH", late.path, {"metadata": {"labels": {"app": "web"}}})
    time.sleep(0.3)
    first = reported(cluster, trace, lambda s: s.get("reason") == "NoMatchingPods")
    time.sleep(0.6)
    assert counts(report_of(cluster, trace, NODE)) == counts(first)
    assert running.stop() > sum(counts(first).values())


def test_pods_of_every_kind_are_counted(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str, traces: Callable[..., Object]
) -> None:
    digest = secrets.token_hex(16)
    mirror = {STATIC_HASH: digest, "kubernetes.io/config.mirror": digest}
    static = pods.create("static", namespace=namespace, node=NODE, annotations=mirror, host_network=True)
    many = pods.create("many", namespace=namespace, node=NODE, containers=["app", "setup", "debug"])
    statuses = {row["name"]: row for row in many.read()["status"]["containerStatuses"]}
    kinds = {"containerStatuses": "app", "initContainerStatuses": "setup", "ephemeralContainerStatuses": "debug"}
    status = {kind: [statuses[name]] for kind, name in kinds.items()}
    cluster.api("PATCH", f"{many.path}/status", {"status": status})
    trace = traces(namespace, "kinds", counting())
    only = traces(namespace, "setup", counting(), target={"containers": ["setup"]})
    for made in (trace, only):
        reported(cluster, made, lambda s: s["phase"] == "Attached" and not s.get("reason"))
    make_calls(3, static)
    for name, calls in (("app", 10), ("setup", 200), ("debug", 4000)):
        make_calls(calls, many, name)
    wanted = {(namespace, "static", "app"): 3} | {
        (namespace, "many", name): calls for name, calls in (("app", 10), ("setup", 200), ("debug", 4000))
    }
    reported(cluster, trace, lambda s: counts(s) == wanted)
    reported(cluster, only, lambda s: counts(s) == {(namespace, "many", "setup"): 200})


def keys(status: Object | None, name: str) -> dict[str, int]:
    """The count of each key of names."""
    found = dict[str, int]()
    for m in (status or {}).get("maps", []):
        if m["name"] == name:
            found |= {"/".join(part["text"] for part in entry["key"]): int(entry["count"]) for entry in m["entries"]}
    return found


NAMED = """tracepoint:syscalls:sys_enter_getppid {
  @[pod, container] = count(); @ns[namespace, node] = count();
  if (comm == "speaker") { printf("%s/%s/%s on %s\\n", namespace, pod, container, node); }
}"""


def test_pods_are_named_in_keys_and_lines(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str, traces: Callable[..., Object]
) -> None:
    api = pods.create("api-0", namespace=namespace, node=NODE, containers=["app", "proxy"])
    web = pods.create("web-0", namespace=namespace, node=NODE, qos="guaranteed", driver="cgroupfs")
    trace = traces(namespace, "named", compiled(NAMED, scoped=True).elf)
    reported(cluster, trace, lambda s: s["phase"] == "Attached" and not s.get("reason"))
    make_calls(10, api, "app")
    make_calls(3, api, "proxy")
    make_calls(500, web)
    # In cgroups that the containers made for themselves, one of them a level above the deepest that containers have.
    for pod, path, calls in ((api, "a/b", 7), (web, "c", 40), (web, "c/d", 1)):
        Workload.start("--comm", "speaker", "--getppid", calls, pod=pod, cgroup=pod.nested(path)).go()
    wanted = {"api-0/app": 17, "api-0/proxy": 3, "web-0/app": 541}
    reported(cluster, trace, lambda s: keys(s, "@") == wanted and keys(s, "@ns") == {f"{namespace}/{NODE}": 561})
    # Their names stay when they are gone, also in what is counted between two reports.
    make_calls(5, api, "app")
    api.delete()
    web.delete()
    status = reported(cluster, trace, lambda s: sum(keys(s, "@").values()) == 566)
    assert keys(status, "@") == wanted | {"api-0/app": 22}
    lines = [line["text"] for line in status["recent"]]
    assert lines == [f"{namespace}/api-0/app on {NODE}\n"] * 7 + [f"{namespace}/web-0/app on {NODE}\n"] * 41


SALES = """uprobe:/opt/shop:sell { @[pod, container] = count(); @total = sum(arg0); }
usdt:/opt/shop:shop:sale { @sale[probe] = sum(arg0); }
uprobe:/opt/s*:sel*l { @wild[probe] = count(); }"""


def total(status: Object, name: str, member: str = "sum") -> int:
    entries = next(m for m in status["maps"] if m["name"] == name)["entries"]
    return int(entries[0][member]) if entries else 0


def links(agent: AgentProcess) -> int:
    return len(held_by(agent.pid).link)


def test_user_programs_are_probed_in_the_containers_that_are_meant(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str, traces: Callable[..., Object], tmp_path: Path
) -> None:
    eventually(lambda: links(agent) == 0, timeout=10, what="the traces before are detached")
    image, own = make_image(tmp_path / "image"), make_image(tmp_path / "own")
    shops = pods.create("shops", namespace=namespace, node=NODE, containers=["one", "two", "late"], labels={"app": "shop"})
    other = pods.create("other", namespace=namespace, node=NODE)
    with contextlib.ExitStack() as stack:
        roots = {name: stack.enter_context(mounted(image, tmp_path / name)) for name in ("one", "two", "other")}
        one, two = (stack.enter_context(Shop(shops, roots[name], name)) for name in ("one", "two"))
        # In another pod, with the same layer of the same image: the same inode is probed.
        foreign = stack.enter_context(Shop(other, roots["other"]))
        outside = stack.enter_context(Shop(None, own))
        target = {"podSelector": {"matchLabels": {"app": "shop"}}}
        trace = traces(namespace, "sales", compiled(SALES, scoped=True).elf, target=target)
        status = reported(cluster, trace, lambda s: s["phase"] == "Attached" and not s.get("reason"))
        assert status["probes"] == 3
        # One link for each attach point and file, however many containers share the file.
        assert links(agent) == 3
        for shop, times in ((one, 3), (two, 20), (foreign, 100), (outside, 1000)):
            shop.sell(times)
        wanted = {"shops/one": 3, "shops/two": 20}
        status = reported(cluster, trace, lambda s: keys(s, "@") == wanted)
        assert total(status, "@total") == 23 * ord("*")
        # A container that starts later, with a file of its own.
        late = stack.enter_context(Shop(shops, make_image(tmp_path / "later"), "late"))
        started = time.monotonic()
        eventually(lambda: links(agent) == 6, timeout=10, what="the new file is probed")
        print(f"a container's file was probed {time.monotonic() - started:.2f} s after its first process")
        late.sell(7)
        status = reported(cluster, trace, lambda s: keys(s, "@") == wanted | {"shops/late": 7})
        entries = [entry for m in status["maps"] if m["name"] in ("@sale", "@wild") for entry in m["entries"]]
        told = [(entry["key"][0]["str"], entry.get("sum") or entry["count"]) for entry in entries]
        assert told == [("usdt:/opt/shop:shop:sale", str(30 * ord("*"))), ("uprobe:/opt/shop:sell", "30")]
        # Another agent takes up what was counted, and probes the same files.
        agent.stop()
        agent.start()
        eventually(lambda: links(agent) == 6, timeout=20, what="the files are probed again")
        late.sell(1)
        wanted = wanted | {"shops/late": 8}
        assert reported(cluster, trace, lambda s: keys(s, "@") == wanted)["session"] == status["session"]
        # One that ends is detached; the file that others have stays probed.
        late.end()
        one.end()
        eventually(lambda: links(agent) == 3, timeout=15, what="the file of the ended container is left")
        two.sell(2)
        reported(cluster, trace, lambda s: keys(s, "@") == wanted | {"shops/two": 22})
        two.end()
        eventually(lambda: links(agent) == 0, timeout=15, what="no file is probed")


def test_containers_without_the_program_are_told_and_no_error_unless_none_has_it(
    cluster: ControlPlane, pods: Pods, agent: AgentProcess, namespace: str, traces: Callable[..., Object], tmp_path: Path
) -> None:
    pod = pods.create("mixed", namespace=namespace, node=NODE, containers=["shop", "bare", "idle"])
    program = compiled("uprobe:/opt/shop:sell { @[pod, container] = count(); }", scoped=True)
    with Shop(pod, make_image(tmp_path / "bare", "other"), "bare", "other"):
        trace = traces(namespace, "lacking", program.elf)
        status = reported(cluster, trace, lambda s: s["phase"] == "Failed")
        assert status["reason"] == "ProbeMissing"
        assert status["message"].startswith("none of 1 containers has uprobe:/opt/shop:sell: ")
        with Shop(pod, make_image(tmp_path / "shop"), "shop") as shop:
            wanted = "1 of 2 containers lack what is probed: "
            reported(cluster, trace, lambda s: s.get("reason") == "BinaryMissing" and s["message"].startswith(wanted))
            shop.sell(4)
            status = reported(cluster, trace, lambda s: keys(s, "@") == {"mixed/shop": 4})
            assert (status["phase"], status["probes"]) == ("Attached", 1)
