"""Somebody who *can* write a trace's status has nothing run: a grant that does not belong where it was put is refused by nodes.

The operator is away meanwhile, or it would put the status right at once; when it is back it does, and believes none of it either.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.agents import Agents, report_of, set_status
from support.bpfstate import held_by
from support.chart import System
from support.controlplane import ControlPlane, Object
from support.operators import OperatorProcess
from support.pods import Pods
from support.processes import eventually
from support.workload import make_calls
from support.world import Trace, scalar

pytestmark = pytest.mark.kernel

COUNT = "tracepoint:syscalls:sys_enter_getppid { @all = count(); }"
OTHER = "tracepoint:syscalls:sys_enter_getppid { @all = sum(1000); }"
NODE = f"node-{secrets.token_hex(3)}"
TARGET = {"nodeSelector": {"kubernetes.io/hostname": NODE}}
NOT_ABOUT = "the signature is not about object sha256:"


def _artifact(trace: Trace) -> Object:
    found: Object = trace.read()["status"]["artifact"]
    return found


def _granted(cluster: ControlPlane, body: Object, artifact: Object) -> None:
    """The status of a trace that the operator has compiled, with somebody else's grant."""
    generation = body["metadata"]["generation"]
    said = {"type": "Compiled", "status": "True", "reason": "Compiled", "message": "compiled", "observedGeneration": generation}
    conditions = [said | {"lastTransitionTime": "2026-11-22T12:00:00Z"}]
    set_status(cluster, body | {"kind": "BpfTrace"}, observedGeneration=generation, conditions=conditions, artifact=artifact)


class Thefts:
    """Victims by name: what was stolen for each, and what the node says to it."""

    def __init__(self, cluster: ControlPlane, namespace: str, elsewhere: str) -> None:
        self.cluster, self.namespace = cluster, namespace

        def new(name: str, where: str, program: str = OTHER) -> Trace:
            return Trace(cluster, where, name, program, target=TARGET)

        self.before = {
            "a former generation of itself": new("former", namespace, COUNT),
            "one of its own, which it was before it was made again": new("again", namespace, COUNT),
            "another trace's, as a variant for the node's own kernel": new("varied", namespace, COUNT),
        }
        self.donors = {
            "another trace of the namespace": new("donor", namespace),
            "one of its name in another namespace": new("twin", elsewhere),
            "a ClusterBpfTrace": new(f"whole-{secrets.token_hex(3)}", ""),
        }
        self.own = new("own", namespace)
        self.victims: dict[str, tuple[Trace, str, str]] = {}

    def ready(self) -> None:
        for trace in (*self.before.values(), *self.donors.values(), self.own):
            trace.condition("Ready", "True")

    def steal(self) -> None:
        """While no operator runs."""
        for what, trace in self.before.items():
            artifact = _artifact(trace)
            if "variant" in what:
                stolen = _artifact(self.donors["another trace of the namespace"])
                kernel = hashlib.sha256(Path("/sys/kernel/btf/vmlinux").read_bytes()).hexdigest()
                set_status(self.cluster, trace.read() | {"kind": "BpfTrace"}, variants=[stolen | {"btf": f"sha256:{kernel}"}])
                self.victims[what] = trace, "SignatureInvalid", NOT_ABOUT
                continue
            if what.startswith("a former"):
                trace.apply(COUNT, target=TARGET, args=["1"])
            else:
                trace.delete()
                trace.apply(COUNT, target=TARGET)
            self._put(what, trace, artifact, "SignatureInvalid", NOT_ABOUT)
        for number, (what, donor) in enumerate(self.donors.items()):
            name = "twin" if "of its name" in what else f"victim-{number}"
            self._put(what, self._new(name), _artifact(donor), "SignatureInvalid", NOT_ABOUT)
        mine = _artifact(self.own)
        lies: dict[str, tuple[dict[str, Any], str, str]] = {
            "no signature": ({"signature": None}, "SignatureMissing", "without a signature"),
            "a key of their own": ({"key": "0" * 16}, "KeyNotTrusted", f"the key {'0' * 16} is not among those that are trusted"),
            "unsafe helpers": ({"unsafe": True}, "SignatureInvalid", NOT_ABOUT),
            "another digest": ({"digest": "sha256:" + "0" * 64}, "SignatureInvalid", NOT_ABOUT),
        }
        for number, (what, (lie, reason, message)) in enumerate(lies.items()):
            artifact = {name: value for name, value in (mine | lie).items() if value is not None}
            self._put(what, self._new(f"liar-{number}"), artifact, reason, message)

    def _new(self, name: str) -> Trace:
        return Trace(self.cluster, self.namespace, name, COUNT, target=TARGET)

    def _put(self, what: str, trace: Trace, artifact: Object, reason: str, message: str) -> None:
        _granted(self.cluster, trace.read(), artifact)
        self.victims[what] = trace, reason, message

    def refused(self) -> None:
        for what, (trace, reason, message) in self.victims.items():
            status = eventually(partial(self._told, trace.read(), reason), timeout=20, what=what)
            print(f"{what}: {status['reason']}: {status['message']}")
            assert message in status["message"] and not status["maps"]

    def _told(self, body: Object, reason: str) -> Object:
        status = report_of(self.cluster, body, NODE)
        assert status and status["generation"] == body["metadata"]["generation"]
        assert (status["phase"], status["reason"]) == ("Failed", reason), status
        return status


def test_a_grant_that_is_somebody_elses_runs_nowhere(
    cluster: ControlPlane, system: System, namespace: str, tmp_path: Path
) -> None:
    elsewhere = cluster.namespace(f"{namespace}-other")
    with (
        OperatorProcess(system.operator, system.namespace, tmp_path / "operator.log", 1.0) as operator,
        Pods(cluster) as pods,
        Agents(cluster, system.agent) as agents,
    ):
        pods.node(NODE, TARGET["nodeSelector"])
        pod = pods.create("api-0", namespace=namespace, node=NODE)
        agent = agents.start(NODE)
        thefts = Thefts(cluster, namespace, elsewhere)
        thefts.ready()
        operator.server.stop()
        running = held_by(agent.pid).prog
        thefts.steal()
        thefts.refused()
        # The two that ran before do so no longer, and nothing has begun to.
        assert len(held_by(agent.pid).prog) == len(running) - len(thefts.before)
        assert held_by(agent.pid).prog < running
        # The operator believes none of it either.
        operator.server.start()
        for trace, _, _ in thefts.victims.values():
            trace.condition("Ready", "True", timeout=60)
        make_calls(3, pod)
        for trace, _, _ in thefts.victims.values():
            trace.results(lambda maps: scalar(maps, "@all") == 3)
            assert "unsafe" not in _artifact(trace)
        for trace in thefts.donors.values():
            trace.delete()
