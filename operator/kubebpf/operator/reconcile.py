"""One look at one trace: compare what is with what should be, take the steps, write the status once.

    find the object  ->  store it  ->  count the nodes  ->  write the status, if it differs and may be written  ->  tell Events

Looking twice changes nothing; being killed between any two steps loses nothing: the next look starts from the API's objects.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kubebpf.operator.api import Api, ConflictError, GoneError, InvalidError
from kubebpf.operator.compiling import Compiled, Compiler
from kubebpf.operator.conditions import SUCCEEDED, read_condition
from kubebpf.operator.config import Config
from kubebpf.operator.events import Recorder
from kubebpf.operator.exported import program_problems
from kubebpf.operator.kernels import NONE, Variants
from kubebpf.operator.model import Json, Node, Report, Trace, TraceSpec, Uid, parse_time, parse_trace
from kubebpf.operator.objects import Objects
from kubebpf.operator.outcome import Artifact, Outcome, Refused
from kubebpf.operator.pace import Paces
from kubebpf.operator.readings import Readings
from kubebpf.operator.remembered import counted_generation, has_ended, known_artifact, known_refusal
from kubebpf.operator.review import NOBODY, is_reviewed
from kubebpf.operator.schedule import is_over, schedule_problem
from kubebpf.operator.signing import Signer
from kubebpf.operator.status import GRACE, Facts, desired_status, next_look
from kubebpf.operator.store import Store
from kubebpf.operator.tally import Tally, take
from kubebpf.operator.telemetry import WRITES
from kubebpf.operator.turns import Turns
from kubebpf.operator.uploads import Uploads
from kubebpf.operator.variants import Ask, Variation, digest_of, grant
from kubebpf.operator.views import Views
from kubebpf.operator.worker import Request

logger = logging.getLogger(__name__)

FEW_REPORTS = 50  # so many are merged in no time


@dataclass(slots=True)
class Look:
    """One look at a trace, as far as the steps have come."""

    trace: Trace
    outcome: Outcome = None
    genuine: bool = False  # the outcome is this operator's own, not only what the status says
    compiled: Compiled | None = None
    facts: Facts | None = None
    status: Json = field(default_factory=dict)
    schedule: Json | None = None
    variants: Variants = NONE
    stored: bool = False
    again: float | None = None

    def look_again(self, seconds: float | None) -> None:
        """After so many seconds at the latest."""
        if seconds is not None:
            self.again = min(seconds, self.again) if self.again is not None else seconds


class Reconciler:
    """Looks at traces. Its memory saves requests and bounds the rate; what should be follows from the API's objects alone."""

    def __init__(self, config: Config, api: Api, store: Store, compiler: Compiler, uploads: Uploads, views: Views) -> None:
        self._config, self._api, self._store, self._compiler = config, api, store, compiler
        self.objects = Objects(api, config)
        self.signer = Signer(api, config)
        self.own = digest_of(config.btf)
        self._variation = Variation(store, compiler, self.objects, self.signer, uploads, views, self.own, config.patience)
        self._turns = Turns(api, self.signer)
        self._recorder = Recorder(api)
        self._paces = Paces(config.status_interval)
        self._readings = Readings()
        self._merging = asyncio.Lock()
        self._steps: tuple[Callable[[Look], Awaitable[None]], ...] = (
            self._find_object,
            self._store_object,
            self._judge_unsafe,
            self._find_variants,
            self._sign_object,
            self._take_turn,
            self._count_nodes,
            self._write_status,
            self._tell_events,
            self._expire,
        )

    async def look(self, uid: Uid) -> float | None:
        """Look at the trace of that uid; the seconds after which to look again, or None."""
        trace = self._store.trace(uid)
        if trace is None:
            self._forget(uid)
            return None
        if trace.deleting:
            return None
        look = Look(trace)
        try:
            for step in self._steps:
                await step(look)
        except ConflictError:
            return 0.2  # the trace has changed; the watch brings the newer one
        except GoneError:
            return None
        return look.again

    def results_due(self, uid: Uid) -> float:
        """Seconds until results of the trace may be written again."""
        return self._paces.due(uid)

    # -- steps

    async def _find_object(self, look: Look) -> None:
        trace = look.trace
        if trace.spec is None:
            look.outcome = Refused("InvalidSpec", "\n".join(trace.problems))
            return
        if trace.spec.schedule and (problem := schedule_problem(trace.spec.schedule)):
            look.outcome = Refused("InvalidSpec", f"spec.schedule: {problem}")
            return
        known = known_artifact(trace)
        if known and self.objects.has(known.config_map) and self.signer.verifies(grant(trace, known), known.signature):
            look.outcome, look.genuine = known, True
            return
        refused = self._variation.remembered_refusal(trace)
        if refused and has_ended(trace):
            look.outcome = refused
            return
        request = request_of(trace.spec, trace.key.scoped)
        answer = self._compiler.ask(trace.key.uid, request)
        if isinstance(answer, Compiled) and (problems := program_problems(trace.spec.metrics, answer.elf)):
            look.outcome = Refused("InvalidSpec", "\n".join(problems))
            return
        if isinstance(answer, Compiled):
            look.compiled = answer
        # While something is compiled again (a removed object, a refused program after a restart), the trace stays what it was.
        look.outcome = answer if isinstance(answer, Refused) else known or known_refusal(trace) or refused

    async def _store_object(self, look: Look) -> None:
        compiled = look.compiled
        if compiled is None:
            return
        name = await self.objects.keep(look.trace.key.uid, compiled.digest, compiled.elf)
        unsafe = bool(compiled.unsafe)
        look.outcome = Artifact(compiled.digest, name, len(compiled.elf), compiled.millis, compiled.warnings, unsafe=unsafe)
        look.genuine = True

    async def _judge_unsafe(self, look: Look) -> None:
        if isinstance(look.outcome, Artifact) and look.outcome.unsafe and (said := self._forbids_unsafe(look.trace)):
            look.outcome = Refused("UnsafeNotAllowed", said)

    def _forbids_unsafe(self, trace: Trace) -> str:
        """Why this trace may not use unsafe helpers; "" when it may."""
        if self._config.unsafe == "Never":
            return NOBODY
        if self._config.unsafe == "Reviewed" and not is_reviewed(trace, self.signer):
            return (
                "the program uses unsafe helpers, and nobody with the verb useunsafe has applied exactly this spec: "
                "apply it again while the admission webhook is there"
            )
        return ""

    async def _find_variants(self, look: Look) -> None:
        spec = look.trace.spec
        if spec is None:
            return
        request = request_of(spec, look.trace.key.scoped)
        ask = Ask(look.trace, request, look.outcome, self._forbids_unsafe)
        look.variants, look.stored, again = await self._variation.look(ask)
        look.look_again(again)

    async def _sign_object(self, look: Look) -> None:
        # What a status says and no key has signed is never signed: whoever wrote it may not be this operator.
        if isinstance(look.outcome, Artifact) and look.genuine:
            look.outcome = replace(look.outcome, signature=self.signer.sign(grant(look.trace, look.outcome)))

    async def _take_turn(self, look: Look) -> None:
        spec = look.trace.spec
        if spec is not None and spec.schedule and (isinstance(look.outcome, Artifact) or look.variants.objects):
            turns = self._store.owned_by(look.trace.key.uid)
            look.schedule, again = await self._turns.look(look.trace, turns, datetime.now(UTC))
            look.look_again(again)

    async def _expire(self, look: Look) -> None:
        """A trace that has ended is deleted when its time to live is over."""
        spec, completed = look.trace.spec, parse_time(look.status.get("completedAt"))
        over = read_condition(look.status, SUCCEEDED).get("status") in ("True", "False")
        if spec is None or spec.ttl is None or completed is None or not over:
            return
        left = (completed + timedelta(seconds=spec.ttl) - datetime.now(UTC)).total_seconds()
        if left <= 0:
            await self._api.delete_trace(look.trace.key)
            logger.info("%s: deleted, it ended %s ago", look.trace.key.name, datetime.now(UTC) - completed)
        else:
            look.look_again(left)

    async def _count_nodes(self, look: Look) -> None:
        nodes, reports = self._store.all_nodes(), self._store.reports_of(look.trace.key.uid)
        if len(reports) <= FEW_REPORTS:
            look.facts, look.status = await self._count(look, nodes, reports)
        else:
            # One large merge after the other, and rests between them: events of all traces must be taken in meanwhile.
            async with self._merging:
                began = time.monotonic()
                look.facts, look.status = await self._count(look, nodes, reports)
                await asyncio.sleep(time.monotonic() - began)
        if is_settled(replace(look.trace, status=look.status)):
            self._readings.forget(look.trace.key.uid)

    async def _count(self, look: Look, nodes: list[Node], reports: list[Report]) -> tuple[Facts, Json]:
        # A thousand reports take most of a second; probes of the operator's health must be answered meanwhile.
        counting = Counting(
            look.trace, look.outcome, look.variants, nodes, reports, look.schedule, self._readings, self._paces.round
        )
        return await asyncio.to_thread(counting.count)

    async def _write_status(self, look: Look) -> None:
        assert look.facts
        trace, uid = look.trace, look.trace.key.uid
        running = not is_settled(replace(trace, status=look.status)) and not (trace.spec and trace.spec.suspend)
        self._paces.count(uid, len(look.facts.tally.desired) if running else 0)
        look.look_again(next_look(look.facts, look.status))
        if without_age(look.status) == without_age(trace.status):
            if look.compiled is None and not look.stored:
                self.objects.release(uid)
            return
        wait = self._wait_for(trace, look.status)
        if wait > 0:
            look.look_again(wait)
            # Nothing is told that is not written.
            look.status = trace.status
            return
        answer = await self._put(trace, look.status)
        WRITES.inc()
        self._store.overlay(trace, parse_trace(answer))
        look.trace = replace(trace, resource_version=answer.get("metadata", {}).get("resourceVersion", ""))

    async def _put(self, trace: Trace, status: Json) -> Json:
        try:
            return await self._api.write_status(trace.key, trace.resource_version, status)
        except InvalidError as error:
            # Never seen with reports that were read; kept, because one bad member must not silence a trace for ever.
            logger.error("%s/%s: the status was refused, results are left out: %s", trace.key.namespace, trace.key.name, error)
            bare = {name: value for name, value in status.items() if name not in ("results", "recent", "nodeErrors")}
            return await self._api.write_status(trace.key, trace.resource_version, bare)

    async def _tell_events(self, look: Look) -> None:
        await self._recorder.tell(look.trace, look.status, datetime.now(UTC))

    # -- pace

    def _wait_for(self, trace: Trace, status: Json) -> float:
        """Seconds until this status may be written; 0 takes the right to write it now."""
        told = telling(status) != telling(trace.status)
        return self._paces.news(trace.key.uid) if told else self._paces.results(trace.key.uid)

    def _forget(self, uid: Uid) -> None:
        self.objects.release(uid)
        self._recorder.forget(uid)
        self._paces.forget(uid)
        self._readings.forget(uid)
        self._variation.forget(uid)


