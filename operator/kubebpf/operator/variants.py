"""Objects for kernels that the default one is not for: asked for, kept, signed, and remembered by the status alone.

    variants, again = await variation.look(trace, outcome, genuine)

The types of such a kernel come from one of its nodes, on demand (uploads.py), and stay in a folder (views.py); what is compiled
against them comes out of the compiler's memory like everything else. After a restart nothing is compiled that a status names.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kubebpf.compiler.artifact.statement import Grant
from kubebpf.operator.compiling import Answer, Compiled, Compiler
from kubebpf.operator.kernels import (
    AWAITED_TOO_LONG,
    LEFT_OUT,
    MOST,
    NONE,
    Kernels,
    Variants,
    choose,
    is_final,
    kernels_of,
    unfit_nodes,
)
from kubebpf.operator.model import Trace
from kubebpf.operator.objects import Objects
from kubebpf.operator.outcome import USELESS, Artifact, Outcome, Refused
from kubebpf.operator.remembered import has_ended, known_refusal, known_variants, refusal_beside_variants, refusals_of_nodes
from kubebpf.operator.signing import Signer
from kubebpf.operator.store import Store
from kubebpf.operator.uploads import Uploads
from kubebpf.operator.views import Views
from kubebpf.operator.worker import Request

logger = logging.getLogger(__name__)

LINGER = 10.0  # seconds
VMLINUX = Path("/sys/kernel/btf/vmlinux")


def digest_of(types: Path | None) -> str:
    """The digest of the operator's own view, as a BpfNode would spell it; "" when it cannot be read."""
    try:
        return "sha256:" + hashlib.sha256((types or VMLINUX).read_bytes()).hexdigest()
    except OSError:
        return ""


def grant(trace: Trace, artifact: Artifact) -> Grant:
    """The right of a trace to run an object."""
    key = trace.key
    return Grant(key.uid, trace.generation, artifact.digest, key.namespace if key.scoped else "", artifact.unsafe)


Found = Artifact | Refused | None


@dataclass(frozen=True, slots=True)
class Ask:
    """One look at a trace's kernels.

    Args:
        request: what is compiled, against the default view.
        default: what came of that.
        forbids: why the trace may not use unsafe helpers; "" when it may.
    """

    trace: Trace
    request: Request
    default: Outcome
    forbids: Callable[[Trace], str]


