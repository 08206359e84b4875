"""The status of a trace: a table of situations, and kstatus's rules over all of them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from kubebpf.operator.conditions import MESSAGE_LIMIT, TYPES, shorten, stamp
from kubebpf.operator.model import Trace, parse_duration, parse_node, parse_report, parse_spec, parse_time, parse_trace
from kubebpf.operator.outcome import Artifact, Outcome, Refused
from kubebpf.operator.reconcile import telling, without_age
from kubebpf.operator.remembered import known_artifact
from kubebpf.operator.results import size_of
from kubebpf.operator.status import GRACE, Facts, desired_status, next_look
from kubebpf.operator.tally import take
from support.binaries import REPOSITORY
from support.kstatus import kstatus
from support.traces import DIGEST, a_map, node, report, scalar_count, trace

Json = dict[str, Any]

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
OBJECT = Artifact(DIGEST, "kubebpf-" + "ab" * 20, 1234, 80)
REFUSED = Refused("CompileFailed", "spec.program:1:9-14: ERROR: no\nspec.program:2:1-3: ERROR: no")
A, B = node("a"), node("b")


def facts(
    body: Json, reports: list[Json] | None = None, nodes: list[Json] | None = None, outcome: Outcome = OBJECT, now: datetime = NOW
) -> Facts:
    parsed = parse_trace(body)
    found = [r for item in reports or [] if (r := parse_report(item))]
    digest = outcome.digest if isinstance(outcome, Artifact) else ""
    seen = [parse_node(item) for item in (nodes if nodes is not None else [A, B])]
    tally = take(parsed, digest, seen, found)
    counted = None
    if parsed.spec and parsed.spec.suspend and (old := parsed.status.get("results", {}).get("generation")) not in (None, 0):
        counted = take(parsed, digest, seen, found, old)
    return Facts(parsed, tally, outcome, now, counted)


def status(*args: Any, **kwargs: Any) -> Json:
    return desired_status(facts(*args, **kwargs))


def conditions(found: Json) -> dict[str, Json]:
    return {row["type"]: row for row in found["conditions"]}


def ended(code: int | None = None, **more: Any) -> list[Json]:
    exits: Json = {} if code is None else {"exitCode": code}
    return [report("a", "Completed", **exits, **more), report("b", "Completed")]


FAILED: Json = {"reason": "VerifierRejected", "message": "R1 is no pointer"}
# name: (spec, reports, nodes, outcome, what kstatus says, Ready, reason of Ready)
SITUATIONS: dict[str, tuple[Json, list[Json], list[Json], Outcome, str, str, str]] = {
    "just seen": ({}, [], [A, B], None, "InProgress", "Unknown", "Compiling"),
    "refused": ({}, [], [A, B], REFUSED, "Failed", "False", "CompileFailed"),
    "no node": ({}, [], [], OBJECT, "InProgress", "False", "NoMatchingNodes"),
    "attaching": ({}, [report("a")], [A, B], OBJECT, "InProgress", "False", "Attaching"),
    "pending is not attached": ({}, [report("a"), report("b", "Pending")], [A, B], OBJECT, "InProgress", "False", "Attaching"),
    "attached": ({}, [report("a"), report("b")], [A, B], OBJECT, "Current", "True", "AllNodesAttached"),
    "one failed": ({}, [report("a"), report("b", "Failed", **FAILED)], [A, B], OBJECT, "Current", "True", "SomeNodesFailed"),
    "all failed": (
        {}, [report(n, "Failed", **FAILED) for n in "ab"], [A, B], OBJECT, "Failed", "False", "AllNodesFailed",
    ),
    "bad report": ({}, [report("a"), report("b", maps="x")], [A, B], OBJECT, "Current", "True", "SomeNodesFailed"),
    "suspended": ({"suspend": True}, [], [A, B], OBJECT, "Current", "True", "Suspended"),
    "all ended": ({}, ended(), [A, B], OBJECT, "Current", "True", "Completed"),
    "ended with a code": ({}, ended(3), [A, B], OBJECT, "Failed", "False", "NonZeroExit"),
    "one ended": ({}, [report("a", "Completed"), report("b")], [A, B], OBJECT, "Current", "True", "AllNodesAttached"),
    "ended by one": (
        {"exitPolicy": "Cluster"}, [report("a", "Completed", exitCode=0), report("b")], [A, B], OBJECT,
        "InProgress", "True", "Finishing",
    ),
    "another generation": ({}, [report("a", generation=7), report("b")], [A, B], OBJECT, "InProgress", "False", "Attaching"),
    "another object": ({}, [report("a", digest="sha256:00"), report("b")], [A, B], OBJECT, "InProgress", "False", "Attaching"),
    "a foreign node": ({}, [report("a"), report("b"), report("z")], [A, B], OBJECT, "Current", "True", "AllNodesAttached"),
    "no pods": (
        {}, [report("a", reason="NoMatchingPods"), report("b", reason="NoMatchingPods")], [A, B], OBJECT,
        "Current", "True", "NoMatchingPods",
    ),
    "pods on one node": (
        {}, [report("a", reason="NoMatchingPods"), report("b")], [A, B], OBJECT, "Current", "True", "AllNodesAttached",
    ),
    "an unusable spec": ({"duration": "soon"}, [], [A, B], Refused("InvalidSpec", "x"), "Failed", "False", "InvalidSpec"),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_and_what_kstatus_makes_of_it(name: str) -> None:
    spec, reports, nodes, outcome, verdict, ready, reason = SITUATIONS[name]
    body = trace(**spec)
    body["status"] = status(body, reports, nodes, outcome)
    rows = conditions(body["status"])
    assert (rows["Ready"]["status"], rows["Ready"]["reason"]) == (ready, reason)
    assert kstatus(body) == verdict


def test_a_new_object_is_not_current_once_it_was_seen() -> None:
    """kstatus takes an object without a status for current: so the first write comes at the first sight."""
    body = trace()
    assert kstatus(body) == "Current"
    body["status"] = status(body, [], outcome=None)
    assert kstatus(body) == "InProgress"
    body["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert kstatus(body) == "Terminating"


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_change_of_the_spec_is_in_progress_until_the_operator_has_seen_it(name: str) -> None:
    spec, reports, nodes, outcome, *_ = SITUATIONS[name]
    body = trace(**spec)
    body["status"] = status(body, reports, nodes, outcome)
    body["metadata"]["generation"] += 1
    assert kstatus(body) == "InProgress"


@pytest.mark.parametrize("name", SITUATIONS)
def test_conditions_are_complete_and_never_contradict_each_other(name: str) -> None:
    spec, reports, nodes, outcome, *_ = SITUATIONS[name]
    rows = conditions(status(trace(generation=1, **spec), reports, nodes, outcome))
    assert tuple(rows) == TYPES
    for row in rows.values():
        assert row["observedGeneration"] == 1
        assert row["reason"].isalnum() and row["reason"][0].isupper()
        assert row["status"] in ("True", "False", "Unknown")
    truth = {kind: row["status"] for kind, row in rows.items()}
    assert not (truth["Reconciling"] == "True" and truth["Stalled"] == "True")
    assert not (truth["Ready"] == "True" and truth["Stalled"] == "True")
    # Not ready, but neither at work nor stuck, would be InProgress for ever.
    assert truth["Ready"] == "True" or "True" in (truth["Reconciling"], truth["Stalled"])


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_same_facts_later_change_nothing(name: str) -> None:
    spec, reports, nodes, outcome, *_ = SITUATIONS[name]
    body = trace(**spec)
    body["status"] = status(body, reports, nodes, outcome)
    again = status(body, reports, nodes, outcome, now=NOW + timedelta(hours=1))
    if name == "ended by one":  # the grace is over
        assert conditions(again)["Succeeded"]["status"] == "True"
        return
    assert again == body["status"]


SCHEMA = yaml.safe_load((REPOSITORY / "crds/bpftraces.yaml").read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def unknown_members(value: Any, schema: Json, path: str = "status") -> list[str]:
    """Members that the API server would prune: a status with one would be written again and again."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    if isinstance(value, list):
        return [bad for item in value for bad in unknown_members(item, schema["items"], path + "[]")]
    if not isinstance(value, dict):
        return []
    known = schema.get("properties", {})
    strange = [f"{path}.{name}" for name in value if name not in known]
    return strange + [bad for n, v in value.items() if n in known for bad in unknown_members(v, known[n], f"{path}.{n}")]


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_schema_knows_every_member(name: str) -> None:
    spec, reports, nodes, outcome, *_ = SITUATIONS[name]
    reports = copy.deepcopy(reports)
    for item in reports:
        if item["status"]["maps"] == []:
            item["status"]["maps"] = [
                scalar_count(3),
                a_map("@h", "hist", [{"key": [], "slots": [{"slot": 3, "count": "1"}]}], [0]),
            ]
            item["status"]["recent"] = [{"time": "2026-11-22T12:00:00Z", "kind": "printf", "text": "x", "pod": "p"}]
    found = status(trace(**spec), reports, nodes, outcome)
    assert unknown_members(found, SCHEMA["properties"]["status"]) == []


