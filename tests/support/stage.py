"""Three nodes, a tenant and a noisy neighbour, and the truth: processes that count what they do themselves.

with Stage(cluster, system, folder) as stage:
    with stage.load():              # every pod calls and sells, the neighbour's too, until the end of the block
        stage.agents["b"].kill()
        ...
    stage.exact()                   # the traces' statuses say what the tenant's processes did, and nothing else
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from support.agents import AgentProcess, Agents
from support.chart import System
from support.controlplane import ControlPlane, KubectlError, Object
from support.images import Shop, make_image, mounted
from support.operators import OperatorProcess
from support.pods import Pod, Pods
from support.processes import eventually
from support.workload import Workload, noise
from support.world import Trace

TENANT, NEIGHBOUR = "story", "noisy"
CALLER = "storyteller"  # the name of the processes whose reads are counted
SIZES = [0, 1, 3, 4, 100, 4095, 4096, 65536]
PRICE = ord("*")  # of support/inside.c
_PAUSE_US = 2000

CALLS = f"""tracepoint:syscalls:sys_enter_getppid {{ @calls[namespace, pod, container, node] = count(); @all = count(); }}
tracepoint:syscalls:sys_enter_read /comm == "{CALLER}"/ {{ @size = hist(args.count); @sizes[pod] = hist(args.count); }}"""
SALES = """uprobe:/opt/shop:sell { @sold[namespace, pod, container, node] = count(); @paid = sum(arg0); }
usdt:/opt/shop:shop:sale { @sales[namespace, pod, container, node] = count(); @worth = sum(arg0); }"""

Where = tuple[str, str, str, str]  # namespace, pod, container, node


def slot(size: int) -> int:
    """The slot of hist() for k = 0: 1 is the number 0, 2 + l the numbers from 2**l on."""
    return 1 if size == 0 else 1 + size.bit_length()


class Truth:
    """What the tenant's processes did, as they say themselves."""

    def __init__(self) -> None:
        self.calls, self.sales = Counter[Where](), Counter[Where]()
        self.sizes: dict[str, Counter[int]] = {}

    def called(self, where: Where, times: int) -> None:
        """So many calls of one process, each with a read of the next size."""
        self.calls[where] += times
        read = self.sizes.setdefault(where[1], Counter())
        for i, size in enumerate(SIZES):
            read[slot(size)] += times // len(SIZES) + (i < times % len(SIZES))