class Variation:
    """Finds the objects for other kernels. Its memory is only of how long something has been awaited.

    Args:
        own: the kernel of the default view.
        patience: seconds that types are awaited before the trace says so.
    """

    def __init__(
        self,
        store: Store,
        compiler: Compiler,
        objects: Objects,
        signer: Signer,
        uploads: Uploads,
        views: Views,
        own: str,
        patience: float,
    ) -> None:
        self._store, self._compiler, self._objects, self._signer = store, compiler, objects, signer
        self._uploads, self._views = uploads, views
        self._own, self._patience = own, patience
        self._since: dict[str, tuple[int, dict[str, float]]] = {}
        self._gone: dict[str, dict[str, float]] = {}

    def forget(self, uid: str) -> None:
        """The trace is gone."""
        self._since.pop(uid, None)
        self._gone.pop(uid, None)
        self._uploads.want(uid, frozenset())

    def remembered_refusal(self, trace: Trace) -> Refused | None:
        """What the status says of the default object where there are only others."""
        if not trace.status.get("variants"):
            return None
        kernels = kernels_of(trace.spec, self._store.all_nodes(), self._store.all_bpf_nodes())
        others = {node for digest, nodes in kernels.items() if digest != self._own for node in nodes}
        return refusal_beside_variants(trace, {node.name for node in self._store.all_nodes()} - others)

    async def look(self, ask: Ask) -> tuple[Variants, bool, float | None]:
        """What there is for the kernels of a trace's nodes.

        Returns: that; whether an object was stored just now; the seconds after which to look again, or None.
        """
        trace = ask.trace
        kernels = kernels_of(trace.spec, self._store.all_nodes(), self._store.all_bpf_nodes())
        if has_ended(trace):
            # Nothing will run any more, and nodes may come and go.
            self.forget(trace.key.uid)
            return Variants(kernels, known_variants(trace)), False, None
        known = known_variants(trace)
        digest = ask.default.digest if isinstance(ask.default, Artifact) else ""
        unfit = unfit_nodes(self._store.reports_of(trace.key.uid), trace.generation, digest) if digest else set()
        choice = choose(kernels, ask.default, self._own, unfit, known.keys())
        lingering, again = self._lingering(trace, {} if is_final(ask.default) else known, kernels, MOST - len(choice.chosen))
        if not choice.chosen and not lingering:
            self.forget(trace.key.uid)
            return (replace(NONE, kernels=kernels), False, None)
        stored = False
        found: dict[str, Found] = dict.fromkeys(choice.left_out, LEFT_OUT)
        found |= {kernel: self._signed(ask, one) if self._is_whole(trace, one) else one for kernel, one in lingering.items()}
        missing: set[str] = set()
        for kernel in choice.chosen:
            one = known.get(kernel)
            if one and self._is_whole(trace, one):
                found[kernel] = self._signed(ask, one)
                continue
            answer = self._answer(ask, kernel, missing)
            if isinstance(answer, Compiled) and answer.digest == digest:
                continue  # it would be the object that the node cannot run
            stored |= isinstance(answer, Compiled)
            # What a status says and no key has signed is never signed: whoever wrote it may not be this operator.
            found[kernel] = await self._stored(ask, answer) or one
        self._uploads.want(trace.key.uid, frozenset(missing))
        variants, sooner = self._patiently(trace, dict.fromkeys(lingering, ()) | dict(kernels), found)
        return variants, stored, min((seconds for seconds in (sooner, again) if seconds is not None), default=None)

    def _lingering(
        self, trace: Trace, known: Mapping[str, Artifact], kernels: Kernels, most: int
    ) -> tuple[dict[str, Artifact], float | None]:
        """Variants for kernels that no node seems to have: kept for a moment, because what is known of the nodes may come and go
        with a watch. With it the seconds until one of them goes."""
        now, before = time.monotonic(), self._gone.pop(trace.key.uid, {})
        gone = {kernel: before.get(kernel, now) for kernel in known if kernel not in kernels}
        left = {kernel: since + LINGER - now for kernel, since in sorted(gone.items()) if since + LINGER > now}
        if gone:
            self._gone[trace.key.uid] = gone
        kept = dict(list(left.items())[:most])
        return {kernel: known[kernel] for kernel in kept}, min(kept.values(), default=None)

    def _is_whole(self, trace: Trace, one: Artifact) -> bool:
        """Whether a variant of the status is stored and signed by us."""
        return self._objects.has(one.config_map) and self._signer.verifies(grant(trace, one), one.signature)

    def _answer(self, ask: Ask, kernel: str, missing: set[str]) -> Answer | None:
        """What the compiler says; the kernel is put among the missing ones when its types are."""
        request = ask.request if kernel == self._own else replace(ask.request, view=kernel)
        known = self._compiler.known(request)
        useless = isinstance(known, Refused) and known.reason == USELESS
        if request.view and (known is None or useless) and not self._views.has(kernel):
            missing.add(kernel)
            return known
        return known or self._compiler.ask(ask.trace.key.uid, request)

    async def _stored(self, ask: Ask, answer: Answer | None) -> Found:
        if not isinstance(answer, Compiled):
            return answer
        name = await self._objects.keep(ask.trace.key.uid, answer.digest, answer.elf)
        made = Artifact(answer.digest, name, len(answer.elf), answer.millis, answer.warnings, unsafe=bool(answer.unsafe))
        return self._signed(ask, made)

    def _signed(self, ask: Ask, one: Artifact) -> Artifact | Refused:
        """With the trace's right to run it, if it has that."""
        if one.unsafe and (said := ask.forbids(ask.trace)):
            return Refused("UnsafeNotAllowed", said)
        return replace(one, signature=self._signer.sign(grant(ask.trace, one)))

    def _patiently(self, trace: Trace, kernels: Kernels, found: Mapping[str, Found]) -> tuple[Variants, float | None]:
        """What is not known yet is awaited for a while, and what a status has said before is not taken back meanwhile."""
        objects = {kernel: one for kernel, one in found.items() if isinstance(one, Artifact)}
        refused = {kernel: one for kernel, one in found.items() if isinstance(one, Refused)}
        unknown = [kernel for kernel, one in found.items() if one is None]
        said = refusals_of_nodes(trace, {node: kernel for kernel in unknown for node in kernels[kernel]})
        stands = known_refusal(trace) is not None
        since, now, again = self._awaited_since(trace, unknown), time.monotonic(), None
        awaited = set[str]()
        for kernel in unknown:
            left = since[kernel] + self._patience - now
            if kernel in said:
                refused[kernel] = said[kernel]
            elif stands or left <= 0:
                refused[kernel] = AWAITED_TOO_LONG
            else:
                awaited.add(kernel)
                again = min(left, again) if again is not None else left
        return Variants(kernels, objects, refused, frozenset(awaited)), again

    def _awaited_since(self, trace: Trace, unknown: list[str]) -> dict[str, float]:
        generation, before = self._since.get(trace.key.uid, (0, {}))
        kept = before if generation == trace.generation else {}
        since = {kernel: kept.get(kernel, time.monotonic()) for kernel in unknown}
        self._since[trace.key.uid] = trace.generation, since
        return since
