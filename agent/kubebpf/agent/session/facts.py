"""What the compiler left to the node: one function for each kind of constant in the manifest.

    FACTS["ncpus"](constant, options) -> 8

A fact is a number, or bytes for strings; `constants.py` puts it into place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from kubebpf.agent.libbpf.errors import LibbpfError
from kubebpf.agent.libbpf.kfuncs import kfunc_allowed
from kubebpf.agent.libbpf.library import has_helper, possible_cpus
from kubebpf.agent.libbpf.types import FUNCTION, KernelTypes
from kubebpf.agent.session.errors import FactError, ParameterError
from kubebpf.agent.session.options import Options
from kubebpf.compiler.artifact.manifest import Constant, Manifest
from kubebpf.compiler.artifact.parameters import ParameterTextError, boolean, integer, string

Fact = Callable[[Constant, Options], int | bytes]


def kernel_device(device: int) -> int:
    """The kernel's own number of a device, from stat(2)'s.

    bpf_get_ns_current_pid_tgid compares with the kernel's dev_t, 12 bits of major and 20 of minor (include/linux/kdev_t.h); user
    space sees another arrangement of them. They agree for small minors only.
    """
    return os.major(device) << 20 | os.minor(device)


def pid_namespace() -> os.stat_result:
    """This process's pid namespace, as a file."""
    return Path("/proc/self/ns/pid").stat()


def cgroup_id(path: str) -> int:
    """The id that bpf_get_current_cgroup_id gives in a cgroup: the inode number of its directory (kernfs_id on 64-bit kernels).

    Args:
        path: of the directory in a cgroup v2 mount.

    Raises:
        FactError: there is none, or it is not of cgroup v2: version 1 has ids that mean nothing to BPF.
    """
    try:
        status = Path(path).stat()
    except OSError as error:
        raise FactError(f"no cgroup {path}: {error.strerror}") from error
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    if device not in _cgroup2_devices():
        raise FactError(f"{path} is not in a cgroup v2 hierarchy")
    return status.st_ino


def _cgroup2_devices() -> set[str]:
    # mountinfo (proc(5)): id, parent, major:minor, …, "-", type, source, options
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[2] for line in lines if line.partition(" - ")[2].startswith("cgroup2 ")}


def kernel_address(symbol: str) -> int:
    """The address of a kernel symbol.

    Raises:
        FactError: there is none, or addresses are hidden from this process (kernel.kptr_restrict).
    """
    hidden = False
    with Path("/proc/kallsyms").open() as lines:
        for line in lines:
            address, _, name, *_ = line.split()
            if name == symbol and int(address, 16):
                return int(address, 16)
            hidden |= name == symbol
    if hidden:
        raise FactError(f"the address of kernel symbol {symbol} is hidden from this process (kernel.kptr_restrict)")
    raise FactError(f"Failed to resolve kernel symbol: {symbol}")


def wall_offset() -> int:
    """What the boot clock lacks to nanoseconds since 1970, from that of a few readings that took the least time.

    A clock made of both does not step when somebody sets the time, and nodes whose clocks agree number the intervals of a time
    series alike, whatever offset of TAI their kernels know or lack.
    """
    best = least = 0
    for _ in range(5):
        before, wall, after = (time.clock_gettime_ns(c) for c in (time.CLOCK_BOOTTIME, time.CLOCK_REALTIME, time.CLOCK_BOOTTIME))
        if not best or after - before < least:
            best, least = wall - (before + after) // 2, after - before
    return best


def check_parameters(manifest: Manifest, options: Options) -> None:
    """Refuse options that the program does not have.

    Raises:
        ParameterError: naming those it has.
    """
    known = {constant.arg for constant in manifest.constants if constant.kind == "getopt"}
    known |= {name.removeprefix("--") for name in manifest.folded if name.startswith("--")}
    unknown = sorted(set(options.params) - known)
    if not unknown:
        return
    has = ", ".join(f"--{name}" for name in sorted(known)) or "none"
    raise ParameterError(f"the program has no option --{unknown[0]}; its options: {has}")


