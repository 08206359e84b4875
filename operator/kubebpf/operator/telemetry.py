"""What the operator shows Prometheus of itself, served in a thread of its own.

    telemetry.serve("127.0.0.1:9464")        http://127.0.0.1:9464/metrics

Counts of maps are the agents' to show (`spec.metrics`).
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

LEADS = Gauge("kubebpf_operator_leads", "1 while this replica does the work.", registry=REGISTRY)
COMPILATIONS = Counter(
    "kubebpf_operator_compilations", "Programs that were compiled, by what came of it.", ["outcome"], registry=REGISTRY
)
COMPILE_SECONDS = Histogram(
    "kubebpf_operator_compile_seconds", "How long a compilation took.", buckets=_SECONDS, registry=REGISTRY
)
LOOKS = Histogram("kubebpf_operator_reconcile_seconds", "How long a look at a trace took.", buckets=_SECONDS, registry=REGISTRY)
FAILURES = Counter("kubebpf_operator_reconcile_failures", "Looks that ended with an error and are repeated.", registry=REGISTRY)
WRITES = Counter("kubebpf_operator_status_writes", "Writes of the status of a trace.", registry=REGISTRY)


def serve(address: str) -> int:
    """Answer scrapes until the process ends.

    Args:
        address: HOST:PORT; port 0: any that is free.

    Returns:
        the port.

    Raises:
        OSError, ValueError: it cannot be had.
    """
    host, _, port = address.rpartition(":")
    server, _ = start_http_server(int(port), host.strip("[]"), REGISTRY)
    return int(server.server_port)
