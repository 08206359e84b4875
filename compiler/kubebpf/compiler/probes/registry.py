"""All probe providers, by name. A new one is a record in a module of its own and a line here."""

from __future__ import annotations

from kubebpf.compiler.probes import special, timers, tracepoints, usdt, user
from kubebpf.compiler.probes.record import Provider

PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        special.BEGIN,
        special.END,
        timers.INTERVAL,
        timers.PROFILE,
        timers.SOFTWARE,
        timers.HARDWARE,
        tracepoints.TRACEPOINT,
        tracepoints.RAWTRACEPOINT,
        user.UPROBE,
        user.URETPROBE,
        usdt.USDT,
    )
}
