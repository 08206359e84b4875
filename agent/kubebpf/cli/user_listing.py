"""`kubebpf list` for user programs: the functions and usdt probes of binaries.

kubebpf list 'usdt:libc:*'             usdt:/lib/x86_64-linux-gnu/libc.so.6:libc:setjmp, …
kubebpf list -v 'uprobe:./app:req*'    uprobe:./app:request, and its parameters, if the binary has debug information
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from kubebpf.agent.session.errors import MissingProbeError
from kubebpf.agent.session.points import Node, Target
from kubebpf.cli.problems import error_line
from kubebpf.compiler.artifact.manifest import Attach
from kubebpf.compiler.syntax.attach_points import split
from kubebpf.compiler.syntax.providers import resolve
from kubebpf.compiler.userland.signatures import Signatures

PROVIDERS = ("uprobe", "uretprobe", "usdt")
INDENT = "    "
_SIGNATURES = Signatures()


def wanted(pattern: str) -> tuple[str, ...]:
    """The providers of user programs that a pattern means: those it names, or by a wildcard if a path follows."""
    name, colon, rest = pattern.partition(":")
    provider = resolve(name) or ""
    if provider in PROVIDERS:
        return (provider,)
    by_path = colon and "/" in rest and "*" in provider
    return tuple(p for p in PROVIDERS if by_path and fnmatchcase(p, provider))


def lines(pattern: str, verbose: bool = False, process: int | None = None) -> Iterator[str]:
    """The lines that `list` prints for a pattern.

    Args:
        pattern: an attach point with wildcards; without a function or probe, all of the binary's.
        verbose: add what each is given.
        process: whose files are meant.

    Raises:
        UserError: there is no such binary; for several providers, when none has anything.
    """
    missing, found = list[MissingProbeError](), False
    for provider in wanted(pattern):
        attach, seen = _attach(provider, split(pattern)[1:]), set[str]()
        try:
            for name, target in _places(attach, Node(process=process)):
                if name not in seen:
                    yield name
                    yield from (INDENT + line for line in (_given(attach, target) if verbose else ()))
                seen.add(name)
                found = True
        except MissingProbeError as error:
            missing.append(error)
    if missing and not found:
        raise error_line(missing[0])


def _attach(provider: str, parts: list[str]) -> Attach:
    path, rest = (parts or ["*"])[0], parts[1:]
    target: dict[str, str | int] = {"path": path or "*"}
    if provider == "usdt":
        target |= {"namespace": (rest[0] if len(rest) > 1 else "") or "*", "name": (rest[-1] if rest else "") or "*"}
    else:
        target |= {"function": (rest[-1] if rest else "") or "*", "offset": 0}
        target |= {"language": rest[0]} if len(rest) > 1 else {}
    return Attach(0, "", provider, ":".join((provider, *parts)), target, wildcard=True)


def _places(attach: Attach, node: Node) -> Iterator[tuple[str, Target]]:
    from kubebpf.agent.binaries import places

    return places.probes(attach, node) if attach.provider == "usdt" else places.functions(attach, node)


def _given(attach: Attach, target: Target) -> Iterator[str]:
    from kubebpf.agent.binaries import operands
    from kubebpf.agent.binaries.binary import binary

    if attach.provider == "usdt":
        for number, text in enumerate(operands.split(str(target["arguments"]))):
            yield f"{_operand_type(text)} arg{number}"
        return
    file = binary(str(target["path"]))
    if file.debug is None:
        return
    from kubebpf.compiler.userland.programs import FoundFunction

    signature = _SIGNATURES.of(FoundFunction("", int(target["address"]), file.path, file.debug))
    if signature is not None and attach.provider == "uretprobe":
        yield f"{signature.returns.spelling} retval"
    elif signature is not None:
        yield from (f"{p.spelling} {p.name}".rstrip() for p in signature.parameters)


def _operand_type(text: str) -> str:
    size, at, _ = text.partition("@")
    bits = {"1": 8, "2": 16, "4": 32, "8": 64}.get(size.lstrip("-").rstrip("f"), 64)
    return f"{'' if size.startswith('-') else 'u'}int{bits}" if at else "uint64"
