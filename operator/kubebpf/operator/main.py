"""`kubebpf operator`: the operator with a runner of its own."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from pathlib import Path

from kubebpf.operator.config import Unsafe, Webhook

logger = logging.getLogger(__name__)

# In an outage kopf logs each attempt of each watch, and urllib3 each of its own: our one line about it is enough.
QUIETER = {
    "kopf": logging.WARNING,
    "kopf._cogs.clients": logging.CRITICAL,
    # At the end it names every object whose events it has not waited for: a line of a hundred kilobytes, and nothing is lost.
    "kopf._core.reactor.queueing": logging.ERROR,
    "urllib3": logging.ERROR,
    "kubernetes": logging.WARNING,
    "asyncio": logging.WARNING,
    # A refusal is told to whoever asked, not to the log as an error of the operator's.
    "kopf.objects": logging.CRITICAL,
    "aiohttp.access": logging.WARNING,
}


def run(
    namespace: str,
    kubeconfig: Path | str | None = None,
    btf: Path | None = None,
    status_interval: float | None = None,
    liveness: str | None = None,
    metrics: str = "",
    unsafe: Unsafe = "Reviewed",
    webhook_port: int | None = None,
    webhook_hosts: tuple[str, ...] = (),
    webhook_configurations: tuple[str, ...] = (),
    verbose: bool = False,
) -> int:
    """Run until SIGTERM or SIGINT.

    Args:
        namespace: the system namespace.
        kubeconfig: how to reach the API server; None: the pod's ServiceAccount, else KUBECONFIG or ~/.kube/config.
        btf: a file with the kernel's types to compile against; None: KUBEBPF_BTF, else this machine's.
        status_interval: seconds between two writes of results of one trace; None: KUBEBPF_STATUS_INTERVAL, else 15.
        liveness: where to answer health probes, for example http://0.0.0.0:8080/healthz; None: nowhere.
        metrics: HOST:PORT where Prometheus may ask; empty: nowhere.
        unsafe: who may use unsafe helpers, see Config.
        webhook_port, webhook_hosts, webhook_configurations: where the admission webhook is served, see Webhook; no port: nowhere.
        verbose: log every event and request.

    Returns:
        the process's exit status: 0, or 1 when nothing says how to reach an API server (told on standard error).
    """
    if kubeconfig:
        # The client library reads the variable when it is imported.
        os.environ["KUBECONFIG"] = str(kubeconfig)
    import kopf
    from kubernetes.config import ConfigException

    from kubebpf.operator import framework, handlers
    from kubebpf.operator.api import Api
    from kubebpf.operator.config import Config

    _configure_log(verbose)
    try:
        # Before kopf starts: it would try again for ever what only a person can mend.
        Api.connect()
    except ConfigException as error:
        logger.error("%s", error)
        return 1
    if metrics and not _serve_metrics(metrics):
        return 1
    environment = Config.from_environment()
    interval = environment.status_interval if status_interval is None else status_interval
    webhook = Webhook(webhook_port, webhook_hosts, webhook_configurations) if webhook_port is not None else None
    settings = replace(
        environment,
        namespace=namespace,
        btf=btf or environment.btf,
        status_interval=interval,
        unsafe=unsafe,
        webhook=webhook,
    )
    memo = kopf.Memo(config=settings)
    assert handlers.TRACES  # the import registers the handlers
    if webhook:
        from kubebpf.operator import admission

        assert admission.check_program
    asyncio.run(framework.run(clusterwide=True, standalone=True, memo=memo, liveness_endpoint=liveness))
    return 0


def _serve_metrics(address: str) -> bool:
    from kubebpf.operator import telemetry

    try:
        logger.info("metrics are served at port %d", telemetry.serve(address))
    except (OSError, ValueError, OverflowError) as error:
        logger.error("--metrics %s: %s", address, error)
        return False
    return True


def _configure_log(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy, level in QUIETER.items():
        logging.getLogger(noisy).setLevel(logging.DEBUG if verbose else level)
