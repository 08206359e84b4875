"""Run-time cases: `kubebpf run -e PROGRAM PARAMS` on this kernel, its output against what is expected."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from conformance.cases import Case, Verdict
from conformance.forked import Forked

_ATTACHED = re.compile(r"^Attached \d+ probes?$|\"attached_probes\"", re.MULTILINE)
_OWN_NAME = re.compile(r"\bbpftrace\b")
_START_SECONDS = 15.0  # a busy machine compiles slowly; the case's own timeout counts from the attach on


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run left behind."""

    out: str
    err: str
    code: int
    timed_out: bool


def name_of(case: Case) -> str:
    """Suite and name."""
    return f"{case['suite']}/{case['name']}"


def judge(case: Case, forked: bool = False) -> Verdict:
    """Run a case and compare; `forked`: in a fork of this process."""
    name, tier = name_of(case), case["tier"]
    if case.get("setup"):
        subprocess.run(case["setup"], shell=True, capture_output=True, check=False, timeout=10)
    with _companions(case.get("before") or ()):
        ran = _run(case, forked)
    if case.get("cleanup"):
        subprocess.run(case["cleanup"], shell=True, capture_output=True, check=False, timeout=10)
    output = ran.out + ran.err
    if "Traceback" in output or "our fault" in output:
        return Verdict(name, tier, f"internal error: {output.strip().splitlines()[-2:]}"[:300], output)
    wrong = [problem for expect in case["expects"] if (problem := _wrong(expect, case, ran))]
    return Verdict(name, tier, "; ".join(wrong + _code(case, ran)), output)


def _code(case: Case, ran: Ran) -> list[str]:
    if "return_code" in case and ran.code != case["return_code"]:
        return [f"exit code {ran.code}, not {case['return_code']}"]
    if case.get("will_fail") and ran.code == 0:
        return ["exit code 0, and it should fail"]
    if not case.get("will_fail") and "return_code" not in case and ran.code not in (0, -15) and not ran.timed_out:
        return [f"exit code {ran.code}: {_telling(ran.err)}"]
    return []


def _telling(text: str) -> str:
    lines = text.strip().splitlines() or ["no message"]
    return next((line for line in lines if "ERROR" in line), lines[-1])[:200]


def _wrong(expect: Case, case: Case, ran: Ran) -> str:
    mode, text = expect["mode"], _OWN_NAME.sub("kubebpf", expect["text"])
    # Which of the two streams came first is not known here; what was said of the attachment came before the program's own lines.
    output = ran.err + ran.out + ran.err
    match mode:
        case "text":
            either = "|".join(map(re.escape, (text, expect["text"])))  # the word may mean the stack mode of that name, too
            found = re.search(rf"^\s*(?:{either})\s*$", output, re.MULTILINE)
            return "" if found else f"no line {text!r}"
        case "regex":
            return "" if re.search(text, output, re.MULTILINE) else f"nothing matches {text!r}"
        case "text_none" | "regex_none":
            pattern = re.escape(text) if mode == "text_none" else text
            return f"{text!r} is there" if re.search(pattern, output, re.MULTILINE) else ""
        case "file":
            wanted = _OWN_NAME.sub("kubebpf", expect["content"])
            if "localize_timestamps" in case:
                wanted = time.strftime(wanted, time.localtime(int(case["localize_timestamps"])))
            return "" if wanted.strip() == ran.out.strip() else f"not the whole output {wanted!r}"
        case "json":
            wanted = _OWN_NAME.sub("kubebpf", expect["content"])
            return "" if _documents(wanted) == _documents(ran.out) else f"not the JSON {' '.join(wanted.split())!r}"
    return f"unknown mode {mode}"


def _documents(text: str) -> list[Any] | str:
    decoder, found, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except ValueError:
            return text
        found.append(document)
        rest = rest[end:].lstrip()
    return found


def _run(case: Case, forked: bool) -> Ran:
    modes = {expect["mode"] for expect in case["expects"]}
    flags = ["-q", "-f", "json"] if "json" in modes else ["-q"] if "file" in modes else []
    flags += ["--unsafe"] if case.get("unsafe") or _asks_unsafe(case) else []
    program = _OWN_NAME.sub("kubebpf", case["program"])
    command = [str(Path(sys.executable).with_name("kubebpf")), "run", *flags, "-e", program, *case.get("params", [])]
    process = Forked(command, case.get("env", {})) if forked else _started(command, case)
    try:
        return _watched(process, case, quiet=bool(flags) and "-q" in flags)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _started(command: list[str], case: Case) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | case.get("env", {}),
    )  # fmt: skip


def _asks_unsafe(case: Case) -> bool:
    # Upstream's runner gives --unsafe to every case but those that are about its lack.
    return not any("--unsafe" in expect["text"] for expect in case["expects"])


def _watched(process: subprocess.Popen[bytes] | Forked, case: Case, quiet: bool) -> Ran:
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Reader(process.stdout), _Reader(process.stderr)
    started = time.monotonic()
    while not quiet and process.poll() is None and time.monotonic() - started < _START_SECONDS:
        if _ATTACHED.search(err.text() + out.text()):
            break
        time.sleep(0.02)
    if case.get("after"):
        _after(case["after"], process.pid)
    timed_out = False
    try:
        process.wait(case["timeout"] + (_START_SECONDS if quiet else 1))
    except subprocess.TimeoutExpired:
        timed_out = True
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.returncode is not None
    return Ran(out.finish(), err.finish(), process.returncode, timed_out)


def _after(command: str, pid: int) -> None:
    shell = command.replace("$(pidof bpftrace)", str(pid))
    subprocess.run(shell, shell=True, capture_output=True, check=False, timeout=20)


class _Reader:
    """Reads a pipe in a thread, so that neither pipe fills up."""

    def __init__(self, stream: IO[bytes]) -> None:
        from threading import Thread

        self._stream, self._data = stream, bytearray()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while chunk := os.read(self._stream.fileno(), 65536):
            self._data += chunk

    def text(self) -> str:
        return bytes(self._data).decode("utf-8", "replace")

    def finish(self) -> str:
        self._thread.join(2)
        self._stream.close()
        return self.text()


@contextmanager
def _companions(commands: str | tuple[str, ...]) -> Iterator[None]:
    names = (commands,) if isinstance(commands, str) else tuple(commands)
    running = [
        subprocess.Popen(c, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for c in names
    ]
    try:
        yield
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, 15)
            process.wait()