def test_a_transition_time_moves_only_with_the_status() -> None:
    body = trace()
    body["status"] = status(body, [report("a")])
    before = conditions(body["status"])
    later = NOW + timedelta(minutes=1)
    after = conditions(status(body, [report("a"), report("b")], now=later))
    assert after["Ready"]["lastTransitionTime"] == "2026-11-22T12:01:00Z"
    assert before["Compiled"] == after["Compiled"]
    assert after["Stalled"]["lastTransitionTime"] == before["Stalled"]["lastTransitionTime"]


def test_a_new_generation_is_in_progress_at_once_and_keeps_the_old_results() -> None:
    body = trace()
    body["status"] = status(body, [report("a", maps=[scalar_count(3)]), report("b", maps=[scalar_count(4)])])
    assert body["status"]["results"]["maps"][0]["entries"] == [{"key": [], "count": "7"}]
    body["metadata"]["generation"] = 2
    assert kstatus(body) == "InProgress"
    body["status"] = status(body, [], outcome=None)
    assert kstatus(body) == "InProgress"
    assert "startedAt" not in body["status"] and "artifact" not in body["status"]
    assert body["status"]["results"]["generation"] == 1
    body["status"] = status(body, [report("a", generation=2, maps=[scalar_count(1)])])
    assert body["status"]["results"]["generation"] == 2
    assert body["status"]["results"]["maps"][0]["entries"] == [{"key": [], "count": "1"}]


