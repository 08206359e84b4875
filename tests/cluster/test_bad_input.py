"""Whatever a person or a broken client writes through the API: refused, or told in a condition; nothing lost, nothing crashed.

The API server in these tests is older than CEL rules: what only they would refuse has to be told by the operator.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.agents import GROUP
from support.chart import System
from support.controlplane import ApiError, ControlPlane
from support.kstatus import kstatus
from support.operators import OperatorProcess, TestTrace
from support.processes import eventually
from support.traces import a_map, scalar_count
from support.world import Trace, World, scalar

PROGRAM = "begin { @ = count(); }"

REFUSED: dict[str, dict[str, Any]] = {
    "a program of more than 64 KiB": {"program": "//" + "x" * 65536},
    "a program that is a number": {"program": 5},
    "no program": {"program": ""},
    "a negative duration": {"duration": "-1m"},
    "a duration in days": {"duration": "1d"},
    "a duration that is a number": {"duration": 60},
    "an unknown policy": {"exitPolicy": "Pod"},
    "a negative top": {"report": {"top": -1}},
    "more lines than any report": {"report": {"recentLines": 10**6}},
    "a label value with spaces": {"target": {"nodeSelector": {"zone": "not a label"}}},
    "a label value that is a number": {"target": {"nodeSelector": {"zone": 1}}},
    "an unknown operator": {"target": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}},
    "a requirement without a key": {"target": {"podSelector": {"matchExpressions": [{"operator": "Exists"}]}}},
    "a key that no label has": {"target": {"podSelector": {"matchExpressions": [{"key": "a b", "operator": "Exists"}]}}},
    "a container's name in capitals": {"target": {"containers": ["App"]}},
    "a million containers": {"target": {"containers": [f"c{n}" for n in range(100)]}},
    "params that are no strings": {"params": {"a": 1}},
    "args that are no list": {"args": {"0": "a"}},
    "no events at all": {"limits": {"maxEventsPerSecond": 0}},
    "a negative time to live": {"ttlSecondsAfterFinished": -1},
    "a map that is no name": {"metrics": [{"map": "us", "name": "x"}]},
}

# What the schema cannot say; the words that the condition Compiled then has.
TOLD: dict[str, tuple[dict[str, Any], str]] = {
    "64 Ki characters of three bytes": ({"program": PROGRAM + " // " + "€" * 60000}, "spec.program: more than 65536 bytes"),
    "only blanks": ({"program": "   "}, "spec.program"),
    "nothing as a duration": ({"duration": "0s"}, "spec.duration"),
    "nothing as an interval": ({"report": {"interval": "0ms"}}, "spec.report.interval"),
    "a schedule without a duration": ({"schedule": "* * * * *"}, "spec.schedule"),
    "no schedule": ({"schedule": "now and then", "duration": "1s"}, "spec.schedule"),
    "In without values": ({"target": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}, "needs values"),
    "a node's label that cannot be": ({"target": {"nodeSelector": {"not a key": "1"}}}, "spec.target.nodeSelector"),
    "a pod's label that cannot be": ({"target": {"podSelector": {"matchLabels": {"/": "1"}}}}, "spec.target.podSelector"),
}


@pytest.fixture(scope="module")
def operator(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(system.operator, system.namespace, log, 0.5) as process:
        yield process
        assert process.server.running
    assert "Traceback" not in log.read_text(), log.read_text()


def test_what_the_schema_refuses(cluster: ControlPlane, namespace: str) -> None:
    for name, spec in REFUSED.items():
        with pytest.raises(ApiError) as error:
            TestTrace(cluster, "t", namespace, **spec)
            pytest.fail(f"{name} is let in")
        assert error.value.code == 422 and "spec." in str(error.value), name


def test_what_the_operator_tells(cluster: ControlPlane, operator: OperatorProcess, namespace: str) -> None:
    traces = {name: TestTrace(cluster, f"t{n}", namespace, **TOLD[name][0]) for n, name in enumerate(TOLD)}
    for name, trace in traces.items():
        row = trace.wait_for("Compiled", "False", "InvalidSpec")
        assert TOLD[name][1] in row["message"], name
        trace.wait_for("Stalled", "True", "InvalidSpec")
        assert kstatus(trace.read()) == "Failed", name
        assert "artifact" not in trace.status()


def test_unknown_fields_and_odd_characters_do_no_harm(cluster: ControlPlane, operator: OperatorProcess, namespace: str) -> None:
    odd = "\x00\x01\x1b\ufeff\u202e\U0001f600\ud7ff"
    traces = [
        TestTrace(cluster, "unknown", namespace, colour="red", target={"nodeSelector": {"a": "b"}, "planet": "mars"}),
        TestTrace(cluster, "params", namespace, params={odd: odd}, args=[odd, odd]),
        TestTrace(cluster, "comment", namespace, program=PROGRAM + " // " + odd.replace("\x00", "")),
    ]
    for trace in traces:
        trace.wait_for("Compiled", "True")
    assert "colour" not in traces[0].read()["spec"]
    bytes_inside = TestTrace(cluster, "nul", namespace, program='begin { printf("\x00\x01"); \x00 }')
    row = bytes_inside.wait_for("Compiled", "False", "CompileFailed")
    assert "spec.program:1:" in row["message"]


def test_bad_reports_do_not_spoil_the_trace(
    cluster: ControlPlane, operator: OperatorProcess, namespace: str, request: pytest.FixtureRequest
) -> None:
    label = {"bad-input": namespace}
    names = [f"{namespace}-{letter}" for letter in "abcdefgh"]
    for name in names:
        cluster.api("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": label}})
        request.addfinalizer(lambda name=name: cluster.api("DELETE", f"/api/v1/nodes/{name}"))  # type: ignore[misc]
    good, future, text, foreign, other, huge, late, many = names
    trace = TestTrace(cluster, "t", namespace, target={"nodeSelector": label})
    trace.wait_for("Compiled", "True")
    trace.report(good, maps=[scalar_count(3)])
    trace.report(future, maps=[scalar_count(1000)], observedAt="2999-01-01T00:00:00Z", startedAt="2999-01-01T00:00:00Z")
    trace.report(text, maps=[a_map("@", "count", [{"key": [], "count": "\x00many"}], scalar=True)])
    trace.report(foreign, maps=[a_map("@", "count", [{"key": [{"cgroup": "1", "node": good}], "count": "1"}])])
    trace.report(other, maps=[scalar_count(1000)], digest="sha256:" + "0" * 64)
    keys = [{"key": [{"str": f"{n:05}" * 30}], "count": "-1"} for n in range(4000)]
    trace.report(huge, maps=[a_map("@", "count", keys)])
    trace.report(late, maps=[scalar_count(1000)], generation=99)
    with pytest.raises(ApiError, match="422"):
        # What the schema bounds does not even come to the operator.
        trace.report(many, maps=[a_map("@", "count", [{"key": [{"int": str(n)}], "count": "1"} for n in range(5000)])])
    for wrong in ({"phase": "Sleeping"}, {"maps": {"@": 1}}, {"probes": -1}, {"exitCode": "zero"}, {"observedAt": "soon"}):
        with pytest.raises(ApiError, match="422"):
            trace.report(many, **wrong)

    def named() -> dict[str, str]:
        found = {row["node"]: row["message"] for row in trace.status().get("nodeErrors", [])}
        assert found.keys() == {future, text, foreign, huge}, found
        return found

    errors = eventually(named)
    assert "future" in errors[future] and "bytes" in errors[huge] and "another node" in errors[foreign]
    status = trace.status()
    assert status["results"]["text"] == "@: 3\n" and status["results"]["nodes"] == 1
    assert status["startedAt"] < "2998" and status["nodes"]["failed"] == 4
    # Not yet attached, as far as can be told: their reports are about something else.
    trace.wait_for("Reconciling", "True", "Attaching")
    trace.report(good, maps=[scalar_count(4)])
    eventually(lambda: trace.status()["results"]["text"] == "@: 4\n")


def test_a_report_of_another_trace_counts_nowhere(cluster: ControlPlane, operator: OperatorProcess, namespace: str) -> None:
    one, two = (TestTrace(cluster, name, namespace, target={"nodeSelector": {"bad-input": "none"}}) for name in ("one", "two"))
    one.wait_for("Compiled", "True")
    two.wait_for("Compiled", "True")
    body = two._report("stranger", "somewhere", owned=True)
    body["spec"]["trace"] |= {"uid": one.uid, "name": "nobody"}
    path = f"{GROUP}/namespaces/{namespace}/bpftracereports"
    cluster.api("POST", path, body)
    said = {"generation": 1, "digest": two.status()["artifact"]["digest"], "phase": "Attached", "maps": [scalar_count(9)]}
    cluster.api("PATCH", f"{path}/stranger/status", {"status": said})
    time.sleep(1.5)
    assert "results" not in one.status() and "results" not in two.status()


MANY = "let @many = hash({0});\nbegin {{ for $i : 0..{0} {{ @many[$i] = (uint64)$i; }} }}\ninterval:hz:1 {{ @ = count(); }}"


@pytest.mark.kernel
def test_a_map_of_a_million_keys_is_refused_with_numbers(world: World) -> None:
    """It would take more memory of the node than one trace is given."""
    trace = world.trace("million", MANY.format(1_000_000))
    trace.condition("Stalled", "True", timeout=60)
    for error in trace.status()["nodeErrors"]:
        assert error["reason"] == "MemoryLimitExceeded"
        assert "@many" in error["message"] and "MiB" in error["message"]
    trace.delete()


@pytest.mark.kernel
def test_many_keys_hold_up_nothing(world: World) -> None:
    """The node reads them all, and sends the largest: 32 KiB, the others counted. Other traces go on meanwhile."""
    count = 300_000
    other = world.trace("other", "tracepoint:syscalls:sys_enter_getppid { @all = count(); }")
    other.condition("Ready", "True")
    world.cluster.api("PATCH", f"/api/v1/nodes/{world.a}", {"metadata": {"labels": {"many": "yes"}}})
    target = {"nodeSelector": {"many": "yes"}}
    trace = Trace(world.cluster, "", f"many-{world.fleet}", MANY.format(count), target=target)
    try:
        trace.condition("Ready", "True", timeout=60)
        maps = trace.results(lambda m: "@many" in m and bool(m["@many"]["entries"]), timeout=60)
        keys = {int(entry["key"][0]["int"]) for entry in maps["@many"]["entries"]}
        assert keys == set(range(count - 20, count)) and maps["@many"]["dropped"] == count - 20
        peak = world.agents[0].peak_mib()
        print(f"agent with {count} keys: {peak:.0f} MiB at its peak")
        assert peak < 120, "as objects of Python the keys would be 200 MiB more"
        world.calls(100, 200)
        other.results(lambda m: scalar(m, "@all") == 300, timeout=60)
    finally:
        trace.delete()
    for agent in world.agents:
        agent.check()
