"""The admission webhook: a broken program is refused while kubectl still waits, with every diagnostic, line, column and caret.

    kubectl apply -f broken.yaml
    Error from server: … denied the request: spec.program:2:8-16: ERROR: Undefined function: coutn …

A program is compiled here exactly as it will be for the nodes, in the same bounded process, and the answer is kept for the look
that follows. What cannot be answered in time is let in with a warning: the condition Compiled tells the rest. So is a program
that only the operator's own kernel does not take, where nodes have others. Unsafe helpers are another matter: they need the verb
`useunsafe` of whoever writes the trace, asked of the API server, and without that answer they are never granted (review.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kopf

from kubebpf.operator.app import Operator
from kubebpf.operator.compiling import Compiled
from kubebpf.operator.exported import program_problems
from kubebpf.operator.handlers import CLUSTER_TRACES, TRACES
from kubebpf.operator.model import REVIEW as ANNOTATION
from kubebpf.operator.model import parse_spec
from kubebpf.operator.outcome import Refused
from kubebpf.operator.review import NOBODY, VERB
from kubebpf.operator.schedule import schedule_problem

# Of the API server's ten seconds; the rest is for the way and for a busy machine.
SECONDS = 7.0
INVALID, FORBIDDEN = 422, 403
ELSEWHERE = "the operator's own kernel does not take this program; it is compiled for the nodes that have another one"


@kopf.on.validate(*TRACES, id="program", operations=["CREATE", "UPDATE"])
@kopf.on.validate(*CLUSTER_TRACES, id="program", operations=["CREATE", "UPDATE"])
async def check_program(memo: kopf.Memo, body: kopf.Body, warnings: list[str], namespace: str | None, **event: Any) -> None:
    """Refuse a spec that is wrong and a program that does not compile; pass the compiler's warnings on."""
    if _before(event).get("spec") == body.get("spec"):
        return  # labels, finalizers, ownership: not to be stopped by a program that was let in long ago
    spec, problems = parse_spec(body.get("spec"))
    if spec is None:
        raise kopf.AdmissionError("\n".join(problems), code=INVALID)
    if spec.schedule and (problem := schedule_problem(spec.schedule)):
        raise kopf.AdmissionError(f"spec.schedule: {problem}", code=INVALID)
    operator: Operator = memo.operator
    answer = await operator.compile(spec, scoped=bool(namespace), seconds=SECONDS)
    if isinstance(answer, Compiled) and (wrong := program_problems(spec.metrics, answer.elf)):
        raise kopf.AdmissionError("\n".join(wrong), code=INVALID)
    match answer:
        case Refused(reason="CompilerLimit") | None:
            warnings.append("the program was not compiled in time: see the condition Compiled")
        case Refused(message=message, of_kernel=True) if operator.other_kernels():
            warnings.append(ELSEWHERE)
            warnings.extend(message.splitlines())  # a line each, as below; in kubectl they stand under each other
        case Refused(message=message):
            raise kopf.AdmissionError("\n" + message, code=INVALID)
        case Compiled(warnings=text) if text:
            # A header line cannot have line breaks (RFC 7230); kubectl prints one line each.
            warnings.extend(line for line in text.splitlines() if "WARNING" in line)


@kopf.on.mutate(*TRACES, id="unsafe", operations=["CREATE", "UPDATE"])
@kopf.on.mutate(*CLUSTER_TRACES, id="unsafe", operations=["CREATE", "UPDATE"])
async def review_unsafe(
    memo: kopf.Memo, body: kopf.Body, patch: kopf.Patch, userinfo: Any, namespace: str | None, **event: Any
) -> None:
    """Ask whether this user may use unsafe helpers, and remember who was allowed to."""
    spec, _problems = parse_spec(body.get("spec"))
    old = _before(event)
    if old.get("spec") == body.get("spec") and _said(old) == _said(body):
        return
    if spec is None or not spec.allow_unsafe:
        if _said(body) is not None:
            patch.metadata.annotations[ANNOTATION] = None
        return
    operator: Operator = memo.operator
    if await operator.is_reviewed(body):
        return  # a turn of a reviewed schedule, made by the operator
    if operator.unsafe_policy == "Never":
        raise kopf.AdmissionError(f"spec.allowUnsafe: {NOBODY}", code=FORBIDDEN)
    if operator.unsafe_policy == "Always":
        return
    if not await operator.may_use_unsafe(userinfo, namespace or ""):
        who = userinfo.get("username", "")
        where = f'in namespace "{namespace}"' if namespace else "cluster-wide"
        what = "bpftraces" if namespace else "clusterbpftraces"
        said = f'spec.allowUnsafe: user "{who}" may not {VERB} {what}.kubebpf.dev {where}'
        raise kopf.AdmissionError(f"{said}; an administrator can grant the verb {VERB} in a role", code=FORBIDDEN)
    patch.metadata.annotations[ANNOTATION] = await operator.review(body, namespace or "", str(userinfo.get("username", "")))


def _before(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object before an update; nothing before a creation."""
    return event.get("old") or {}


def _said(body: Mapping[str, Any]) -> object:
    return ((body.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION)
