"""The process that runs the compiler on users' text: warm, limited, and replaced when it reaches a limit.

    python -m kubebpf.operator.compile_worker MEMORY [BTF] < requests > answers

A message is 4 bytes of length, big-endian, and that much JSON. The first answer tells the kernel view: {"view": "sha256:…"}. Each
request {"text": …, "scoped": …, "unsafe": …, "args": […], "params": [[…, …]],
"config": [[…, …]]} then gets one answer: {"elf": base64,
"unsafe": […], "folded": […], "millis": n, "warnings": "…"} or {"complaints": "…"}. Nothing of the
operator lives here: no client, no credentials.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from kubebpf.compiler.complaints.render import render
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import compile_script
from kubebpf.operator.limits import allow_processor_time, limit_process

Json = dict[str, Any]

LENGTH = struct.Struct(">I")
REQUEST_LIMIT = 1 << 20
SOURCE = "spec.program"  # what complaints call the text


def main(memory: int, btf: str | None) -> int:
    """Answer requests until the pipe closes, in `memory` bytes of address space, against the types in `btf` or this kernel's."""
    limit_process(memory)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not get between the answers.
    os.dup2(2, 1)
    view = KernelView.from_file(Path(btf)) if btf else KernelView.running()
    with contextlib.suppress(BrokenPipeError):
        write_message(answers, {"view": view.digest})
        while (request := read_message(requests)) is not None:
            allow_processor_time(request["cpu"])
            write_message(answers, answer(request, view))
    return 0


def answer(request: Json, view: KernelView) -> Json:
    """Compile one request."""
    options = CompileOptions(
        source_name=SOURCE,
        scoped=request["scoped"],
        header="context",
        unsafe=request["unsafe"],
        args=tuple(request["args"]),
        params=tuple(map(tuple, request["params"])),
        overrides=tuple(map(tuple, request["config"])),
    )
    began = time.monotonic()
    try:
        done = compile_script(request["text"], view, options)
    except (MemoryError, RecursionError) as error:
        return {"exhausted": type(error).__name__}
    millis = round((time.monotonic() - began) * 1000)
    complaints = "\n".join(render(complaint, done.report.sources) for complaint in done.report)
    if done.artifact is None:
        return {"complaints": complaints}
    if not done.artifact.manifest.attaches:
        return {"complaints": f"{complaints}\nERROR: No probes to attach".strip()}
    elf = base64.b64encode(done.artifact.elf).decode()
    manifest = done.artifact.manifest
    found = {"elf": elf, "unsafe": list(manifest.unsafe), "folded": list(manifest.folded)}
    return found | {"millis": millis, "warnings": complaints}


def read_message(stream: BinaryIO) -> Json | None:
    """The next message, or None when the other side has gone."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    if length > REQUEST_LIMIT:
        return None
    message: Json = json.loads(stream.read(length))
    return message


def write_message(stream: BinaryIO, message: Json) -> None:
    """Send a message at once."""
    data = json.dumps(message).encode("utf-8", "backslashreplace")
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