def test_the_picture_is_what_bpftrace_prints() -> None:
    found = status(trace(), [report("a", maps=[scalar_count(3)]), report("b", maps=[scalar_count(4, "@n")])])
    assert found["results"]["text"] == "@: 3\n@n: 4\n"
    assert found["results"]["nodes"] == 2


def test_a_duration_counts_from_the_first_attach() -> None:
    body = trace(duration="1m")
    reports = [report("a", startedAt="2026-11-22T11:59:30Z"), report("b", startedAt="2026-11-22T11:59:40Z")]
    body["status"] = status(body, reports)
    assert body["status"]["startedAt"] == "2026-11-22T11:59:30Z"
    assert next_look(facts(body, reports), body["status"]) == 30
    body["status"] = status(body, reports, now=NOW + timedelta(seconds=30))
    assert body["status"]["completedAt"] == "2026-11-22T12:00:30Z"
    assert kstatus(body) == "InProgress"
    last = [report(n, "Completed", maps=[scalar_count(5)]) for n in "ab"]
    body["status"] = status(body, last, now=NOW + timedelta(seconds=33))
    assert conditions(body["status"])["Succeeded"]["status"] == "True"
    assert body["status"]["results"]["text"] == "@: 10\n"
    assert kstatus(body) == "Current"


