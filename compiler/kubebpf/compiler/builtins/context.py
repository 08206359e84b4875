"""What the probe's context holds besides arguments: the context itself, and registers.

ctx    reg("ip")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, literal_string
from kubebpf.compiler.complaints.probes import UnknownRegister
from kubebpf.compiler.complaints.typing import WrongProbe
from kubebpf.compiler.emit.ir import Operand
from kubebpf.compiler.emit.registers import register_names, register_offset
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

# Providers whose context is a pt_regs that a program may read all of.
WITH_REGISTERS = frozenset(("kprobe", "kretprobe", "uprobe", "uretprobe", "usdt"))


def _check_ctx(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    provider = t.context.provider
    if provider.context is None:
        hint = ("Use args instead of ctx in tracepoint",) if provider.name == "tracepoint" else ()
        return t.bad(node, WrongProbe(span=node.span, name="ctx", provider=provider.name, help=hint))
    return call(t, node, provider.context(t, t.context.target))


def _emit_ctx(code: Code, node: typed.Call) -> Operand:
    return code.as_number(code.f.parameter)


def _check_reg(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    provider = t.context.provider
    if provider.name not in WITH_REGISTERS:
        return t.bad(node, WrongProbe(span=node.span, name="reg", provider=provider.name))
    name = literal_string(t, node, 0)
    if name is None:
        return t.bad(node)
    arch = t.options.arch
    if register_offset(arch, name) is None:
        hint = did_you_mean(name, register_names(arch))
        return t.bad(node, UnknownRegister(span=node.span, name=name, arch=arch, help=hint))
    return call(t, node, U64, extra=name)


def _emit_reg(code: Code, node: typed.Call) -> Operand:
    offset = register_offset(code.module.arch, str(node.extra))
    assert offset is not None
    return code.f.load("i64", code.f.offset(code.f.parameter, offset), align=8)


ALL = (
    Builtin("ctx", _check_ctx, _emit_ctx, bare=True),
    Builtin("reg", _check_reg, _emit_reg, takes=(1, 1)),
)