def _as_given(fact: Fact) -> Fact:
    """Texts that are not what the program takes them for are the person's mistake."""

    def checked(constant: Constant, options: Options) -> int | bytes:
        try:
            return fact(constant, options)
        except ParameterTextError as error:
            raise ParameterError(str(error)) from error

    return checked


def _positional(constant: Constant, options: Options) -> int | bytes:
    # `1+3` is str($1 + 3): what is behind the first three bytes.
    number, _, skipped = constant.arg.partition("+")
    index = int(number)
    text = options.args[index - 1] if index <= len(options.args) else constant.default
    if not constant.string:
        return integer(text or "0", f"${index}")
    data = text.encode("utf-8", "surrogateescape")[int(skipped or "0") :]
    return string(data.decode("utf-8", "surrogateescape"), constant.size, f"${index}")


def _option(constant: Constant, options: Options) -> int | bytes:
    name = f"--{constant.arg}"
    text = options.params.get(constant.arg, constant.default)
    if constant.string:
        return string(text, constant.size, name)
    # The manifest has no type for booleans: the default's spelling is the type, as in the program.
    if constant.default in ("true", "false"):
        return boolean(text, name)
    return integer(text, name)


def _level(which: int) -> Fact:
    def level(constant: Constant, options: Options) -> int:
        return options.scope_levels[which] if options.scope_levels else int(constant.default or "0")

    return level


def _child(constant: Constant, options: Options) -> int:
    if options.child is None and constant.default:
        return int(constant.default)
    if options.child is None:
        raise ParameterError("the program uses cpid, and there is no child process: give a command (-c)")
    return options.child


def _kernel_address(constant: Constant, options: Options) -> int:
    """Of the symbol named, or of the one that the parameter `$N` names."""
    if not constant.arg.startswith("$"):
        return kernel_address(constant.arg)
    index = int(constant.arg[1:])
    if index > len(options.args):
        raise ParameterError(
            f"the program asks for the address of the kernel symbol that {constant.arg} names, and it is not given"
        )
    return kernel_address(options.args[index - 1])


def kfunc_exists(name: str) -> bool:
    """Whether the kernel has a function that it lets programs call by this name; modules are not looked at."""
    try:
        with KernelTypes() as types:
            return types.find(name, FUNCTION) is not None
    except LibbpfError:
        return False  # a kernel without BTF has none


FACTS: dict[str, Fact] = {
    "ncpus": lambda constant, options: possible_cpus(),
    "has_helper": lambda constant, options: int(has_helper(int(constant.arg))),
    "start_boottime": lambda constant, options: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    "start_realtime": lambda constant, options: time.time_ns(),
    "wall_offset": lambda constant, options: wall_offset(),
    "pidns_dev": lambda constant, options: kernel_device(pid_namespace().st_dev),
    "pidns_ino": lambda constant, options: pid_namespace().st_ino,
    "container_level": lambda constant, options: options.container_level or int(constant.default),
    "scope_level_lo": _level(0),
    "scope_level_hi": _level(1),
    "positional": _as_given(_positional),
    "positional_count": lambda constant, options: len(options.args),
    "getopt": _as_given(_option),
    "cgroupid": lambda constant, options: cgroup_id(constant.arg),
    "kaddr": _kernel_address,
    "self_pid": lambda constant, options: os.getpid(),
    "cpid": _child,
    "has_cpid": lambda constant, options: options.child is not None,
    "kfunc_exist": lambda constant, options: kfunc_exists(constant.arg),
    "kfunc_allowed": lambda constant, options: kfunc_allowed(*constant.arg.split(":", 1)),
    "traced": lambda constant, options: options.traced,
    "max_events": lambda constant, options: options.max_events or 0,
}
