"""Which kernels get objects of their own, and what a trace's status says of those that do and those that do not."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from kubebpf.operator.api import Api
from kubebpf.operator.conditions import COMPILED, READY, RECONCILING, read_condition
from kubebpf.operator.kernels import LEFT_OUT, MOST, NONE, Choice, Variants, choose, kernels_of, unfit_nodes
from kubebpf.operator.model import parse_bpf_node, parse_node, parse_report, parse_spec, parse_trace
from kubebpf.operator.outcome import Artifact, Outcome, Refused
from kubebpf.operator.remembered import (
    known_artifact,
    known_refusal,
    known_variants,
    named_objects,
    refusal_beside_variants,
    refusals_of_nodes,
)
from kubebpf.operator.status import Facts, desired_status
from kubebpf.operator.store import Store
from kubebpf.operator.tally import take
from kubebpf.operator.uploads import TURN, BadChunksError, Uploads, chunk_name, join
from kubebpf.operator.views import Views
from support.kstatus import kstatus
from support.traces import DIGEST, a_map, node, report, scalar_count, trace

Json = dict[str, Any]

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
OWN, OTHER, THIRD = ("sha256:" + letter * 64 for letter in "012")
OBJECT = Artifact(DIGEST, "kubebpf-default", 1234, 80)
OF_KERNEL = Refused("CompileFailed", "w\nspec.program:1:9-14: ERROR: no field\n  here", of_kernel=True)
MISTAKE = Refused("CompileFailed", "spec.program:1:9-14: ERROR: syntax")


def variant(letter: str, warnings: str = "") -> Artifact:
    return Artifact("sha256:" + letter * 64, f"kubebpf-{letter}", 100, 5, warnings)


def bpf_node(name: str, btf: str = "", asked: str | None = None) -> Json:
    spec = {"uploadBTF": asked} if asked is not None else {}
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": spec, "status": {"btf": {"digest": btf, "size": 1}}}


# -- which


def test_kernels_are_those_of_selected_nodes_whose_agents_have_told() -> None:
    spec, _ = parse_spec({"program": "x", "target": {"nodeSelector": {"zone": "a"}}})
    nodes = [
        parse_node(node(name, zone=zone)) for name, zone in (("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "a"), ("n5", "a"))
    ]
    told = [
        bpf_node("n2", OTHER),
        bpf_node("n1", OTHER),
        bpf_node("n3", THIRD),
        bpf_node("n5", "no digest"),
        bpf_node("gone", OWN),
    ]
    known = {found.name: found for found in map(parse_bpf_node, told)}
    assert kernels_of(spec, nodes, known) == {OTHER: ("n1", "n2")}
    assert kernels_of(None, nodes, known) == {}


KERNELS = {OWN: ("a",), OTHER: ("b", "c"), THIRD: ("d",)}


@pytest.mark.parametrize(
    ("default", "unfit", "known", "wanted"),
    [
        (OBJECT, set(), set(), ()),
        (OBJECT, {"d"}, set(), (THIRD,)),
        (OBJECT, {"nobody"}, set(), ()),
        (OBJECT, set(), {OTHER}, (OTHER,)),
        (OF_KERNEL, set(), set(), (OTHER, THIRD)),
        (OF_KERNEL, set(), {OTHER}, (OTHER, THIRD)),
        (MISTAKE, {"d"}, {OTHER}, ()),
        (Refused("UnsafeNotAllowed", "no"), set(), {OTHER}, ()),
        (Refused("CompilerLimit", "busy"), set(), {OTHER}, (OTHER,)),
        (None, set(), {OTHER}, (OTHER,)),
    ],
)
def test_who_gets_an_object_of_its_own(default: Outcome, unfit: set[str], known: set[str], wanted: tuple[str, ...]) -> None:
    assert choose(KERNELS, default, OWN, unfit, known) == Choice(wanted)


def test_of_too_many_kernels_those_of_most_nodes_and_none_that_has_one_goes() -> None:
    digests = [f"sha256:{i:064x}" for i in range(1, MOST + 4)]
    kernels = {digest: tuple(f"{i}-{j}" for j in range(i + 1)) for i, digest in enumerate(digests)}
    choice = choose(kernels, OF_KERNEL, OWN)
    assert (choice.chosen, choice.left_out) == (tuple(digests[3:]), tuple(digests[:3]))
    choice = choose(kernels, OF_KERNEL, OWN, known={digests[0]})
    assert (choice.chosen, choice.left_out) == ((digests[0], *digests[4:]), tuple(digests[1:4]))


def test_a_node_that_cannot_run_the_object_says_so_of_this_generation_and_object() -> None:
    said = [
        report("a", "Failed", reason="KernelFieldMissing"),
        report("b", "Failed", reason="KernelLayoutDiffers"),
        report("c", "Failed", reason="VerifierRejected"),
        report("d", "Failed", generation=2, reason="KernelFieldMissing"),
        report("e", "Failed", digest="sha256:" + "9" * 64, reason="KernelFieldMissing"),
        report("f", "Attached"),
    ]
    reports = [found for body in said if (found := parse_report(body))]
    assert unfit_nodes(reports, 1, DIGEST) == {"a", "b"}


# -- what is said


def status(outcome: Outcome, variants: Variants, reports: list[Json], body: Json | None = None, names: str = "abcd") -> Json:
    parsed = parse_trace(body or trace())
    digest = outcome.digest if isinstance(outcome, Artifact) else ""
    refused = outcome if isinstance(outcome, Refused) else None
    nodes = [parse_node(node(name)) for name in names]
    found = [one for item in reports if (one := parse_report(item))]
    tally = take(parsed, digest, nodes, found, variants=variants, refused=refused)
    return desired_status(Facts(parsed, tally, outcome, NOW, variants=variants))


def errors(found: Json) -> dict[str, tuple[str, str]]:
    return {row["node"]: (row["reason"], row["message"]) for row in found.get("nodeErrors", [])}


def counted(name: str, digest: str, count: int) -> Json:
    return report(name, digest=digest, maps=[scalar_count(count)])


def test_one_kernel_for_all_says_what_it_always_said() -> None:
    found = status(OBJECT, Variants(KERNELS), [report(name) for name in "abcd"])
    assert found == status(OBJECT, NONE, [report(name) for name in "abcd"])
    assert read_condition(found, COMPILED)["message"] == "the object has 1234 bytes"
    assert "variants" not in found


def test_variants_alone_run_where_they_can_and_the_others_say_why() -> None:
    variants = Variants(KERNELS, {OTHER: variant("b")}, {THIRD: Refused("CompileFailed", "spec.program:1:1-2: ERROR: third\n x")})
    found = status(OF_KERNEL, variants, [counted("b", variant("b").digest, 3), counted("c", variant("b").digest, 4)])
    assert "artifact" not in found
    assert [(row["btf"], row["digest"]) for row in found["variants"]] == [(OTHER, variant("b").digest)]
    compiled = read_condition(found, COMPILED)
    assert (compiled["status"], compiled["reason"]) == ("True", "Compiled")
    assert "1 of the nodes' 3 kernels" in compiled["message"]
    assert errors(found) == {
        "a": ("CompileFailed", "spec.program:1:9-14: ERROR: no field"),
        "d": ("CompileFailed", "spec.program:1:1-2: ERROR: third"),
    }
    assert found["results"]["text"] == "@: 7\n" and found["results"]["nodes"] == 2
    assert found["nodes"]["summary"] == "2/4"
    assert kstatus(trace(status=found)) == "Current"


def test_the_default_object_and_a_variant_count_together() -> None:
    variants = Variants(KERNELS, {OTHER: variant("b")})
    old = report("c", "Failed", reason="KernelFieldMissing", maps=[scalar_count(100)])
    reports = [counted("a", DIGEST, 1), counted("b", variant("b").digest, 2), old, counted("d", DIGEST, 8)]
    found = status(OBJECT, variants, reports)
    assert found["results"]["text"] == "@: 11\n"
    assert not errors(found), "c is about to run its variant: what it said of the other object is old"
    assert read_condition(found, READY)["reason"] == "Attaching"
    assert "3 of the nodes' 3 kernels" in read_condition(found, COMPILED)["message"]
    foreign = [*reports, report("x", digest="sha256:" + "7" * 64, maps=[scalar_count(5)])]
    assert status(OBJECT, variants, foreign, names="abcdx")["results"]["text"] == "@: 11\n"


def test_a_map_that_is_another_in_a_variant_spoils_nothing() -> None:
    variants = Variants(KERNELS, {THIRD: variant("b")})
    odd = report("d", digest=variant("b").digest, maps=[a_map("@", "sum", [{"key": [], "sum": "9"}], scalar=True)])
    found = status(OBJECT, variants, [counted("a", DIGEST, 1), counted("b", DIGEST, 2), counted("c", DIGEST, 4), odd])
    assert found["results"]["text"] == "@: 7\n"
    assert errors(found)["d"][0] == "BadReport"


def test_while_types_are_awaited_nothing_is_said_to_have_failed() -> None:
    waiting = Variants(KERNELS, awaited=frozenset({OTHER, THIRD}))
    found = status(OF_KERNEL, waiting, [])
    assert kstatus(trace(status=found)) == "InProgress"
    compiled = read_condition(found, COMPILED)
    assert (compiled["status"], compiled["reason"]) == ("Unknown", "WaitingForKernelTypes")
    assert "2 other kernels" in compiled["message"] and "ERROR: no field" in compiled["message"]
    assert read_condition(found, RECONCILING)["status"] == "True"
    # The default object is there, and some nodes cannot run it: they are not failures yet.
    unfit = [report(name, "Failed", reason="KernelFieldMissing", message="task_struct.x") for name in "bc"]
    found = status(OBJECT, Variants(KERNELS, awaited=frozenset({OTHER})), [report("a"), report("d"), *unfit])
    assert not errors(found) and kstatus(trace(status=found)) == "InProgress"
    late = Variants(KERNELS, refused={OTHER: Refused("KernelTypesMissing", "they did not come")})
    found = status(OBJECT, late, [report("a"), report("d"), *unfit])
    assert errors(found)["b"] == ("KernelTypesMissing", "they did not come")
    assert kstatus(trace(status=found)) == "Current"


def test_when_no_kernel_takes_it_the_default_views_complaints_stand() -> None:
    variants = Variants(KERNELS, refused={OTHER: MISTAKE, THIRD: MISTAKE})
    found = status(OF_KERNEL, variants, [])
    compiled = read_condition(found, COMPILED)
    assert (compiled["status"], compiled["message"]) == ("False", OF_KERNEL.message)
    assert kstatus(trace(status=found)) == "Failed"


def test_kernels_beyond_the_limit_are_named() -> None:
    variants = Variants(KERNELS, {OTHER: variant("b")}, {THIRD: LEFT_OUT})
    found = status(OF_KERNEL, variants, [])
    assert f"{MOST} are the most" in read_condition(found, COMPILED)["message"]
    assert errors(found)["d"][0] == "TooManyKernels"


def test_a_suspended_trace_keeps_its_variants_and_its_results() -> None:
    variants = Variants(KERNELS, {OTHER: variant("b")})
    before = status(OF_KERNEL, variants, [counted("b", variant("b").digest, 3)])
    parsed = parse_trace(trace(2, before, suspend=True))
    nodes = [parse_node(node(name)) for name in "abcd"]
    last = parse_report(counted("b", variant("b").digest, 5))
    assert last
    old = take(parsed, "", nodes, [last], 1, variants=variants, refused=OF_KERNEL)
    tally = take(parsed, "", nodes, [last], variants=variants, refused=OF_KERNEL)
    found = desired_status(Facts(parsed, tally, OF_KERNEL, NOW, old, variants=variants))
    assert found["results"]["text"] == "@: 5\n" and found["results"]["generation"] == 1
    assert len(found["variants"]) == 1 and read_condition(found, READY)["reason"] == "Suspended"


def test_what_a_trace_was_stays_when_its_nodes_go() -> None:
    variants = Variants(KERNELS, {OTHER: variant("b")})
    ended = [report(name, "Completed", digest=variant("b").digest, maps=[scalar_count(2)]) for name in "bc"]
    first = status(OF_KERNEL, variants, ended)
    assert first["completedAt"] and first["results"]["text"] == "@: 4\n"
    settled = status(OF_KERNEL, variants, ended, trace(status=first))
    later = Variants({}, known_variants(parse_trace(trace(status=settled))))
    assert status(OF_KERNEL, later, ended, trace(status=settled))["results"] == first["results"]
    gone = status(OF_KERNEL, later, [], trace(status=settled), names="a")
    for kind in (COMPILED, READY, RECONCILING):
        assert read_condition(gone, kind) == read_condition(settled, kind)
    assert all(gone[name] == settled[name] for name in ("results", "nodes", "variants", "completedAt"))


# -- what is remembered


def test_a_status_remembers_all_that_a_restart_needs() -> None:
    variants = Variants(KERNELS, {OTHER: variant("b", "WARNING: w"), THIRD: variant("c")}, {OWN: OF_KERNEL})
    found = status(OF_KERNEL, variants, [])
    parsed = parse_trace(trace(status=found))
    assert known_artifact(parsed) is None and known_refusal(parsed) is None
    assert known_variants(parsed) == {OTHER: variant("b", "WARNING: w"), THIRD: variant("c")}
    assert named_objects(parsed) == {"kubebpf-b", "kubebpf-c"}
    remembered = refusals_of_nodes(parsed, {"a": OWN, "b": OTHER})
    assert remembered == {OWN: Refused("CompileFailed", OF_KERNEL.first_line())}
    assert refusal_beside_variants(parsed, {"a"}) == replace(OF_KERNEL, message=OF_KERNEL.first_line())
    assert refusal_beside_variants(parse_trace(trace(status=status(OBJECT, variants, []))), {"a"}) is None
    again = status(OF_KERNEL, Variants(KERNELS, known_variants(parsed), remembered), [], trace(status=found))
    assert again == found, "nothing to write"
    # Of another generation nothing is known, but its objects are not to be collected yet.
    edited = parse_trace(trace(2, found))
    assert not known_variants(edited) and not refusals_of_nodes(edited, {"a": OWN})
    assert named_objects(edited) == {"kubebpf-b", "kubebpf-c"}


def test_beside_a_default_object_the_warnings_are_its_own() -> None:
    own = Artifact(DIGEST, "kubebpf-default", 1234, 80, "WARNING: default")
    found = status(own, Variants(KERNELS, {OTHER: variant("b", "WARNING: other")}), [])
    parsed = parse_trace(trace(status=found))
    assert known_artifact(parsed) == own
    assert known_variants(parsed) == {OTHER: variant("b")}
    assert named_objects(parsed) == {"kubebpf-default", "kubebpf-b"}


@pytest.mark.parametrize("rows", ["x", [None], [{"btf": OTHER}], [{"btf": 3, "digest": "d", "configMap": "c"}]])
def test_variants_that_cannot_be_read_are_compiled_again(rows: object) -> None:
    found = status(OBJECT, NONE, []) | {"variants": rows}
    assert known_variants(parse_trace(trace(status=found))) == {}


# -- who is asked


def test_one_node_of_a_kernel_is_asked_and_the_next_one_when_it_does_not_answer() -> None:
    uploads = Uploads(cast("Api", None), "system", Store(), cast("Views", None), lambda uid: None)
    nodes = [parse_bpf_node(bpf_node(*row)) for row in (("c", OTHER), ("a", OTHER), ("b", OTHER), ("z", THIRD))]
    assert [uploads._chosen(OTHER, nodes, at) for at in (0.0, TURN, TURN + 1, 2 * TURN + 2, 3 * TURN + 3)] == list("aabca")
    assert uploads._chosen(THIRD, nodes, 0.0) == "z" and uploads._chosen(OWN, nodes, 0.0) is None
    # Another operator had asked b: nobody else is asked now.
    again = Uploads(cast("Api", None), "system", Store(), cast("Views", None), lambda uid: None)
    nodes[2] = parse_bpf_node(bpf_node("b", OTHER, OTHER))
    assert again._chosen(OTHER, nodes, 0.0) == "b"
    assert again._chosen(OTHER, nodes[:2], 1.0) == "a", "b is gone"


# -- pieces


def piece(index: int, data: bytes = b"x", digest: str = OTHER, encoding: str = "xz") -> Json:
    return {"spec": {"digest": digest, "index": index, "total": 2, "encoding": encoding, "data": base64.b64encode(data).decode()}}


def test_pieces_are_joined_in_order() -> None:
    assert join(OTHER, [piece(0, b"ab"), piece(1, b"c")]) == b"abc"
    assert chunk_name(OTHER, 1) == "btf-" + "1" * 32 + "-1"


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(1)],
        [piece(0), piece(0)],
        [piece(0, digest=OWN)],
        [piece(0, encoding="gzip")],
        [{"spec": {"digest": OTHER, "index": 0, "encoding": "xz", "data": "~~~"}}],
        [{}],
        [piece(0, bytes(9 << 20)), piece(1, bytes(9 << 20))],
    ],
)
def test_pieces_that_do_not_fit_are_told(pieces: list[Json]) -> None:
    with pytest.raises(BadChunksError):
        join(OTHER, pieces)
