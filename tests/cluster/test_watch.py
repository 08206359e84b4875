"""The agent's watch and its writer against a real API server that goes away, stands still, forgets and comes back."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator

import pytest

from kubebpf.agent.cluster.api import Api, ApiError, ApiUnavailableError
from kubebpf.agent.cluster.trace import TraceName, Uid
from kubebpf.agent.cluster.watch import Change, Changed, Listed, Removed, Resource, Watch
from kubebpf.agent.cluster.writer import ReportWriter, Target
from support.agents import GROUP
from support.controlplane import ApiError as Refusal
from support.controlplane import ControlPlane, Object
from support.processes import eventually


class State:
    """What follows from the changes of a watch: the objects that exist."""

    def __init__(self, api: Api, path: str) -> None:
        self.changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self.objects: dict[str, Object] = {}
        self.lists = 0
        self.watch = Watch(api, Resource("things", path), self.changes.put)

    def data(self) -> dict[str, str]:
        """name -> value, by everything told so far."""
        while not self.changes.empty():
            match self.changes.get():
                case Listed(objects=objects):
                    self.objects = {obj["metadata"]["name"]: obj for obj in objects}
                    self.lists += 1
                case Changed(object=obj):
                    self.objects[obj["metadata"]["name"]] = obj
                case Removed(object=obj):
                    self.objects.pop(obj["metadata"]["name"], None)
        return {name: obj["data"]["value"] for name, obj in self.objects.items() if name.startswith("own-")}


@pytest.fixture
def api(cluster: ControlPlane) -> Api:
    return Api.connect(cluster.kubeconfig)


@pytest.fixture
def state(cluster: ControlPlane, api: Api, namespace: str) -> Iterator[State]:
    state = State(api, f"/api/v1/namespaces/{namespace}/configmaps")
    state.watch.start()
    yield state
    state.watch.stop()


def put(cluster: ControlPlane, namespace: str, name: str, value: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}
    try:
        cluster.api("PATCH", f"{path}/{name}", {"data": {"value": value}})
    except Refusal:
        cluster.api("POST", path, body)


def drop(cluster: ControlPlane, namespace: str, name: str) -> None:
    cluster.api("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/{name}")


def test_changes_are_told_at_once(cluster: ControlPlane, namespace: str, state: State) -> None:
    eventually(lambda: state.data() == {} and state.lists == 1)
    put(cluster, namespace, "own-a", "1")
    put(cluster, namespace, "own-b", "1")
    put(cluster, namespace, "own-a", "2")
    eventually(lambda: state.data() == {"own-a": "2", "own-b": "1"}, timeout=2)
    drop(cluster, namespace, "own-b")
    eventually(lambda: state.data() == {"own-a": "2"}, timeout=2)
    assert state.lists == 1


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_an_outage_hides_nothing(cluster: ControlPlane, namespace: str, state: State, how: str) -> None:
    for name in ("own-a", "own-b"):
        put(cluster, namespace, name, "1")
    eventually(lambda: state.data() == {"own-a": "1", "own-b": "1"})
    with cluster.outage(how):
        time.sleep(2)
        assert state.data() == {"own-a": "1", "own-b": "1"}
    # Before the watch is back (it waits a moment after each failure).
    put(cluster, namespace, "own-a", "2")
    drop(cluster, namespace, "own-b")
    put(cluster, namespace, "own-c", "1")
    eventually(lambda: state.data() == {"own-a": "2", "own-c": "1"}, timeout=30)


def test_a_server_that_stands_still(cluster: ControlPlane, namespace: str, state: State) -> None:
    put(cluster, namespace, "own-a", "1")
    eventually(lambda: state.data() == {"own-a": "1"})
    with cluster.frozen():
        time.sleep(3)
    put(cluster, namespace, "own-a", "2")
    eventually(lambda: state.data() == {"own-a": "2"}, timeout=30)


def test_a_forgotten_version_is_listed_again(cluster: ControlPlane, api: Api, namespace: str) -> None:
    put(cluster, namespace, "own-a", "1")
    state = State(api, f"/api/v1/namespaces/{namespace}/configmaps")
    # As after a night away: the server answers 410 to a version that etcd has compacted.
    state.watch._version = "1"
    state.watch.start()
    eventually(lambda: state.data() == {"own-a": "1"}, timeout=30)
    assert state.lists == 1
    state.watch.stop()


def test_answers_of_the_server_become_errors(cluster: ControlPlane, api: Api, namespace: str) -> None:
    with pytest.raises(ApiError, match="not found") as missing:
        api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/none")
    assert missing.value.code == 404
    with cluster.outage(), pytest.raises(ApiUnavailableError):
        api.request("GET", "/api/v1/namespaces")


@pytest.fixture
def target(cluster: ControlPlane, namespace: str) -> Target:
    body = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": "BpfTrace", "metadata": {"name": "t"}, "spec": {"program": "begin { }"}}
    made = cluster.api("POST", f"{GROUP}/namespaces/{namespace}/bpftraces", body)
    return Target(TraceName("BpfTrace", namespace, "t", Uid(made["metadata"]["uid"])), "node-w", namespace)


def status(generation: int) -> Object:
    return {"generation": generation, "phase": "Attached", "maps": []}


def generation(cluster: ControlPlane, target: Target) -> int:
    found: int = cluster.api("GET", target.path).get("status", {}).get("generation", 0)
    return found


def test_the_newest_state_is_written_after_an_outage(cluster: ControlPlane, api: Api, target: Target) -> None:
    writes: list[Target] = []
    writer = ReportWriter(api, lambda target, status: writes.append(target))
    writer.start()
    writer.put(target, status(1))
    eventually(lambda: writes == [target])
    assert generation(cluster, target) == 1
    with cluster.outage():
        for number in range(2, 1000):
            writer.put(target, status(number))
        time.sleep(1)
        assert len(writes) == 1
    eventually(lambda: len(writes) >= 2, timeout=30)
    assert generation(cluster, target) == 999
    assert len(writes) <= 3
    writer.remove(target)
    assert writer.close(10)
    with pytest.raises(Refusal, match="404"):
        cluster.api("GET", target.path)


def test_a_refused_report_is_tried_again_and_holds_up_no_other(cluster: ControlPlane, target: Target, namespace: str) -> None:
    rules = [{"apiGroups": ["kubebpf.dev"], "resources": ["bpftracereports", "bpftracereports/status"], "verbs": ["*"]}]
    rights = "/apis/rbac.authorization.k8s.io/v1"
    user = {"kind": "User", "name": "tenant", "apiGroup": "rbac.authorization.k8s.io"}

    def grant(where: str) -> None:
        role = {"metadata": {"name": "reports"}, "rules": rules}
        cluster.api("POST", f"{rights}/namespaces/{where}/roles", role)
        to = {"kind": "Role", "name": "reports", "apiGroup": "rbac.authorization.k8s.io"}
        cluster.api(
            "POST",
            f"{rights}/namespaces/{where}/rolebindings",
            {"metadata": {"name": "reports"}, "roleRef": to, "subjects": [user]},
        )

    other = Target(target.trace, "node-x", cluster.namespace(f"{namespace}-other"))
    grant(other.namespace)
    writes: list[Target] = []
    writer = ReportWriter(Api.connect(cluster.user_kubeconfig("tenant")), lambda target, status: writes.append(target))
    writer.start()
    writer.put(target, status(1))
    time.sleep(1)
    writer.put(other, status(1))
    eventually(lambda: other in writes, timeout=2)
    assert target not in writes
    grant(namespace)
    eventually(lambda: target in writes, timeout=20)
    assert generation(cluster, target) == 1
    assert writer.close(5)


def test_closing_without_a_server_gives_up_in_time(cluster: ControlPlane, api: Api, target: Target) -> None:
    writer = ReportWriter(api)
    writer.start()
    with cluster.outage():
        writer.put(target, status(1))
        began = time.monotonic()
        assert not writer.close(1.0)
        assert time.monotonic() - began < 2.0
    # It still tries in its daemon thread, and now it can.
    eventually(lambda: not writer._pending, timeout=15)
