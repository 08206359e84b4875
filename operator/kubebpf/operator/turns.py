"""The turns of scheduled traces: made when they are due, removed when there are too many."""

from __future__ import annotations

import logging
from datetime import datetime

from kubebpf.operator.api import Api, ConflictError
from kubebpf.operator.model import REVIEW, Json, Trace, format_time, parse_time
from kubebpf.operator.review import is_reviewed, review, reviewer
from kubebpf.operator.schedule import is_over, surplus, turn, turn_name, turn_object, turn_spec
from kubebpf.operator.signing import Signer

logger = logging.getLogger(__name__)


class Turns:
    """Looks after the turns of one trace at a time; all it knows is in the API's objects."""

    def __init__(self, api: Api, signer: Signer) -> None:
        self._api, self._signer = api, signer

    async def look(self, trace: Trace, turns: list[Trace], now: datetime) -> tuple[Json, float]:
        """Make the turn that is due, remove what is too much.

        Args:
            turns: the traces that this one controls.

        Returns:
            `status.schedule` as it should be, and the seconds until the next turn.

        Raises:
            CronSimError: the schedule is none.
            ApiError: a turn could not be made or removed.
        """
        assert trace.spec
        before = trace.status.get("schedule")
        before = before if isinstance(before, dict) else {}
        done = parse_time(before.get("lastTime")) or trace.created
        around = turn(trace.spec.schedule, done, now)
        active = sorted(each.key.name for each in turns if not is_over(each))
        said: Json = {"nextTime": format_time(around.next)}
        said |= {name: before[name] for name in ("lastTime", "last") if name in before}
        if around.due is not None and not trace.spec.suspend:
            said["lastTime"] = format_time(around.due)
            if not active:
                said["last"] = await self._make(trace, around.due)
                active = [said["last"]]
            elif turn_name(trace.key.name, around.due) not in active:
                logger.info("%s: the turn of %s is left out, %s still runs", trace.key.name, around.due, active[0])
        for each in surplus(turns, trace.spec.history):
            await self._api.delete_trace(each.key)
        said["active"] = active[:16]
        return said, (around.next - now).total_seconds() + 0.05

    async def _make(self, trace: Trace, at: datetime) -> str:
        body = await self._api.get_trace(trace.key)
        annotations = {}
        if is_reviewed(trace, self._signer):
            # The right to use unsafe helpers was given to the schedule, so to its turns.
            user = reviewer(trace)
            annotations[REVIEW] = review(self._signer, trace.key.kind, trace.key.namespace, turn_spec(body["spec"]), user)
        name = turn_name(trace.key.name, at)
        try:
            await self._api.create_trace(trace.key, turn_object(body, trace.key, at, annotations))
        except ConflictError:
            logger.debug("the turn %s is there already", name)
        return name