@dataclass(frozen=True, slots=True)
class Counting:
    """What a status is counted from.

    Args:
        round: seconds in which all agents can have written once.
    """

    trace: Trace
    outcome: Outcome
    variants: Variants
    nodes: list[Node]
    reports: list[Report]
    schedule: Json | None
    readings: Readings
    round: float

    def count(self) -> tuple[Facts, Json]:
        """The facts and the status that follows from them."""
        trace, outcome, read = self.trace, self.outcome, self.readings.read
        digest = outcome.digest if isinstance(outcome, Artifact) else ""
        refused = outcome if isinstance(outcome, Refused) else None
        counted: Tally | None = None
        now = datetime.now(UTC)
        if trace.spec and trace.spec.suspend and (before := counted_generation(trace)):
            counted = take(trace, digest, self.nodes, self.reports, before, now, read, self.variants, refused)
        # The turns of a trace with a schedule run, not it.
        nodes = [] if trace.spec and trace.spec.schedule else self.nodes
        tally = take(trace, digest, nodes, self.reports, None, now, read, self.variants, refused)
        self.readings.keep_only(trace.key.uid, self.reports)
        grace = GRACE + timedelta(seconds=self.round)
        facts = Facts(trace, tally, outcome, now, counted, self.schedule, grace, self.variants)
        return facts, desired_status(facts)


def is_settled(trace: Trace) -> bool:
    """Whether a trace has ended for good, so that nodes may come and go."""
    return trace.status.get("observedGeneration") == trace.generation and is_over(trace)


def request_of(spec: TraceSpec, scoped: bool) -> Request:
    """What is compiled for a spec.

    Args:
        scoped: whether the trace is a namespace's.
    """
    return Request(spec.program, scoped or spec.selects_pods, spec.allow_unsafe, spec.args, spec.params, spec.config)


def without_age(status: Mapping[str, Any]) -> Json:
    """A status without `results.observedAt`: that time alone going on is no change."""
    results = status.get("results")
    rest = {name: value for name, value in status.items() if name != "results"}
    if not isinstance(results, dict):
        return rest
    return rest | {"results": {name: value for name, value in results.items() if name != "observedAt"}}


def telling(status: Mapping[str, Any]) -> Json:
    """The part of a status whose change is written at once: truths and reasons, the object, the start and the end."""
    conditions = status.get("conditions") or []
    truths = {row["type"]: (row["status"], row["reason"], row.get("observedGeneration")) for row in conditions}
    names = ("observedGeneration", "artifact", "variants", "startedAt", "completedAt")
    return {name: status.get(name) for name in names} | {"conditions": truths}
