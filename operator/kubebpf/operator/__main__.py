"""`python -m kubebpf.operator --namespace kubebpf-system`: the operator without the rest of the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kubebpf.operator.main import run


def main() -> int:
    """Read the options and run; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kubebpf.operator", description=__doc__)
    parser.add_argument("--namespace", required=True, help="the system namespace, where compiled objects are stored")
    parser.add_argument("--kubeconfig", type=Path, help="default: the pod's ServiceAccount, else KUBECONFIG or ~/.kube/config")
    parser.add_argument("--btf", type=Path, help="kernel types to compile against (default: this machine's)")
    parser.add_argument("--status-interval", type=float, help="seconds between two writes of results of a trace (default: 15)")
    parser.add_argument("--liveness", help="where to answer health probes, for example http://0.0.0.0:8080/healthz")
    parser.add_argument("--verbose", action="store_true", help="log every event and request")
    return run(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