@pytest.mark.parametrize("said", ["2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "nonsense", None])
def test_a_nodes_wrong_clock_does_not_end_a_trace(said: str | None) -> None:
    found = status(trace(duration="1m"), [report("a", startedAt=said)])
    assert found["startedAt"] == "2026-11-22T12:00:00Z"
    assert "completedAt" not in found


def test_last_reports_are_awaited_for_a_while_only() -> None:
    body = trace(exitPolicy="Cluster")
    reports = [report("a", "Completed", exitCode=0), report("b")]
    body["status"] = status(body, reports)
    assert next_look(facts(body, reports), body["status"]) == GRACE.total_seconds()
    found = status(body, reports, now=NOW + GRACE)
    assert conditions(found)["Succeeded"]["status"] == "True"


def test_a_finished_trace_loses_nothing_when_nodes_and_reports_go() -> None:
    body = trace()
    body["status"] = status(body, ended(maps=[scalar_count(9)]))
    for nodes, reports in (([A], ended()), ([], []), ([A, B], [])):
        assert status(body, reports, nodes, now=NOW + timedelta(days=1)) == body["status"]


def test_a_late_report_still_counts_after_the_end() -> None:
    body = trace(exitPolicy="Cluster")
    reports = [report("a", "Completed", exitCode=0, maps=[scalar_count(1)]), report("b", maps=[scalar_count(1)])]
    body["status"] = status(body, reports)
    body["status"] = status(body, reports, now=NOW + GRACE)
    late = [reports[0], report("b", "Completed", maps=[scalar_count(41)])]
    assert status(body, late, now=NOW + 2 * GRACE)["results"]["text"] == "@: 42\n"


def test_suspending_keeps_the_counts_and_takes_the_last_report() -> None:
    body = trace()
    running = [report("a", maps=[scalar_count(1)]), report("b", maps=[scalar_count(2)])]
    body["status"] = status(body, running)
    body["metadata"]["generation"], body["spec"]["suspend"] = 2, True
    body["status"] = status(body, running)
    assert body["status"]["results"]["text"] == "@: 3\n"
    assert body["status"]["nodes"]["summary"] == "0/2"
    last = [report("a", "Completed", maps=[scalar_count(10)]), running[1]]
    body["status"] = status(body, last)
    assert body["status"]["results"] | {"text": "@: 12\n", "generation": 1} == body["status"]["results"]
    assert status(body, [])["results"]["text"] == "@: 12\n"


def test_a_bad_report_is_named_and_spoils_nothing() -> None:
    bad = report("b", maps=[a_map("@", "count", [{"key": [], "count": "many"}], scalar=True)])
    found = status(trace(), [report("a", maps=[scalar_count(3)]), bad])
    assert found["results"]["text"] == "@: 3\n"
    assert found["nodeErrors"][0]["node"] == "b" and found["nodeErrors"][0]["reason"] == "BadReport"
    assert "@: 'many'" in found["nodeErrors"][0]["message"]
    assert conditions(found)["Degraded"]["status"] == "True"


def test_a_map_of_another_form_is_outvoted() -> None:
    hist = a_map("@", "hist", [], [0], scalar=True)
    nodes = [node(name) for name in "abc"]
    found = status(trace(), [report("a", maps=[hist]), *[report(n, maps=[scalar_count(2)]) for n in "bc"]], nodes)
    assert found["results"]["text"] == "@: 4\n"
    assert [row["node"] for row in found["nodeErrors"]] == ["a"]


def test_of_two_reports_for_a_node_the_one_with_its_own_name_counts() -> None:
    forged = report("a", maps=[scalar_count(1000)])
    for name in ("0", "zzz"):
        forged["metadata"]["name"] = name
        assert status(trace(), [forged, report("a", maps=[scalar_count(1)]), report("b")])["results"]["text"] == "@: 1\n"


def test_a_node_that_is_not_ready_counts_while_it_reports() -> None:
    down = node("b", ready="False")
    assert status(trace(), [report("a")], [A, down])["nodes"]["desired"] == 1
    assert status(trace(), [report("a"), report("b")], [A, down])["nodes"]["summary"] == "2/2"


def test_the_selector_decides() -> None:
    body = trace(target={"nodeSelector": {"disk": "ssd"}})
    nodes = [node("a", disk="ssd"), node("b"), node("c", disk="hdd")]
    assert status(body, [report(n) for n in "abc"], nodes)["nodes"]["summary"] == "1/1"


def test_recent_lines_of_all_nodes_by_time() -> None:
    def lines(*times: str) -> list[Json]:
        return [{"time": f"2026-11-22T12:00:{t}Z", "kind": "printf", "text": t} for t in times]

    found = status(
        trace(report={"recentLines": 3}),
        [report("a", recent=lines("01", "05.5")), report("b", recent=lines("02", "05.25", "03"))],
    )
    assert [(row["text"], row["node"]) for row in found["recent"]] == [("03", "b"), ("05.25", "b"), ("05.5", "a")]


def test_losses_add_up() -> None:
    lost = {"events": "5", "mapFull": str(2**53), "missed": "0"}
    found = status(trace(), [report("a", lost=lost), report("b", lost=lost)])
    assert found["lost"] == {"events": "10", "mapFull": str(2**54), "missed": "0", "total": str(2**54 + 10)}


def many_keys(count: int, scale: int) -> Json:
    return a_map("@", "count", [{"key": [{"str": f"key-{n:06}" * 4}], "count": str(n * scale)} for n in range(count)])


def test_a_status_never_passes_32_kib() -> None:
    long = [{"time": f"2026-11-22T12:00:{n % 60:02}Z", "kind": "printf", "text": "é" * 200} for n in range(400)]
    failing = [report(f"n{n:03}", "Failed", reason="X", message="ß" * 9000) for n in range(30)]
    working = [report(n, maps=[many_keys(3000, s)], recent=long) for n, s in (("a", 1), ("b", 2))]
    nodes = [A, B, *[node(f"n{n:03}") for n in range(30)]]
    body = trace(report={"top": 1000, "recentLines": 500})
    body["status"] = status(body, [*failing, *working], nodes)
    assert size_of(body["status"]) <= 32 * 1024
    (found,) = body["status"]["results"]["maps"]
    kept = [int(row["count"]) for row in found["entries"]]
    assert found["dropped"] == 3000 - len(kept) and len(kept) > 50
    assert kept == [3 * n for n in range(3000 - len(kept), 3000)]
    assert len(body["status"]["nodeErrors"]) == 10
    # And when the program is then refused with a long message, beside the results that are kept.
    body["metadata"]["generation"] = 2
    body["status"] = status(body, [], nodes, Refused("CompileFailed", "ERROR: ü\n" * 100_000))
    assert size_of(body["status"]) <= 32 * 1024


def test_hundreds_of_big_maps_still_fit() -> None:
    maps = [a_map(f"@m{n:03}", "count", [{"key": [{"str": "k" * 4000}], "count": "1"}]) for n in range(250)]
    found = status(trace(), [report("a", maps=maps)])
    assert size_of(found) <= 32 * 1024
    json.dumps(found)


def test_only_news_is_written_at_once() -> None:
    body = trace()
    one = status(body, [report("a", maps=[scalar_count(1)]), report("b")])
    body["status"] = one
    more = status(body, [report("a", maps=[scalar_count(2)]), report("b")])
    assert telling(one) == telling(more) and without_age(one) != without_age(more)
    failed = status(body, [report("a"), report("b", "Failed")])
    assert telling(one) != telling(failed)


def test_the_time_of_observation_alone_is_no_change() -> None:
    body = trace()
    reports = [report("a", observedAt="2026-11-22T12:00:01Z"), report("b")]
    body["status"] = status(body, reports)
    later = status(body, [report("a", observedAt="2026-11-22T12:00:59Z"), report("b")])
    assert later != body["status"] and without_age(later) == without_age(body["status"])


def test_all_complaints_stand_in_the_condition() -> None:
    row = conditions(status(trace(), outcome=REFUSED))["Compiled"]
    assert row["message"] == REFUSED.message and row["reason"] == "CompileFailed"


WARNINGS = "spec.program:1:9-14: WARNING: Unused map: @x\n  let @x = 1;\n      ~~"


@pytest.mark.parametrize("warnings", ["", WARNINGS, "\n".join([WARNINGS] * 500)])
def test_warnings_stand_in_the_condition_and_survive_a_restart(warnings: str) -> None:
    body = trace()
    body["status"] = status(body, outcome=replace(OBJECT, warnings=warnings))
    message = conditions(body["status"])["Compiled"]["message"]
    assert message.split("\n")[:2] == ["the object has 1234 bytes", *warnings.split("\n")[:1]][: 2 if warnings else 1]
    assert message.endswith(warnings) if len(warnings) < 8000 else message.endswith(" bytes omitted)")
    assert len(message.encode()) <= MESSAGE_LIMIT
    # All that a new operator has is the status.
    known = known_artifact(parse_trace(body))
    assert known and status(body, outcome=known) == body["status"]


@pytest.mark.parametrize("text", [None, 5, "", "5", "5 minutes", "-5m", "1d", "m", "1h 2m", "1e3s", "5m\n", "٣s", "9" * 40 + "s"])
def test_what_is_no_duration(text: object) -> None:
    assert parse_duration(text) is None


def test_durations_and_times() -> None:
    assert [parse_duration(t) for t in ("90s", "1h30m", "1.5s", "250ms")] == [90, 5400, 1.5, 0.25]
    assert parse_time("2026-11-22T12:00:00") is None
    assert parse_time("2026-11-22T13:00:00+01:00") == NOW


ODD_BODIES: list[Json] = [
    {},
    {"spec": None},
    {"spec": []},
    {"metadata": {"generation": "x"}},
    {"spec": {"program": 5}},
    {"spec": {"program": "x", "args": 5}},
    {"spec": {"program": "x", "target": 5}, "status": "x"},
]


def test_a_node_that_cannot_evaluate_the_target_degrades_the_trace() -> None:
    said = report("a", reason="NamespacesUnknown", message="the labels of namespaces are not known; nothing is counted")
    rows = conditions(status(trace(), [said, report("b")], [A, B], OBJECT))
    assert (rows["Degraded"]["status"], rows["Degraded"]["reason"]) == ("True", "NamespacesUnknown")
    assert rows["Degraded"]["message"] == "1 of 2 nodes: the labels of namespaces are not known; nothing is counted (a)"
    assert rows["Ready"]["status"] == "True"


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        ({"matchExpressions": [{"key": "a", "operator": "In"}]}, "a: In needs values"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}, "a: Exists takes no values"),
        ({"matchExpressions": [{"operator": "Exists"}]}, "a requirement without a key"),
        ({"matchExpressions": [{"key": "a", "operator": "Near", "values": ["x"]}]}, "a: no operator 'Near'"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}], "matchLabels": {"b": "c"}}, ""),
    ],
)
@pytest.mark.parametrize("name", ["podSelector", "namespaceSelector"])
def test_selectors_that_cannot_be_evaluated_are_told(name: str, selector: Json, problem: str) -> None:
    spec, problems = parse_spec({"program": "begin { }", "target": {name: selector}})
    assert problems == ((f"spec.target.{name}.matchExpressions: {problem}",) if problem else ())
    assert (spec is None) == bool(problem) and (spec is None or spec.selects_pods)


@pytest.mark.parametrize("body", ODD_BODIES)
def test_no_object_stops_the_reading(body: Json) -> None:
    parsed = parse_trace(body)
    assert isinstance(parsed, Trace)
    outcome = Refused("InvalidSpec", "; ".join(parsed.problems)) if parsed.spec is None else OBJECT
    desired_status(Facts(parsed, take(parsed, DIGEST, [], []), outcome, NOW))


def test_cutting_a_text_says_so() -> None:
    assert shorten("abc", 3) == "abc"
    cut = shorten("line one\n" * 100, 100)
    assert len(cut) <= 100 and cut.endswith(" bytes omitted)") and cut.startswith("line one\nline one\n")


def test_malformed_conditions_count_as_none() -> None:
    body = trace(status={"conditions": [5, {"type": None}, {"type": "Ready", "status": "True"}]})
    assert conditions(status(body))["Ready"]["lastTransitionTime"] == "2026-11-22T12:00:00Z"
    assert stamp.__doc__
