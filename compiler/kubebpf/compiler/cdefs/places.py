"""Which files a program's `#include` may reach, and which headers a kernel's BTF stands in for.

A program is somebody else's text: it must not be able to read this machine's files by including them, so whatever clang opened
is compared with these places, symbolic links resolved.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SYSTEM_HEADERS = "/usr/include"
OWN_HEADERS = str(Path(__file__).with_name("include"))
# The folders of headers that the kernel's own source includes. In user space only some of them exist (the uapi ones).
_KERNEL = ("linux/", "asm/", "asm-generic/", "uapi/", "generated/", "trace/", "vdso/")
_KERNEL_PARTS = ("net/", "drm/", "sound/", "scsi/", "rdma/", "media/", "crypto/", "xen/", "kvm/", "acpi/", "video/", "pcmcia/")
_KERNEL_FILES = ("vmlinux.h", "bpf/bpf_helpers.h", "bpf/bpf_tracing.h", "bpf/bpf_core_read.h")


def is_kernel_header(name: str) -> bool:
    """Whether a header, as `#include` names it, is one of the kernel's: BTF has its types.

    >>> is_kernel_header("linux/sched.h"), is_kernel_header("stdio.h")
    (True, False)
    """
    return name.startswith(_KERNEL + _KERNEL_PARTS) or name in _KERNEL_FILES


def is_uapi_file(path: str) -> bool:
    """Whether a file is a system's copy of a kernel header."""
    inside = path.removeprefix(SYSTEM_HEADERS + "/")
    if inside == path:
        return False
    return inside.startswith(_KERNEL) or "-linux-gnu/asm/" in inside


def strangers(files: Iterable[str], folders: Iterable[str]) -> list[str]:
    """The files outside all places that a program may include from."""
    roots = [Path(root).resolve() for root in (SYSTEM_HEADERS, OWN_HEADERS, *folders)]
    return [file for file in files if not any(Path(file).resolve().is_relative_to(root) for root in roots)]
