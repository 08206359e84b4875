"""A manifest run on this machine, without a cluster: one node, no pods, the same report, merge and status as in a cluster.

    kubebpf run examples/syscalls.yaml   ->   apiVersion, kind, metadata, status: {conditions, nodes, results, …} as YAML

The trace ends after spec.duration (or --duration), when the program calls exit(), or with Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import yaml

from kubebpf.agent.output.writers import TextOutput
from kubebpf.agent.session.errors import SessionError
from kubebpf.agent.session.options import Options
from kubebpf.agent.session.session import Session
from kubebpf.cli.building import build, complaints, kernel_view
from kubebpf.cli.ends import Ends
from kubebpf.cli.engine import Manner, Run
from kubebpf.cli.local import RunOptions, explained
from kubebpf.cli.problems import UserError, error_line
from kubebpf.cli.progress import progress
from kubebpf.cli.source import Program
from kubebpf.cli.words import Words
from kubebpf.compiler.artifact.state import to_json
from kubebpf.compiler.artifact.values import readable

if TYPE_CHECKING:
    from kubebpf.compiler.artifact.artifact import Artifact
    from kubebpf.operator.model import Trace

Json = dict[str, Any]
_KINDS = ("BpfTrace", "ClusterBpfTrace")
_UID = "local"


def manifest_of(program: Program) -> Json:
    """The trace's object in a YAML file.

    Raises:
        UserError: it is no YAML, or holds no trace.
    """
    try:
        documents = [document for document in yaml.safe_load_all(program.text) if document is not None]
    except yaml.YAMLError as error:
        raise error_line(f"{program.name} is no YAML: {error}") from error
    traces = [d for d in documents if isinstance(d, dict) and d.get("kind") in _KINDS]
    if len(traces) != 1:
        raise error_line(f"{program.name} must hold one BpfTrace or ClusterBpfTrace; it holds {len(traces)}")
    return dict(traces[0])


def program_of(program: Program) -> str:
    """The program text in a manifest.

    Raises:
        UserError: there is none.
    """
    spec = manifest_of(program).get("spec")
    text = spec.get("program") if isinstance(spec, dict) else None
    if not isinstance(text, str):
        raise error_line(f"{program.name}: spec.program: a program is needed")
    return text


def run_manifest(program: Program, options: RunOptions) -> int:
    """Run a manifest and print its final status.

    Returns:
        0; 1 when the trace did not succeed.

    Raises:
        UserError: something that the user can change.
    """
    body, trace = _trace(program)
    local = _Local(trace, options)
    status = local.run()
    shown = {"apiVersion": body.get("apiVersion"), "kind": body.get("kind"), "metadata": body.get("metadata"), "status": status}
    text = yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    if options.output:
        options.output.write_text(text)
    else:
        click.echo(text, nl=False)
    return 0 if _succeeded(status) else 1


def _trace(program: Program) -> tuple[Json, Trace]:
    from kubebpf.operator.model import parse_trace

    body = manifest_of(program)
    metadata = {"namespace": "default"} | (body.get("metadata") or {})
    now = datetime.now(UTC).isoformat()
    trace = parse_trace(body | {"metadata": metadata | {"uid": _UID, "generation": 1, "creationTimestamp": now}, "status": {}})
    if trace.spec is None:
        raise UserError("\n".join(f"ERROR: {program.name}: {problem}" for problem in trace.problems))
    return body, trace


def _succeeded(status: Mapping[str, Any]) -> bool:
    return any(c["type"] == "Succeeded" and c["status"] == "True" for c in status["conditions"])


class _Local:
    """One trace on this machine.

    Args:
        trace: parsed, with a spec.
        options: of the command line; they win over the spec.
    """

    def __init__(self, trace: Trace, options: RunOptions) -> None:
        assert trace.spec is not None
        self.trace, self.spec, self.options = trace, trace.spec, options
        self.node = os.uname().nodename
        self.recent: deque[Json] = deque(maxlen=max(1, self.spec.recent_lines))
        self.report: Json = {"generation": trace.generation, "phase": "Pending"}

    def run(self) -> Json:
        """Compile, trace, and merge: the final status."""
        from kubebpf.operator.outcome import Artifact as Object
        from kubebpf.operator.outcome import Refused

        started = time.monotonic()
        with progress("compiling"):
            built = build(
                self.spec.program,
                "program",
                kernel_view(),
                unsafe=self.spec.allow_unsafe,
                overrides=self.spec.config,
                **self._words().parameters(),
            )
        text = complaints(built.report, self.options.manner.warnings)
        if built.artifact is None:
            return self._status(Refused("CompileFailed", text), "")
        if text:
            click.echo(text, err=True)
        millis = int((time.monotonic() - started) * 1000)
        self._observe(built.artifact)
        found = Object(built.artifact.digest, "", len(built.artifact.elf), millis, text)
        return self._status(found, built.artifact.digest)

    def _observe(self, artifact: Artifact) -> None:
        self.report |= {"digest": artifact.digest}
        try:
            with explained():
                self._traced(artifact)
        except UserError as error:
            reason = error.__cause__.reason if isinstance(error.__cause__, SessionError) else "LoadFailed"
            self.report |= {"phase": "Failed", "reason": reason, "message": str(error).removeprefix("ERROR: ")}

    def _traced(self, artifact: Artifact) -> None:
        spec, options = self.spec, self.options
        duration = options.duration_s or spec.duration
        words = self._words()
        with ExitStack() as stack:
            ends = stack.enter_context(Ends(duration))
            session = stack.enter_context(Session(artifact, Options(args=words.args, params=words.params)))
            manner = Manner(quiet=True, allow_unsafe=spec.allow_unsafe, warnings=options.manner.warnings, print_maps=False)
            run = Run(session, TextOutput(self._said, spec.program), ends, manner)
            with progress(_words(duration), quiet=not sys.stderr.isatty()):
                code = run.go(lambda: self._attached(session))
            self._ended(run, session, code)

    def _words(self) -> Words:
        """The parameters of the spec, and those of the command line in front of them."""
        given = self.options.words
        return Words(given.args or self.spec.args, dict(self.spec.params) | dict(given.params))

    def _attached(self, session: Session) -> None:
        self.report |= {"phase": "Attached", "startedAt": _now(), "probes": session.attached}

    def _ended(self, run: Run, session: Session, code: int) -> None:
        counters = session.counters()
        self.report |= {
            "phase": "Completed",
            "observedAt": _now(),
            "maps": [to_json(state) for state in run.maps()],
            "recent": list(self.recent) if self.spec.recent_lines else [],
            "lost": {"events": str(counters.lost), "mapFull": str(counters.map_full), "missed": "0"},
        }
        if session.exit is not None:
            self.report["exitCode"] = code

    def _said(self, kind: str, text: str) -> None:
        if text.strip("\n"):
            self.recent.append({"time": _now(), "kind": kind, "text": readable(text.rstrip("\n"))})

    def _status(self, outcome: Any, digest: str) -> Json:
        from kubebpf.operator.model import Node, NodeName, parse_report, report_name
        from kubebpf.operator.status import Facts, desired_status
        from kubebpf.operator.tally import take

        node = Node(NodeName(self.node), dict(self.spec.node_selector), ready=True, deleting=False)
        key = self.trace.key
        of = {"kind": key.kind, "namespace": key.namespace, "name": key.name, "uid": key.uid}
        names = {"namespace": key.namespace, "name": report_name(key.name, key.uid, self.node)}
        report = parse_report({"metadata": names, "spec": {"trace": of, "node": self.node}, "status": self.report})
        tally = take(self.trace, digest, [node], [report] if report else [])
        status = desired_status(Facts(self.trace, tally, outcome, datetime.now(UTC)))
        status.get("artifact", {}).pop("configMap", None)
        return status


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(duration: float | None) -> str:
    return "tracing: Ctrl-C ends it" if duration is None else f"tracing for {duration:g} s"


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block literal, so that a histogram is a picture."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # YAML has no block literal for lines that end with a space; nobody misses it there.
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", lines, style="|" if "\n" in lines else None)


_Dumper.add_representer(str, _text)
