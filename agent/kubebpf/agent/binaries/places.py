"""From attach points of user programs to places in files: functions, addresses, source lines, usdt probes.

    uprobe:libc:getpp*   ->   ("uprobe:/usr/lib/x86_64-linux-gnu/libc.so.6:getppid", {path, offset, address})

`offset` is where the file is probed, `address` the same place as the file's symbols count it; usdt places have `semaphore`, a
place in the file or 0, and their operands, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kubebpf.agent.binaries import instructions, lines, usdt
from kubebpf.agent.binaries.binary import DAMAGE, Binary, NotElfError, binary
from kubebpf.agent.binaries.files import NoFileError, files
from kubebpf.agent.binaries.tables import Symbol
from kubebpf.agent.libbpf.demangle import NoDemanglerError
from kubebpf.agent.session.errors import MissingProbeError
from kubebpf.agent.session.points import Node, Target
from kubebpf.agent.session.wildcards import is_wildcard, pattern
from kubebpf.compiler.artifact.manifest import Attach

Found = tuple[str, Target]
_In = Callable[[Attach, Binary, str, Node], Iterator[Found]]


def functions(attach: Attach, node: Node) -> Iterator[Found]:
    """Functions, addresses and lines.

    Raises:
        MissingProbeError: no such file, no such function, or a place that must not be probed.
    """
    target = attach.target
    what = f"function {target['function']}" if "source" not in target else f"code of {target['source']}:{target['line']}"
    return _everywhere(attach, node, _functions_in, f"no {what}")


def probes(attach: Attach, node: Node) -> Iterator[Found]:
    """Places of usdt probes.

    Raises:
        MissingProbeError: no such file, or no such probe.
    """
    name = f"{attach.target['namespace']}:{attach.target['name']}".removeprefix("*:")
    return _everywhere(attach, node, _probes_in, f"no usdt probe {name}")


def _everywhere(attach: Attach, node: Node, look: _In, nothing: str) -> Iterator[Found]:
    path = str(attach.target["path"])
    several, any_ = is_wildcard(path), False
    try:
        found = files(path, node.process or node.root)
    except NoFileError as error:
        raise MissingProbeError(attach.text, str(error)) from error
    for shown, file in found:
        try:
            for place in look(attach, binary(file), shown, node):
                any_ = True
                yield place
        except (OSError, NotElfError, NoDemanglerError) as error:
            if not several or isinstance(error, NoDemanglerError):
                raise MissingProbeError(attach.text, str(error)) from error
        except DAMAGE as error:
            if not several:
                raise MissingProbeError(attach.text, f"{shown} is damaged: {error}") from error
    if not any_:
        where = path if several else found[0][0]
        raise MissingProbeError(attach.text, f"{nothing} in {where}")


def in_file(attach: Attach, shown: str, file: str, node: Node) -> list[Found]:
    """The places of an attach point in one file.

    Args:
        shown: the file's path as people know it.
        file: the path to open.

    Raises:
        MissingProbeError: a place that must not be probed.
        OSError, NotElfError, NoDemanglerError: the file cannot be read.
    """
    look = _probes_in if attach.provider == "usdt" else _functions_in
    return list(look(attach, binary(file), shown, node))


# --- functions --------------------------------------------------------------------------------------------------------


def _functions_in(attach: Attach, file: Binary, shown: str, node: Node) -> Iterator[Found]:
    target, offset = attach.target, int(attach.target["offset"])
    head = f"{attach.provider}:{shown}"
    if "source" in target:
        yield from _lines_in(attach, file, head)
    elif not target["function"]:
        if not node.unsafe and _is_misread(file, offset):
            raise MissingProbeError(attach.text, _MISREAD)
        _check_address(attach, file, offset, node)
        yield f"{head}:{attach.text.rpartition(':')[2]}", _place(attach, file, offset)
    else:
        for name, symbol in named(file, str(target["function"]), str(target.get("language", ""))):
            if not node.unsafe and _is_misread(file, symbol.address + offset):
                if is_wildcard(str(target["function"])):
                    continue
                raise MissingProbeError(attach.text, _MISREAD)
            _check_offset(attach, file, symbol, offset, node)
            suffix = f"+{offset}" if offset else ""
            yield f"{head}:{name}{suffix}", _place(attach, file, symbol.address + offset)


def named(file: Binary, name: str, language: str) -> list[tuple[str, Symbol]]:
    """The functions that a name means, each with what it is called in the names of probes.

    Args:
        file: where they are.
        name: or a pattern.
        language: cpp for a name of C++.
    """
    if language == "cpp":
        symbols = [symbol for _, symbol in file.mangled(name)] or file.functions(name)
        return [(f"cpp:{symbol.name}", symbol) for symbol in symbols]
    if is_wildcard(name):
        return [(symbol.name, symbol) for symbol in file.functions(name)]
    symbol = file.function(name)
    return [] if symbol is None else [(name, symbol)]


def _place(attach: Attach, file: Binary, address: int) -> Target:
    offset = file.offset(address)
    if offset is None:
        raise MissingProbeError(attach.text, f"{address:#x} is no address of code in {file.path}")
    return {"path": file.path, "offset": offset, "address": address}


def _check_offset(attach: Attach, file: Binary, symbol: Symbol, offset: int, node: Node) -> None:
    if symbol.size and offset >= symbol.size:
        raise MissingProbeError(attach.text, f"{symbol.name} has only {symbol.size} bytes")
    if offset and not node.unsafe:
        _check_boundary(attach, file, symbol, offset)


def _check_address(attach: Attach, file: Binary, address: int, node: Node) -> None:
    symbol = file.around(address)
    if node.unsafe or file.offset(address) is None:
        return
    if symbol is None:
        raise MissingProbeError(attach.text, f"no function is known at {address:#x}, nor where its instructions start; {_FORCE}")
    _check_boundary(attach, file, symbol, address - symbol.address)


_MISREAD = "the kernel would take this vector instruction for another one and break the program; --unsafe attaches nevertheless"


def _is_misread(file: Binary, address: int) -> bool:
    return instructions.is_misread(file.bytes_at(address, instructions.LONGEST))


_FORCE = "--unsafe attaches there nevertheless, and may destroy the program"


def _check_boundary(attach: Attach, file: Binary, symbol: Symbol, offset: int) -> None:
    code = file.bytes_at(symbol.address, offset + instructions.LONGEST)
    start = instructions.start_before(code, offset)
    if start is None:
        raise MissingProbeError(attach.text, f"where the instructions of {symbol.name} start is not known; {_FORCE}")
    if start != offset:
        near = f"the next one before it is at {symbol.name}+{start}"
        raise MissingProbeError(attach.text, f"{symbol.name}+{offset} is in the middle of an instruction, {near}; {_FORCE}")


def _lines_in(attach: Attach, file: Binary, head: str) -> Iterator[Found]:
    source, line, column = str(attach.target["source"]), int(attach.target["line"]), int(attach.target["column"])
    where = f"@{source}:{line}" + (f":{column}" if column else "")
    if file.debug is None:
        raise MissingProbeError(attach.text, f"{file.path} has no DWARF debug information: its lines are not known")
    for address in lines.addresses(file.debug, source, line, column):
        yield f"{head}{where}", _place(attach, file, address)


# --- usdt -------------------------------------------------------------------------------------------------------------


def _probes_in(attach: Attach, file: Binary, shown: str, node: Node) -> Iterator[Found]:
    namespace, name = (pattern(str(attach.target[part])).fullmatch for part in ("namespace", "name"))
    for probe in usdt.probes(file):
        if not namespace(probe.namespace) or not name(probe.name):
            continue
        semaphore = file.offset(probe.semaphore, code=False) if probe.semaphore else 0
        yield (
            f"{attach.provider}:{shown}:{probe.namespace}:{probe.name}",
            _place(attach, file, probe.address)
            | {
                "semaphore": semaphore or 0,
                "arguments": probe.arguments,
            },
        )
