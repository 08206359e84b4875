"""What went wrong while the programs ran: lost events, full maps, failed helpers, by their place in the text."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kubebpf.agent.libbpf.map import BpfMap
from kubebpf.compiler.artifact.manifest import Site


@dataclass(frozen=True, slots=True)
class SiteCount:
    """One place that failed.

    Args:
        site: from the manifest.
        count: how often, on all CPUs.
        last: a return code of the helper, the last of one of the CPUs.
    """

    site: Site
    count: int
    last: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Cumulative since the load.

    Args:
        lost: events that found the ring buffer full.
        failures: the other sites with a count, in their order.
    """

    lost: int = 0
    failures: tuple[SiteCount, ...] = ()

    @property
    def map_full(self) -> int:
        """Updates that found a map full."""
        return self._of("map_full")

    @property
    def stacks(self) -> int:
        """Stacks that the kernel did not capture."""
        return self._of("stack")

    def _of(self, kind: str) -> int:
        return sum(failure.count for failure in self.failures if failure.site.kind == kind)


def read_sites(sites: tuple[Site, ...], source: BpfMap) -> Counters:
    """Read `kb_sites`.

    Args:
        sites: of the manifest; their numbers are the map's keys, number 0 being `lost`.
        source: the map, {u64 count, s64 last return code} for each CPU.

    Raises:
        LibbpfError: it cannot be read.
    """
    found = [SiteCount(site, count, last) for site, (count, last) in zip(sites, _counts(source), strict=False)]
    lost = sum(entry.count for entry in found if entry.site.kind == "lost")
    return Counters(lost, tuple(entry for entry in found if entry.count and entry.site.kind != "lost"))


def _counts(source: BpfMap) -> Iterator[tuple[int, int]]:
    """Count and last return code of every entry, in the order of the keys: arrays are walked so."""
    for chunk in source.chunks():
        pairs = list(struct.iter_unpack("<Qq", chunk.values))
        for start in range(0, len(pairs), source.cpus):
            failed = [(count, last) for count, last in pairs[start : start + source.cpus] if count]
            yield sum(count for count, _ in failed), failed[-1][1] if failed else 0
