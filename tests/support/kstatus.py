"""What kstatus says of an object: the rules of sigs.k8s.io/cli-utils (pkg/kstatus/status), written anew from their description.

    kstatus(trace)  -> "Current"

Flux, kustomize and kpt go by this; `kubectl wait` looks at one condition only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Verdict = Literal["InProgress", "Failed", "Current", "Terminating"]


def kstatus(body: Mapping[str, Any]) -> Verdict:
    """The verdict on a custom resource."""
    meta, status = body["metadata"], body.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != meta.get("generation"):
        return "InProgress"
    rows = [(row["type"], row["status"]) for row in status.get("conditions") or ()]
    for row in rows:
        if row == ("Reconciling", "True"):
            return "InProgress"
        if row == ("Stalled", "True"):
            return "Failed"
    for kind, truth in rows:
        if kind == "Ready":
            return "Current" if truth == "True" else "InProgress"
    # An object without conditions counts as current: so a trace must never stay without for long.
    return "Current"
