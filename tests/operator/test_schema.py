"""The CRDs: described in full, the same where they say the same, bounded, readable by Kubernetes 1.20."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from kubebpf.operator.conditions import TYPES
from kubebpf.operator.model import PHASES, PROGRAM_LIMIT, parse_duration
from support.binaries import REPOSITORY

Json = dict[str, Any]
FILES = ("bpftraces", "clusterbpftraces", "bpftracereports", "bpfnodes", "btfchunks")


def crd(name: str) -> Json:
    loaded: Json = yaml.safe_load((REPOSITORY / f"crds/{name}.yaml").read_text())
    return loaded


def schema(name: str) -> Json:
    found: Json = crd(name)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def fields(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    if isinstance(node.get("items"), dict):
        yield f"{path}[]", node["items"]
        yield from fields(node["items"], f"{path}[]")


@pytest.mark.parametrize("name", FILES)
def test_every_field_is_described_and_bounded(name: str) -> None:
    for path, field in fields(schema(name)):
        if path.startswith(".metadata"):
            continue
        named = not path.endswith("[]")
        assert field.get("description") or not named, f"{path} has no description"
        if field.get("type") == "string" and path not in (".apiVersion", ".kind"):
            assert {"maxLength", "enum", "format"} & field.keys(), f"{path} is not bounded"
        if field.get("type") == "array":
            assert "maxItems" in field and "x-kubernetes-list-type" in field, path
        assert None not in field.values(), f"{path}: a comma ends a word in braces"
        assert field.get("type") != "number", f"{path}: no floats"
        if "additionalProperties" in field:
            assert "maxProperties" in field, path


def rules(node: Any, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every CEL rule with the path of the schema that it is about."""
    for name, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if name == "x-kubernetes-validations":
            yield from ((path, rule) for rule in child)
        yield from rules(child, f"{path}.{name}".replace(".properties", ""))


def test_rules_of_cel() -> None:
    found = {path: rule["rule"] for path, rule in rules(schema("bpftraces"))}
    assert found == {
        ".spec": "!has(self.schedule) || has(self.duration)",
        ".spec.params": "self.all(name, size(name) > 0 && size(name) <= 128)",
        ".spec.target.podSelector.matchExpressions.items":
            '(self.operator in ["In", "NotIn"]) == (has(self.values) && size(self.values) > 0)',
        ".spec.duration": 'self.matches("[1-9]")',
        ".spec.report.interval": 'self.matches("[1-9]")',
    }  # fmt: skip
    assert {path: rule["rule"] for path, rule in rules(schema("bpftracereports"))} == {".spec": "self == oldSelf"}
    assert {path: rule["rule"] for path, rule in rules(schema("btfchunks"))} == {
        "": "self.metadata.name.startsWith('btf-' + self.spec.digest.substring(7, 39) + '-')"
        " && int(self.metadata.name.substring(37)) == self.spec.index",
        ".spec": "self == oldSelf",
    }


@pytest.mark.parametrize("name", FILES)
def test_every_rule_says_what_is_wrong_and_stands_on_one_line(name: str) -> None:
    written = list(rules(schema(name)))
    for path, rule in written:
        assert rule.keys() == {"rule", "message"} and len(rule["message"]) > 10, path
        # Nothing of CEL's later versions: a CRD with an unknown function is refused by API servers as a whole.
        assert not re.search(r"quantity|isGreaterThan|optional|\?\.|cel\.bind|format\.", rule["rule"]), path
    # hack/sync-crds.py guards lines: a rule over two lines would reach API servers that do not know the field.
    lines = (REPOSITORY / f"crds/{name}.yaml").read_text().splitlines()
    assert len([line for line in lines if re.search(r"x-kubernetes-validations: \[\{.*\}\]$", line)]) == len(written)


