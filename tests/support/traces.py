"""Traces, nodes and reports as an API server would show them, for the operator's pure tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubebpf.operator.model import report_name

Json = dict[str, Any]

DIGEST = "sha256:" + "ab" * 32
UID = "11111111-2222-3333-4444-555555555555"


def trace(generation: int = 1, status: Json | None = None, kind: str = "BpfTrace", **spec: Any) -> Json:
    meta = {
        "name": "t", "namespace": "shop", "uid": UID, "generation": generation,
        "creationTimestamp": "2026-11-22T10:00:00Z", "resourceVersion": "7",
    }  # fmt: skip
    body = {"apiVersion": "kubebpf.dev/v1alpha1", "kind": kind, "metadata": meta}
    return body | {"spec": {"program": "begin { @ = count(); }"} | spec, "status": status or {}}


def node(name: str, ready: str | None = None, **labels: str) -> Json:
    conditions = [] if ready is None else [{"type": "Ready", "status": ready}]
    return {"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}}


def report(node: str, phase: str = "Attached", generation: int = 1, digest: str = DIGEST, **status: Any) -> Json:
    body = {"generation": generation, "digest": digest, "phase": phase, "maps": []} | status
    return {
        "metadata": {"name": report_name("t", UID, node), "namespace": "shop"},
        "spec": {"node": node, "trace": {"kind": "BpfTrace", "name": "t", "namespace": "shop", "uid": UID}},
        "status": body,
    }


def a_map(name: str, kind: str, entries: Iterable[Json], params: Iterable[int] = (), how: str = "", scalar: bool = False) -> Json:
    return {
        "name": name, "kind": kind, "signed": False, "params": [str(p) for p in params], "how": how,
        "scalar": scalar, "entries": list(entries), "dropped": 0,
    }  # fmt: skip


def scalar_count(number: int, name: str = "@") -> Json:
    return a_map(name, "count", [{"key": [], "count": str(number)}], scalar=True)
