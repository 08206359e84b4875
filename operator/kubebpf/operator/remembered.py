"""What a trace's status says of earlier looks: after a restart it is all that the operator remembers."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from kubebpf.operator.conditions import COMPILED, read_condition
from kubebpf.operator.kernels import AWAITED_TOO_LONG
from kubebpf.operator.model import Trace, is_int
from kubebpf.operator.outcome import USELESS, Artifact, Refused, warnings_in
from kubebpf.operator.signing import Signature

# Reasons of node errors that are the compiler's, not the node's.
_COMPILERS = frozenset({"CompileFailed", "CompilerLimit", "ObjectTooLarge", USELESS, AWAITED_TOO_LONG.reason})


def known_artifact(trace: Trace) -> Artifact | None:
    """What the status says was compiled for this generation: after a restart nothing is compiled again."""
    condition = _compiled_condition(trace)
    if condition.get("status") != "True":
        return None
    return _artifact(trace.status.get("artifact"), warnings_in(str(condition.get("message", ""))))


def known_variants(trace: Trace) -> dict[str, Artifact]:
    """Likewise the objects for other kernels, by the digest of the kernel's types."""
    condition = _compiled_condition(trace)
    rows = trace.status.get("variants")
    if condition.get("status") != "True" or not isinstance(rows, list):
        return {}
    # Where there is no default object, the warnings in the condition are those of the first of these.
    warnings = "" if isinstance(trace.status.get("artifact"), dict) else warnings_in(str(condition.get("message", "")))
    found: dict[str, Artifact] = {}
    for row in rows:
        one = _artifact(row, "" if found else warnings)
        if one and isinstance(row.get("btf"), str):
            found[row["btf"]] = one
    return found


def named_objects(trace: Trace) -> set[str]:
    """The ConfigMaps that the status names, whatever generation it is about."""
    variants = trace.status.get("variants")
    rows = [trace.status.get("artifact"), *(variants if isinstance(variants, list) else ())]
    return {str(row["configMap"]) for row in rows if isinstance(row, dict) and "configMap" in row}


def _artifact(said: object, warnings: str) -> Artifact | None:
    if not isinstance(said, dict):
        return None
    try:
        signature = Signature(said["key"], said["signature"]) if "signature" in said else None
        unsafe = said.get("unsafe") is True
        return Artifact(said["digest"], said["configMap"], said["size"], said["compileMillis"], warnings, signature, unsafe)
    except KeyError:
        return None


def known_refusal(trace: Trace) -> Refused | None:
    """The refusal that stands for this generation."""
    condition = _compiled_condition(trace)
    return Refused(condition["reason"], condition["message"]) if condition.get("status") == "False" else None


def refusal_beside_variants(trace: Trace, by_default: Set[str]) -> Refused | None:
    """Why there is no default object beside the variants that the status names; None when there is one, or no variant.

    Args:
        by_default: the nodes that would run it.
    """
    if not known_variants(trace) or known_artifact(trace):
        return None
    said = refusals_of_nodes(trace, dict.fromkeys(by_default, ""))
    return replace(said.get("") or Refused("CompileFailed", "the operator's own kernel does not take it"), of_kernel=True)


def refusals_of_nodes(trace: Trace, kernel_of: Mapping[str, str]) -> dict[str, Refused]:
    """Why kernels had no object when the status was written, as far as its node errors tell.

    Args:
        kernel_of: the kernels that are asked for, by node.
    """
    if _compiled_condition(trace).get("status") != "True":
        return {}
    rows = [row for row in trace.status.get("nodeErrors") or () if isinstance(row, Mapping)]
    return {
        kernel_of[str(row["node"])]: Refused(str(row["reason"]), str(row.get("message", "")))
        for row in rows
        if row.get("reason") in _COMPILERS and row.get("node") in kernel_of
    }


def _compiled_condition(trace: Trace) -> Mapping[str, Any]:
    """The condition Compiled, {} when it is about another generation."""
    condition = read_condition(trace.status, COMPILED)
    current = condition.get("observedGeneration") == trace.generation == trace.status.get("observedGeneration")
    return condition if current else {}


def has_ended(trace: Trace) -> bool:
    """Whether this generation has run to its end."""
    return trace.status.get("observedGeneration") == trace.generation and "completedAt" in trace.status


def counted_generation(trace: Trace) -> int | None:
    """The generation whose results are shown, when it is an earlier one."""
    results = trace.status.get("results")
    generation = results.get("generation") if isinstance(results, dict) else None
    return generation if is_int(generation) and generation < trace.generation else None
