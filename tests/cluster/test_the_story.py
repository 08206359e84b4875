"""A cluster's story: three agents, a tenant and a noisy neighbour, six pods; and whoever is killed, the numbers are true.

One kernel, a control plane of its own, because it is killed in parts. Every process counts what it does itself, and each line of
the story ends with the same question: is what the statuses say what the tenant's processes did? `Stage.exact` waits for arrival
only: once as much has come as was done, it must be the truth in every place and every bucket.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.agents import GROUP
from support.binaries import REPOSITORY
from support.bpfstate import BpfObjects, everything, held_by, pinned_below, pins
from support.chart import install
from support.controlplane import ControlPlane
from support.images import make_image
from support.processes import eventually
from support.stage import NEIGHBOUR, TENANT, Stage, by_key

pytestmark = pytest.mark.kernel

HANDOVER = 15.0  # seconds that the cluster may be without an operator


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with (
        ControlPlane(crds=[REPOSITORY / "crds"]) as plane,
        Stage(plane, install(plane), tmp_path_factory.mktemp("story")) as stage,
    ):
        yield stage


def test_a_tenant_counts_exactly_its_own_pods_while_the_neighbour_makes_noise(stage: Stage) -> None:
    with stage.load():
        time.sleep(2)
    stage.exact()
    maps = stage.calls.results(lambda m: True)
    assert {key[0] for key in by_key(maps, "@calls")} == {TENANT}
    assert {(key[1], key[3]) for key in by_key(maps, "@calls")} == {
        ("api-0", "story-a"),
        ("api-1", "story-b"),
        ("api-2", "story-c"),
    }
    text = stage.calls.status()["results"]["text"]
    for (namespace, pod, container, node), count in stage.truth.calls.items():
        assert f"@calls[{namespace}, {pod}, {container}, {node}]: {count}\n" in text


def test_a_uprobe_and_a_usdt_probe_fire_for_the_selected_container_only(stage: Stage) -> None:
    first, _, third = stage.tenants
    stage.sell(first, 3)  # a layer that the neighbour's containers have as well
    stage.sell(third, 5)  # a copy of its own
    stage.sell(first, 1000, "side", counts=False)  # a copy of its own in a container that is not selected
    for pod in stage.neighbours:
        stage.sell(pod, 100, counts=False)
    stage.exact()
    maps = stage.sales.results(lambda m: True)
    assert {key[2] for key in by_key(maps, "@sold")} == {"shop"}


def test_a_pod_that_comes_later_is_covered_within_its_first_second(stage: Stage) -> None:
    began = time.monotonic()
    late = stage.pods.create("late", namespace=TENANT, node=stage.nodes["b"], containers=["app", "shop"], labels={"app": "api"})
    stranger = stage.pods.create("late", namespace=NEIGHBOUR, node=stage.nodes["b"], labels={"app": "api"})
    time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))
    stage.call(late, 50)
    stage.call(late, 7, cgroup=late.nested("of/its/own"))
    stage.call(stranger, 1000, counts=False)
    stage.open_shop(late, "shop", make_image(stage.folder / "late"))
    time.sleep(1.0)
    stage.sell(late, 11)
    stage.exact()


def test_a_relabelled_pod_stops_counting(stage: Stage) -> None:
    moved = stage.pods.create("moved", namespace=TENANT, node=stage.nodes["c"], containers=["app", "shop"], labels={"app": "api"})
    stage.open_shop(moved, "shop", make_image(stage.folder / "moved"))
    time.sleep(1.0)
    stage.call(moved, 20)
    stage.sell(moved, 4)
    stage.exact()
    stage.cluster.api("PATCH", moved.path, {"metadata": {"labels": {"app": "web"}}})
    time.sleep(1.0)
    stage.call(moved, 1000, counts=False)
    stage.sell(moved, 1000, counts=False)
    with stage.load():
        time.sleep(1)
    stage.exact()


def test_an_agent_is_killed_under_load(stage: Stage) -> None:
    agent = stage.agents["b"]
    # Its counts keep its name, although no later agent ever sees it.
    gone = stage.pods.create("gone", namespace=TENANT, node=stage.nodes["b"], labels={"app": "api"})
    time.sleep(0.5)
    stage.call(gone, 9)
    before = held_by(agent.pid)
    assert stage.started.pins
    gone.delete()
    with stage.load():
        time.sleep(1)
        agent.kill()
        assert before.link <= pinned_below(stage.started.pins).link
        time.sleep(2)
        agent.start()
        time.sleep(2)
        # And again, or told to stop as in an update, in part while it takes up what it left.
        for end, pause in ((agent.kill, 0.3), (agent.stop, 0.45), (agent.kill, 0.6), (agent.kill, 0.8), (agent.stop, 2)):
            end()
            agent.start()
            time.sleep(pause)
    stage.exact()
    stage.all_running()


def test_the_working_operator_is_killed_under_load(stage: Stage) -> None:
    first = stage.leader()
    with stage.load():
        time.sleep(1)
        stage.operators[first].server.kill()
        killed = time.monotonic()
        time.sleep(0.5)
        before = stage.calls.status()["results"]
        eventually(lambda: stage.calls.status()["results"] != before, timeout=HANDOVER, what="the other operator merges")
        assert stage.leader() != first
        print(f"merged by the other operator {time.monotonic() - killed:.1f} s after the kill")
        assert time.monotonic() - killed < HANDOVER
        stage.operators[first].server.start()
    stage.exact()
    stage.all_running()


def test_the_api_server_is_killed_under_load(stage: Stage) -> None:
    with stage.load():
        time.sleep(1)
        with stage.cluster.outage():
            time.sleep(3)
        time.sleep(1)
    stage.exact()
    stage.all_running()


def test_an_agent_is_killed_while_there_is_no_api_server(stage: Stage) -> None:
    with stage.load():
        with stage.cluster.outage():
            stage.agents["c"].kill()
            stage.agents["c"].start()
            time.sleep(2)
        time.sleep(1)
    stage.exact()
    stage.all_running()


def written(cluster: ControlPlane) -> dict[str, int]:
    """Every object of ours, and what it was written last."""
    paths = [f"{GROUP}/{kind}" for kind in ("bpftraces", "clusterbpftraces", "bpftracereports")]
    paths += [
        "/api/v1/namespaces/kubebpf-system/configmaps",
        "/api/v1/namespaces/kubebpf-system/secrets",
        "/api/v1/pods",
        "/api/v1/nodes",
    ]
    found: dict[str, Any] = {}
    for path in paths:
        for item in cluster.api("GET", path)["items"]:
            meta = item["metadata"]
            found[meta["uid"]] = int(meta["resourceVersion"])
    return found


def test_etcd_is_killed_under_load(stage: Stage) -> None:
    cluster = stage.cluster
    with stage.load():
        time.sleep(1)
        before = written(cluster)
        last = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"last-{time.time_ns()}"}, "data": {"a": "b"}}
        made = cluster.api("POST", f"/api/v1/namespaces/{TENANT}/configmaps", last)
        cluster.etcd.kill()
        time.sleep(3)
        cluster.etcd.start()
        cluster.start_apiserver()
        found = cluster.api("GET", f"/api/v1/namespaces/{TENANT}/configmaps/{made['metadata']['name']}")
        assert (found["metadata"]["uid"], found["data"]) == (made["metadata"]["uid"], last["data"])
        after = written(cluster)
        assert {uid: version for uid, version in before.items() if after.get(uid, 0) < version} == {}
        time.sleep(1)
    stage.exact()
    stage.all_running()


def test_nothing_is_counted_twice_later_and_deletion_leaves_nothing(stage: Stage) -> None:
    # Those whose parts were killed go on: a change of the program reaches all of them.
    stage.exact()
    time.sleep(2)
    stage.exact()
    for trace in (stage.calls, stage.sales):
        status = trace.status()
        assert status["nodes"]["summary"] == "3/3" and not status.get("nodeErrors"), status
    held = BpfObjects()
    for agent in stage.agents.values():
        held |= held_by(agent.pid)
    assert held.link
    for trace in (stage.calls, stage.sales):
        trace.delete()
    eventually(lambda: not held & everything(), timeout=20, what="programs, maps and links are gone")
    assert stage.started.pins
    assert pins(stage.started.pins) == []
    stage.all_running()
