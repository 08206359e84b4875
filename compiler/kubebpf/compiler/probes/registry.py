"""All probe providers, by name. A new one is a record in a module of its own and a line here."""

from __future__ import annotations

from kubebpf.compiler.probes import functions, special, timers, tracepoints, tracing, usdt, user, watch
from kubebpf.compiler.probes.record import Provider

PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        *special.RECORDS.values(),
        timers.INTERVAL,
        timers.PROFILE,
        timers.SOFTWARE,
        timers.HARDWARE,
        tracepoints.TRACEPOINT,
        tracepoints.RAWTRACEPOINT,
        functions.KPROBE,
        functions.KRETPROBE,
        tracing.FENTRY,
        tracing.FEXIT,
        tracing.ITER,
        watch.WATCHPOINT,
        watch.ASYNCWATCHPOINT,
        user.UPROBE,
        user.URETPROBE,
        usdt.USDT,
    )
}
