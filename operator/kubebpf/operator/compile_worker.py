"""The process that runs the compiler on users' text: warm, limited, and replaced when it reaches a limit.

    python -m kubebpf.operator.compile_worker MEMORY [BTF [DIGEST]] < requests > answers

With a DIGEST, the file BTF is an upload (views.py). A message is 4 bytes of length, big-endian, and that much JSON. The first
answer tells the kernel view: {"view": "sha256:…"}, or {"unusable": "…", "spoilt": bool} when what was given is no kernel's types
(spoilt: it is not even what its digest says). Each request
{"text": …, "scoped": …, "unsafe": …, "args": […], "params": [[…, …]], "config": [[…, …]]} then gets one answer: {"elf": base64,
"unsafe": […], "folded": […], "millis": n, "warnings": "…"} or {"complaints": "…", "of_kernel": bool}. Nothing of the
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
from kubebpf.compiler.kernel.btf import Btf, BtfError
from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.options import CompileOptions
from kubebpf.compiler.pipeline import compile_script
from kubebpf.operator.limits import allow_processor_time, limit_process
from kubebpf.operator.views import UploadError, read_types

Json = dict[str, Any]

LENGTH = struct.Struct(">I")
REQUEST_LIMIT = 1 << 20
SOURCE = "spec.program"  # what complaints call the text
OPENING = 20  # seconds of processor time for reading a kernel's types: half a second on a slow machine


def main(memory: int, btf: str | None = None, digest: str | None = None) -> int:
    """Answer requests until the pipe closes.

    Args:
        memory: bytes of address space that this process may have.
        btf: a file with the types to compile against; None: this kernel's.
        digest: of an upload; None: the file is BTF as it is.
    """
    limit_process(memory)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not get between the answers.
    os.dup2(2, 1)
    allow_processor_time(OPENING)
    with contextlib.suppress(BrokenPipeError):
        try:
            view = open_view(btf, digest)
            write_message(answers, {"view": view.digest})
        except BtfError as error:
            write_message(answers, {"unusable": str(error), "spoilt": isinstance(error, UploadError)})
            return 1
        while (request := read_message(requests)) is not None:
            allow_processor_time(request["cpu"])
            write_message(answers, answer(request, view))
    return 0


def open_view(btf: str | None, digest: str | None) -> KernelView:
    """The kernel to compile against.

    Raises:
        BtfError: what was given is no kernel's types.
    """
    if btf is None:
        return KernelView.running()
    return KernelView(Btf.parse(read_types(Path(btf), digest))) if digest else KernelView.from_file(Path(btf))


def answer(request: Json, view: KernelView) -> Json:
    """Compile one request."""
    options = CompileOptions(
        source_name=SOURCE,
        scoped=request["scoped"],
        header="context",
        unsafe=request["unsafe"],
        arch=view.machine or os.uname().machine,
        args=tuple(request["args"]),
        params=tuple(map(tuple, request["params"])),
        overrides=tuple(map(tuple, request["config"])),
    )
    began = time.monotonic()
    try:
        done = compile_script(request["text"], view, options)
    except (MemoryError, RecursionError) as error:
        return {"exhausted": type(error).__name__}
    except BtfError as error:
        return {"unusable": str(error)}  # damage shows where it is looked at
    millis = round((time.monotonic() - began) * 1000)
    complaints = "\n".join(render(complaint, done.report.sources) for complaint in done.report)
    if done.artifact is None:
        return {"complaints": complaints, "of_kernel": done.report.of_kernel}
    if not done.artifact.manifest.attaches:
        return {"complaints": f"{complaints}\nERROR: No probes to attach".strip(), "of_kernel": False}
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
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
