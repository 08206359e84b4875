"""Maps as Prometheus samples: what `spec.metrics` asks for. Pure functions.

    family(Export("@us", "read_latency_us"), state, {"trace": "reads", …}, top=20)
    -> kubebpf_read_latency_us_bucket{trace="reads", key="cat", le="3"} 5 …

| map | metric |
|---|---|
| count, unsigned sum | counter, `_total` |
| signed sum, min, max, a whole number without a map function | gauge |
| avg, stats | summary: `_sum`, `_count` |
| hist, lhist | histogram: `_bucket` with `le`, the largest number of the bucket; `_count` (a histogram does not know its sum) |

Names and types follow https://prometheus.io/docs/practices/naming/ and the text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import Metric

from kubebpf.agent.cluster.export import Export
from kubebpf.compiler.artifact.cells import Average, Cell, Count, Extreme, Histogram, Last, Sum
from kubebpf.compiler.artifact.histogram import buckets
from kubebpf.compiler.artifact.order import ordered
from kubebpf.compiler.artifact.state import Key, MapState
from kubebpf.compiler.artifact.text import value_text
from kubebpf.compiler.artifact.values import Cgroup, Enum, Text, Value, readable

PREFIX = "kubebpf_"
_TYPES = {
    "count": "counter", "sum": "counter", "min": "gauge", "max": "gauge", "last": "gauge", "avg": "summary", "stats": "summary",
    "hist": "histogram", "lhist": "histogram",
}  # fmt: skip
_WORDS = ("pod", "namespace", "container")


def kind_of(state: MapState) -> str:
    """The type of its metric; "" for a time series, which is none."""
    return "gauge" if state.kind == "sum" and state.signed else _TYPES.get(state.kind, "")


def family(export: Export, state: MapState, common: Mapping[str, str], top: int) -> Metric | None:
    """A map's samples, those of the largest keys; None when there is no metric of this kind.

    Args:
        common: labels of all samples.
        top: keys at most.
    """
    kind = kind_of(state)
    if not kind:
        return None
    base = PREFIX + (export.name.removesuffix("_total") if kind == "counter" else export.name)
    metric = Metric(base, export.help or f"The map {state.name} of a trace.", kind)
    for entry in ordered(state)[::-1][:top]:
        labels = {**common, **key_labels(entry.key, export.labels)}
        for suffix, more, value in _values(state, entry.cell):
            metric.add_sample(base + suffix, labels | more, value)
    return metric


def _values(state: MapState, cell: Cell) -> Iterator[tuple[str, dict[str, str], float]]:
    match cell:
        case Count(number):
            yield "_total", {}, number
        case Sum(number):
            yield "" if state.signed else "_total", {}, number
        case Extreme(_, number):
            yield "", {}, number
        case Average(total, count):
            yield "_sum", {}, total
            yield "_count", {}, count
        case Histogram(slots):
            for bound, count in bounds(state.kind, state.params, slots):
                yield "_bucket", {"le": bound}, count
            yield "_count", {}, cell.total
        case Last(int() as number, _):
            yield "", {}, number
        case Last(Enum(_, number), _):
            yield "", {}, number
        case _:
            return  # text is no number


def bounds(kind: str, params: tuple[int, ...], slots: Sequence[tuple[int, int]]) -> list[tuple[str, int]]:
    """Pairs of the largest number of a bucket and how many numbers are not larger, from the first slot there is to +Inf.

    A `hist` is told by powers of two, however fine its slots are.

    >>> bounds("hist", (0,), ((3, 5),))
    [('-1', 0), ('0', 0), ('1', 0), ('3', 5), ('+Inf', 5)]
    """
    # With the first slot, so that no bucket appears below the ones that a server has seen.
    found = buckets(kind, params, tuple(sorted(({0: 0} | dict(slots)).items())))
    running = list(accumulate(bucket.count for bucket in found))
    told = [
        (str(bucket.high - 1), count)
        for bucket, count in zip(found, running, strict=True)
        if bucket.high is not None and (kind != "hist" or bucket.high & (bucket.high - 1) == 0)
    ]
    return [*told, ("+Inf", running[-1])]


def key_labels(key: Key, names: Sequence[str] = ()) -> dict[str, str]:
    """Labels of a key: its parts under the given names; a cgroup is its pod, namespace and container.

    >>> key_labels(("cat", 3), ("comm",))
    {'comm': 'cat', 'key2': '3'}
    """
    labels: dict[str, str] = {}
    for i, value in enumerate(key):
        for name, text in _parts(value, names[i] if i < len(names) else "", i if len(key) > 1 else None):
            free, more = name, 1
            while free in labels:
                more += 1
                free = f"{name}{more}"
            labels[free] = readable(text.strip("\n"))
    return labels


def _parts(value: Value, name: str, position: int | None) -> Iterator[tuple[str, str]]:
    if isinstance(value, Cgroup) and not value.as_path:
        prefix, pod = f"{name}_" if name else "", value.pod
        yield f"{prefix}namespace", pod.namespace if pod else ""
        yield f"{prefix}pod", pod.name if pod else ""
        yield f"{prefix}container", pod.container if pod else ""
        return
    if isinstance(value, Text) and value.kind in _WORDS:
        yield name or value.kind, value.text
        return
    yield name or ("key" if position is None else f"key{position + 1}"), value_text(value)
