"""The part of a status that has numbers: results, recent and lost, kept under a size.

Keys are dropped the smallest first and counted until the results fit; then the text is cut.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

from kubebpf.operator.conditions import shorten
from kubebpf.operator.merge import Map, keep_top, merge
from kubebpf.operator.model import Json, Trace, format_time, is_int
from kubebpf.operator.picture import picture
from kubebpf.operator.state import LOSSES, Line
from kubebpf.operator.tally import Tally

# Bytes of JSON. A status has at most 32 KiB; conditions and nodeErrors have at most 12 of them (see conditions.MESSAGE_LIMIT).
# The share is fixed: results that are kept while a later program is refused must still fit beside its complaints.
RESULTS_LIMIT = 20 * 1024
RECENT_LIMIT = 6 * 1024
RESERVE = 256  # for braces, commas and names


def results_of(trace: Trace, tally: Tally, frozen: bool, taken: int = 0) -> Json:
    """The members results, recent and lost, in at most RESULTS_LIMIT bytes.

    Args:
        tally: the nodes whose counts are shown.
        frozen: the trace has ended or is suspended: what was merged before never shrinks.
        taken: bytes that something else has of theirs.
    """
    kept = _kept(trace)
    before = kept.get("results")
    old = before if isinstance(before, dict) else {}
    gone = frozen and old.get("generation") == tally.generation and _nodes_in(old) > len(tally.states)
    if gone or not tally.states:
        return kept
    recent = _recent(trace, tally)
    fixed = {"recent": recent, "lost": _lost(tally)} if recent else {"lost": _lost(tally)}
    budget = RESULTS_LIMIT - RESERVE - taken - size_of(fixed)
    maps = merge(state.maps for state in tally.merging)
    top = trace.spec.top if trace.spec else 20
    return {"results": _head(tally) | fit(keep_top(maps, top), budget)} | fixed


def size_of(value: object) -> int:
    """Bytes of the JSON that the API server stores."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _kept(trace: Trace) -> Json:
    """Results of before: a new generation without reports, a suspended trace and a refused program keep showing them."""
    return {name: trace.status[name] for name in ("results", "recent", "lost") if name in trace.status}


def _nodes_in(results: Json) -> int:
    return results["nodes"] if is_int(results.get("nodes")) else 0


def _head(tally: Tally) -> Json:
    times = [state.observed_at for state in tally.merging if state.observed_at]
    head: Json = {"observedAt": format_time(max(times))} if times else {}
    return head | {"generation": tally.generation, "nodes": len(tally.states)}


def _lost(tally: Tally) -> Json:
    sums = {name: sum(state.lost[name] for state in tally.merging) for name in LOSSES}
    return {name: str(total) for name, total in sums.items()} | {"total": str(sum(sums.values()))}


def _recent(trace: Trace, tally: Tally) -> list[Json]:
    """The last lines over all nodes by their time, as many as asked for and as fit."""
    lines: list[Line] = sorted(
        chain.from_iterable(state.recent for state in tally.merging), key=lambda line: (line.moment, line.node)
    )
    count = trace.spec.recent_lines if trace.spec else 50
    written = [line.write() for line in lines[max(len(lines) - count, 0) :]]
    room, kept = RECENT_LIMIT, len(written)
    while kept and (room := room - size_of(written[kept - 1]) - 1) >= 0:
        kept -= 1
    return written[kept:]


def fit(maps: Sequence[Map], budget: int) -> Json:
    """`maps` and `text` in at most `budget` bytes of JSON: the most keys a map that fit, the largest ones."""
    most = max((len(item.rows) for item in maps), default=0)
    whole = _written(maps, most)
    if size_of(whole) <= budget:
        return whole
    low, high = 0, most  # `low` fits or is the last resort, `high` does not fit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size_of(_written(maps, middle)) <= budget else (low, middle)
    return _last_resort(_written(maps, low), budget)


def _written(maps: Sequence[Map], keys: int) -> Json:
    forms = [item.largest(keys).write() for item in maps]
    text = picture(forms)
    return {"maps": forms} | ({"text": text} if text else {})


def _last_resort(written: Json, budget: int) -> Json:
    """Without any key it may still be too long: hundreds of maps. Then the text goes, then the maps."""
    if size_of(written) <= budget:
        return written
    text = {"text": shorten(written.get("text", ""), 200) or "(too large)"}
    small = written | text
    return small if size_of(small) <= budget else {"maps": []} | text