class Stage:
    """See the module. Two operators, agents of the nodes story-a to story-c, and six pods."""

    def __init__(self, cluster: ControlPlane, system: System, folder: Path) -> None:
        self.cluster, self.folder, self.truth = cluster, folder, Truth()
        self._stack = ExitStack()
        self._system = system
        self.shops: dict[tuple[str, str], Shop] = {}  # (pod, container) -> one that sells when told to, and keeps it alive
        self.roots: dict[tuple[str, str], Path] = {}

    def __enter__(self) -> Self:
        with self._stack:
            self.operators = {name: self._operator(name) for name in ("first", "second")}
            self.pods = self._stack.enter_context(Pods(self.cluster))
            self.nodes = {letter: self.pods.node(f"story-{letter}", {"fleet": "story"}) for letter in "abc"}
            self._fill()
            self._allow_tenant()
            self.started = self._stack.enter_context(Agents(self.cluster, self._system.agent))
            self.agents = {letter: self.started.start(node) for letter, node in self.nodes.items()}
            self._trace()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _operator(self, name: str) -> OperatorProcess:
        log = self.folder / f"operator-{name}.log"
        return self._stack.enter_context(OperatorProcess(self._system.operator, self._system.namespace, log, 1.0, name))

    def _fill(self) -> None:
        shared = make_image(self.folder / "image")
        self.tenants = [self._pod(TENANT, "api", i, node) for i, node in enumerate(self.nodes.values())]
        self.neighbours = [self._pod(NEIGHBOUR, "api", i, node) for i, node in enumerate(self.nodes.values())]
        for pod in (*self.tenants[:2], *self.neighbours):
            # Layers of one image: all of these containers have one file, of one inode.
            self.open_shop(pod, "shop", self._stack.enter_context(mounted(shared, self.folder / f"{pod.namespace}-{pod.name}")))
        self.open_shop(self.tenants[2], "shop", make_image(self.folder / "own"))
        self.open_shop(self.tenants[0], "side", make_image(self.folder / "side"))

    def _pod(self, namespace: str, name: str, number: int, node: str) -> Pod:
        layout = {"driver": "cgroupfs", "runtime": "cri-o", "qos": "guaranteed"} if number == 1 else {}
        containers = ["app", "shop", "side"]
        return self.pods.create(
            f"{name}-{number}",
            namespace=namespace,
            node=node,
            containers=containers,
            labels={"app": "api"},
            **layout,  # type: ignore[arg-type]
        )

    def open_shop(self, pod: Pod, container: str, root: Path) -> Shop:
        """A process that keeps the container alive and sells when it is told to."""
        self.roots[pod.uid, container] = root
        shop = self.shops[pod.uid, container] = self._stack.enter_context(Shop(pod, root, container))
        return shop

    def _allow_tenant(self) -> None:
        who = {"kind": "User", "name": "tenant", "apiGroup": "rbac.authorization.k8s.io"}
        role = {"kind": "ClusterRole", "name": "edit", "apiGroup": "rbac.authorization.k8s.io"}
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "tenant"}}
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{TENANT}/rolebindings"
        self.cluster.api("POST", path, binding | {"roleRef": role, "subjects": [who]})
        self.tenant = self.cluster.user_kubeconfig("tenant")
        may = ("auth", "can-i", "create", "bpftraces.kubebpf.dev", "-n", TENANT)
        eventually(lambda: self._may(*may), timeout=30, what="the role edit has the chart's rules")

    def _may(self, *question: str) -> bool:
        try:
            return self.cluster.kubectl(*question, kubeconfig=self.tenant).strip() == "yes"
        except KubectlError:
            return False

    def _trace(self) -> None:
        target = {"nodeSelector": {"fleet": "story"}, "podSelector": {"matchLabels": {"app": "api"}}}
        self.calls = Trace(self.cluster, TENANT, "calls", CALLS, kubeconfig=self.tenant, target=target)
        shop = target | {"containers": ["shop"]}
        self.sales = Trace(self.cluster, TENANT, "sales", SALES, kubeconfig=self.tenant, target=shop)
        for trace in (self.calls, self.sales):
            trace.condition("Ready", "True", timeout=60)
            eventually(lambda t=trace: t.status()["nodes"]["summary"] == "3/3", timeout=30)  # type: ignore[misc]

    # -- what the pods do

    def where(self, pod: Pod, container: str = "app") -> Where:
        return pod.namespace, pod.name, container, pod.node

    def call(self, pod: Pod, times: int, cgroup: Path | None = None, counts: bool = True) -> None:
        """So many calls, now."""
        work = Workload.start("--getppid", times, "--cycle", _listed(SIZES), "--comm", CALLER, pod=pod, cgroup=cgroup)
        assert work.go() == times
        if counts:
            self.truth.called(self.where(pod), times)

    def sell(self, pod: Pod, times: int, container: str = "shop", counts: bool = True) -> None:
        """So many sales, now."""
        self.shops[pod.uid, container].sell(times)
        if counts:
            self.truth.sales[self.where(pod, container)] += times

    @contextmanager
    def load(self) -> Iterator[None]:
        """Calls and sales without a pause in all pods, one of them in nested cgroups, and calls outside of all of them."""
        options = ("--forever", "--gap-us", _PAUSE_US, "--cycle", _listed(SIZES), "--comm", CALLER)
        pods = [*self.tenants, *self.neighbours]
        inner = self.tenants[1].nested("init/worker")
        callers = [(pod, Workload.start(*options, pod=pod)) for pod in pods]
        callers.append((self.tenants[1], Workload.start(*options, pod=self.tenants[1], cgroup=inner)))
        sellers = [
            (pod, name, Shop(pod, self.roots[pod.uid, name], name, pause_us=_PAUSE_US))
            for pod in pods
            for name in ("shop", "side")
            if (pod.uid, name) in self.roots
        ]
        with noise():
            for _, work in callers:
                work.begin()
            for _, _, shop in sellers:
                shop.begin()
            try:
                yield
            finally:
                self._settle(callers, sellers)

    def _settle(self, callers: list[tuple[Pod, Workload]], sellers: list[tuple[Pod, str, Shop]]) -> None:
        for pod, work in callers:
            made = work.stop()
            assert made > 0
            if pod.namespace == TENANT:
                self.truth.called(self.where(pod), made)
        for pod, name, shop in sellers:
            sold = shop.end()
            assert sold > 0
            if pod.namespace == TENANT and name == "shop":
                self.truth.sales[self.where(pod, name)] += sold

    # -- what the statuses say

    def exact(self, timeout: float = 40) -> None:
        """Wait until as much has arrived as was done; then it must be the truth, neither less nor more, in every place."""
        calls, sales = self.truth.calls, self.truth.sales
        began = time.monotonic()
        seen = _arrived(self.calls, {"@calls": calls}, timeout)
        sold = _arrived(self.sales, {"@sold": sales, "@sales": sales}, timeout)
        print(f"{calls.total()} calls, {sales.total()} sales: exact {time.monotonic() - began:.1f} s after the last of them")
        _same("@calls", by_key(seen, "@calls"), calls)
        _same("@all", number(seen, "@all"), calls.total())
        _same("@sizes", {key[0]: slots(row) for key, row in rows(seen, "@sizes").items()}, self.truth.sizes)
        _same("@size", slots(rows(seen, "@size")[()]), sum(self.truth.sizes.values(), Counter[int]()))
        for count, worth in (("@sold", "@paid"), ("@sales", "@worth")):
            _same(count, by_key(sold, count), sales)
            _same(worth, number(sold, worth, "sum"), PRICE * sales.total())
        for trace in (self.calls, self.sales):
            _same("lost", {name: int(count) for name, count in trace.status()["lost"].items() if int(count)}, {})

    def all_running(self) -> None:
        """Nobody has ended by itself."""
        for process in (*self.agents.values(), *(operator.server for operator in self.operators.values())):
            process.check()

    def agent(self, letter: str) -> AgentProcess:
        return self.agents[letter]

    def leader(self) -> str:
        """The name of the operator that has the Lease."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self._system.namespace}/leases/kubebpf-operator"
        holder: str = self.cluster.api("GET", path)["spec"]["holderIdentity"]
        return holder


def _arrived(trace: Trace, wanted: dict[str, Counter[Where]], timeout: float) -> dict[str, Object]:
    """The maps, once they have at least as much as is wanted, or at the end of the time."""
    deadline = time.monotonic() + timeout
    while True:
        maps = {m["name"]: m for m in trace.status().get("results", {}).get("maps", [])}
        if all(by_key(maps, name).total() >= counts.total() for name, counts in wanted.items()) or time.monotonic() > deadline:
            return maps
        time.sleep(0.05)


def _same(name: str, found: object, truth: object) -> None:
    if isinstance(found, dict) and isinstance(truth, dict):
        keys = [key for key in found.keys() | truth.keys() if found.get(key) != truth.get(key)]
        differs = "; ".join(f"{key}: {found.get(key)} instead of {truth.get(key)}" for key in keys)
    else:
        differs = f"{found} instead of {truth}"
    assert found == truth, f"{name}: {differs}"


def _listed(sizes: list[int]) -> str:
    return ",".join(map(str, sizes))


def rows(maps: dict[str, Object], name: str) -> dict[tuple[str, ...], Object]:
    """The entries of a map by the words of their keys."""
    return {tuple(part.get("text", "") for part in entry["key"]): entry for entry in maps.get(name, {}).get("entries", [])}


def by_key(maps: dict[str, Object], name: str) -> Counter[Where]:
    """The counts of a map with the keys of a place."""
    return Counter({(key[0], key[1], key[2], key[3]): int(row["count"]) for key, row in rows(maps, name).items()})


def number(maps: dict[str, Object], name: str, member: str = "count") -> int:
    """The value of a map without keys."""
    return int(rows(maps, name)[()][member])


def slots(row: Object) -> Counter[int]:
    """The buckets of a histogram."""
    return Counter({found["slot"]: int(found["count"]) for found in row["slots"]})
