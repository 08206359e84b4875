"""All builtins, by name. A new one is a record in the module of its subject, listed in that module's ALL."""

from __future__ import annotations

from kubebpf.compiler.builtins import (
    actions,
    addresses,
    aggregates,
    buffers,
    context,
    kernel,
    map_functions,
    output,
    packets,
    parameters,
    pods,
    probe,
    questions,
    stacks,
    strings,
    tables,
    task,
    text,
    unsafe,
    user,
)
from kubebpf.compiler.builtins.record import Builtin

MODULES = (
    task,
    probe,
    stacks,
    strings,
    text,
    buffers,
    questions,
    tables,
    addresses,
    unsafe,
    map_functions,
    aggregates,
    output,
    packets,
    actions,
    parameters,
    user,
    context,
    kernel,
    pods,
)
BUILTINS: dict[str, Builtin] = {builtin.name: builtin for module in MODULES for builtin in module.ALL}
