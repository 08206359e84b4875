"""The ground the cluster tests stand on: the control plane, pods with cgroups, processes inside, and nothing left over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.bpfstate import BpfObjects, held_by
from support.cgroups import Driver, Qos, Runtime, cgroup2_mount, processes
from support.controlplane import ApiError, ControlPlane, KubectlError
from support.pods import Pods
from support.processes import eventually
from support.workload import Workload, make_calls, noise

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "1"}}


def test_admin_may_everything_and_the_tenant_nothing(cluster: ControlPlane) -> None:
    assert "default" in cluster.kubectl("get", "namespaces")
    with pytest.raises(KubectlError, match="forbidden"):
        cluster.kubectl("get", "secrets", kubeconfig=cluster.user_kubeconfig("tenant"))


def test_a_service_account_has_the_rights_of_its_bindings(cluster: ControlPlane, namespace: str) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    kubeconfig = cluster.service_account_kubeconfig(namespace, "reader")
    with pytest.raises(KubectlError, match="forbidden"):
        cluster.kubectl("get", "configmaps", kubeconfig=kubeconfig)
    cluster.kubectl("create", "rolebinding", "r", "--clusterrole=view", f"--serviceaccount={namespace}:reader", "-n", namespace)

    def allowed() -> bool:
        try:
            cluster.kubectl("get", "configmaps", kubeconfig=kubeconfig)
        except KubectlError:
            return False
        return True

    # The API server's view of bindings follows a moment later.
    eventually(allowed)


def test_objects_outlive_the_api_server(cluster: ControlPlane, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    cluster.api("POST", path, CONFIG_MAP)
    port = cluster.port
    with cluster.outage(), pytest.raises(OSError):
        cluster.api("GET", path)
    assert cluster.api("GET", f"{path}/kept")["data"] == {"a": "1"}
    with cluster.outage(how="stop"):
        pass
    assert cluster.port == port
    assert cluster.api("GET", f"{path}/kept")["data"] == {"a": "1"}


def test_owned_objects_are_collected(cluster: ControlPlane, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = cluster.api("POST", path, CONFIG_MAP)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "kept", "uid": owner["metadata"]["uid"]}
    cluster.api("POST", path, {**CONFIG_MAP, "metadata": {"name": "owned", "ownerReferences": [reference]}})
    cluster.api("DELETE", f"{path}/kept")

    def collected() -> bool:
        try:
            cluster.api("GET", f"{path}/owned")
        except ApiError as error:
            return error.code == 404
        return False

    eventually(collected, timeout=60)


BURSTABLE = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_}.slice/cri-containerd-{id}.scope"
BEST_EFFORT = "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_}.slice/crio-{id}.scope"
LAYOUTS: list[tuple[Qos, Driver, Runtime, str]] = [
    ("burstable", "systemd", "containerd", BURSTABLE),
    ("besteffort", "systemd", "cri-o", BEST_EFFORT),
    ("guaranteed", "systemd", "docker", "kubepods.slice/kubepods-pod{_}.slice/docker-{id}.scope"),
    ("burstable", "cgroupfs", "containerd", "kubepods/burstable/pod{uid}/{id}"),
    ("guaranteed", "cgroupfs", "containerd", "kubepods/pod{uid}/{id}"),
    ("besteffort", "cgroupfs", "cri-o", "kubepods/besteffort/pod{uid}/crio-{id}"),
]


@pytest.mark.parametrize(("qos", "driver", "runtime", "layout"), LAYOUTS)
def test_a_pod_looks_as_the_kubelet_makes_it(
    pods: Pods, namespace: str, qos: Qos, driver: Driver, runtime: Runtime, layout: str
) -> None:
    pod = pods.create("web", namespace=namespace, node="node-a", qos=qos, driver=driver, runtime=runtime)
    container = pod.container()
    expected = layout.format(_=pod.uid.replace("-", "_"), uid=pod.uid, id=container.id)
    assert container.cgroup == cgroup2_mount() / expected
    assert container.cgroup.is_dir()
    seen = pod.read()
    assert seen["spec"]["nodeName"] == "node-a"
    assert seen["status"]["phase"] == "Running"
    assert seen["status"]["qosClass"].lower() == qos
    assert seen["status"]["containerStatuses"][0]["containerID"] == f"{runtime}://{container.id}"


def test_processes_run_inside_the_container(pods: Pods, namespace: str) -> None:
    pod = pods.create("web", namespace=namespace, containers=["app", "proxy"])
    work = Workload.start("--getppid", 7, pod=pod, container="proxy", linger=True)
    assert processes(pod.container("proxy").cgroup) == [work.pid]
    assert processes(pod.container("app").cgroup) == []
    assert pod.container("proxy").cgroup.name in Path(f"/proc/{work.pid}/cgroup").read_text()
    work.go()
    assert work.end() == 7
    nested = pod.nested("init.scope")
    inner = Workload.start("--getppid", 1, pod=pod, cgroup=nested)
    assert processes(nested) == [inner.pid]
    assert inner.go() == 1


def test_a_restarted_container_has_a_new_id(pods: Pods, namespace: str) -> None:
    pod = pods.create("web", namespace=namespace)
    old = pod.container()
    new = pod.restart_container()
    assert not old.cgroup.exists()
    assert new.cgroup.is_dir()
    assert new.id in pod.read()["status"]["containerStatuses"][0]["containerID"]


def test_workloads_count_their_calls() -> None:
    with noise() as loud:
        assert make_calls(1000) > 0
        assert loud.process.poll() is None
    assert loud.process.returncode == 0


def test_nothing_is_left_after_a_pod(cluster: ControlPlane, namespace: str) -> None:
    with Pods(cluster) as own:
        pod = own.create("web", namespace=namespace, node="short-lived")
        process = pod.run(["sleep", "600"])
        forgotten = pod.run(["sh", "-c", "sleep 600 & sleep 600"])
        eventually(lambda: len(processes(pod.container().cgroup)) >= 3)
        inside = processes(pod.container().cgroup)
    assert process.poll() is not None
    assert forgotten.poll() is not None
    assert not pod.cgroup.exists()
    # A killed grandchild is a zombie until this machine's init has reaped it.
    assert all(_gone(pid) for pid in inside)
    with pytest.raises(ApiError, match="404"):
        cluster.api("GET", pod.path)
    with pytest.raises(ApiError, match="404"):
        cluster.api("GET", "/api/v1/nodes/short-lived")


def test_a_process_without_bpf_holds_none() -> None:
    assert held_by(os.getpid()) == BpfObjects()


def _gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_nothing_is_left_after_a_control_plane() -> None:
    with ControlPlane() as own:
        servers = [own.etcd, own.apiserver, own.controller_manager]
        pids = [server.pid for server in servers]
        assert all(server.running for server in servers)
    assert not own.folder.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
