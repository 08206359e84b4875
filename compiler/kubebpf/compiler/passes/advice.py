"""What to write instead, for mistakes that people make often: the hints of diagnostics that only know what is wrong.

kprobe:vfs_read { print(retval) }      retval can not be used with "kprobe" probes; HINT: … kretprobe:vfs_read …
@x = sum()                             sum() requires exactly 1 argument; HINT: sum(n)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing
    from kubebpf.compiler.syntax.span import Span

# How a helper is called, where its name does not tell.
USAGE = {
    "avg": "@x = avg(n)",
    "buf": "buf(address, length)",
    "cgroup_path": "cgroup_path(id) or cgroup_path(id, filter)",
    "count": "@x = count()",
    "delete": "delete(@map, key)",
    "exit": "exit() or exit(code)",
    "has_key": "has_key(@map, key)",
    "hist": "@x = hist(n)",
    "join": "join(array) or join(array, separator)",
    "lhist": "@x = lhist(n, min, max, step)",
    "max": "@x = max(n)",
    "memcmp": "memcmp(left, right, length)",
    "min": "@x = min(n)",
    "ntop": "ntop(address) or ntop(family, address)",
    "print": "print(value), print(@map) or print(@map, top, div)",
    "printf": 'printf("format\\n", values…)',
    "stats": "@x = stats(n)",
    "str": "str(address) or str(address, length)",
    "strftime": 'strftime("%H:%M:%S", nsecs)',
    "strncmp": "strncmp(left, right, length)",
    "sum": "@x = sum(n)",
    "time": 'time("%H:%M:%S\\n")',
    "tseries": "@x = tseries(n, 1s, intervals)",
}

# Names of DTrace and of C, and what they are called here.
CALLED = {
    "arg": "arg0",
    "copyinstr": "str",
    "cpuid": "cpu",
    "execname": "comm",
    "exit_code": "retval",
    "gettid": "tid",
    "lquantize": "lhist",
    "probefunc": "func",
    "probename": "probe",
    "quantize": "hist",
    "return": "retval",
    "return_value": "retval",
    "stack": "kstack",
    "strcmp": "strncmp, or ==",
    "strjoin": "join",
    "stringof": "str",
    "timestamp": "nsecs",
    "trace": "print",
    "tracemem": "buf",
}


def usage(name: str) -> tuple[str, ...]:
    """How a helper is called."""
    return (f"Write {USAGE[name]}.",) if name in USAGE else ()


def for_name(t: Typing, name: str) -> tuple[str, ...]:
    """For a name that nothing has."""
    if name in CALLED:
        return (f"Here this is {CALLED[name]}.",)
    if name in USAGE:
        return usage(name)
    if t.context is not None and name in (t.context.provider.names(t, t.context.target) or ()):
        return (f"An argument of the probe is args.{name}.",)
    return ()


def for_variable(t: Typing, name: str, span: Span) -> tuple[str, ...]:
    """For a variable that is not there, at a place that asks for it."""
    if t.is_builtin(name[1:]):
        return (f"{name[1:]} is written without $.",)
    places = t.places_of(name)
    here = [place for place in places if t.body is not None and t.body.start <= place.start < t.body.end]
    if here and all(place.start > span.start for place in here):
        return ("It gets its first value further down.",)
    if here:
        return (f"A variable ends with the block that it is first set in: write `let {name};` in front of that block.",)
    if places:
        return (f"Variables end with their probe. What another probe shall see is kept in a map: @{name[1:]}[tid] = …",)
    return ()


def for_probe(name: str, provider: str) -> tuple[str, ...]:
    """For what a probe of that kind does not have."""
    returns = {"kprobe": "kretprobe", "uprobe": "uretprobe", "fentry": "fexit"}
    if name == "retval" and provider in returns:
        return (f"It is known when the function returns: use {returns[provider]}.",)
    if name == "args" and provider in ("kprobe", "kretprobe"):
        return ("Use arg0, arg1, … of a kprobe, or fentry and fexit, whose arguments have names.",)
    if name == "argN" and provider in ("tracepoint", "fentry", "fexit"):
        return ("Its arguments have names: args.NAME. `kubebpf list -v` shows them.",)
    if name == "argN" and provider in ("kretprobe", "uretprobe"):
        return ("Arguments are known where the function begins: keep them in a map by tid there.",)
    return ()