def without_descriptions(node: Any) -> Any:
    if isinstance(node, list):
        return [without_descriptions(item) for item in node]
    if isinstance(node, dict):
        return {
            key: without_descriptions(value) for key, value in node.items() if not isinstance(value, str) or key != "description"
        }
    return node


def test_both_kinds_of_trace_have_the_same_fields() -> None:
    of_cluster = schema("clusterbpftraces")
    # A BpfTrace never sees another namespace.
    selectors = of_cluster["properties"]["spec"]["properties"]["target"]["properties"]
    assert without_descriptions(selectors.pop("namespaceSelector")) == without_descriptions(selectors["podSelector"])
    assert without_descriptions(schema("bpftraces")) == without_descriptions(of_cluster)
    assert schema("bpftraces")["properties"]["status"] == schema("clusterbpftraces")["properties"]["status"]


def test_a_variant_has_the_fields_of_an_artifact() -> None:
    status = without_descriptions(schema("bpftraces")["properties"]["status"]["properties"])
    variant = status["variants"]["items"]["properties"]
    assert variant.pop("btf") == without_descriptions(schema("btfchunks")["properties"]["spec"]["properties"]["digest"])
    assert variant == status["artifact"]["properties"]


def test_a_merged_map_has_the_form_of_a_reported_one() -> None:
    merged = schema("bpftraces")["properties"]["status"]["properties"]["results"]["properties"]["maps"]
    reported = schema("bpftracereports")["properties"]["status"]["properties"]["maps"]
    assert without_descriptions(merged) == without_descriptions(reported)


@pytest.mark.parametrize(
    ("name", "kind", "short", "scope"),
    [
        ("bpftraces", "BpfTrace", "bt", "Namespaced"),
        ("clusterbpftraces", "ClusterBpfTrace", "cbt", "Cluster"),
        ("bpftracereports", "BpfTraceReport", "btr", "Namespaced"),
        ("bpfnodes", "BpfNode", "bn", "Cluster"),
        ("btfchunks", "BtfChunk", "btfc", "Namespaced"),
    ],
)
def test_names(name: str, kind: str, short: str, scope: str) -> None:
    spec = crd(name)["spec"]
    assert crd(name)["metadata"]["name"] == f"{name}.kubebpf.dev"
    assert (spec["names"]["kind"], spec["names"]["shortNames"], spec["scope"]) == (kind, [short], scope)
    assert spec["names"]["categories"] == ["kubebpf"]
    assert spec["versions"][0].get("subresources", {}) == ({"status": {}} if name != "btfchunks" else {})


def test_columns() -> None:
    columns = {row["name"]: row.get("priority", 0) for row in crd("bpftraces")["spec"]["versions"][0]["additionalPrinterColumns"]}
    assert columns == {"Ready": 0, "Nodes": 0, "Lost": 0, "Age": 0, "Reason": 1, "Digest": 1, "Duration": 1}


def test_the_schema_and_the_model_agree() -> None:
    spec = schema("bpftraces")["properties"]["spec"]["properties"]
    assert spec["program"]["maxLength"] == PROGRAM_LIMIT
    assert schema("bpftracereports")["properties"]["status"]["properties"]["phase"]["enum"] == list(PHASES)
    conditions = schema("bpftraces")["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    assert all(f"{name}" in conditions["description"] for name in TYPES)


@pytest.mark.parametrize("text", ["90s", "5m", "1h30m", "250ms", "1.5h"])
def test_durations_that_the_schema_takes_are_understood(text: str) -> None:
    pattern = schema("bpftraces")["properties"]["spec"]["properties"]["duration"]["pattern"]
    assert re.search(pattern, text) and parse_duration(text)


@pytest.mark.parametrize("text", ["5", "5 minutes", "-1s", "1d", ""])
def test_durations_that_the_schema_refuses(text: str) -> None:
    pattern = schema("bpftraces")["properties"]["spec"]["properties"]["duration"]["pattern"]
    assert not re.search(pattern, text) and parse_duration(text) is None
