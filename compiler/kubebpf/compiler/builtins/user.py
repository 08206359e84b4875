"""What programs ask about the traced binary: uaddr()."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, literal_string
from kubebpf.compiler.complaints.typing import WrongProbe
from kubebpf.compiler.emit import operands
from kubebpf.compiler.emit.arguments import instruction_pointer
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import U64, Int, Pointer, Space

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

PROVIDERS = ("uprobe", "uretprobe", "usdt")


def _check_uaddr(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    provider = t.context.provider.name
    if provider not in PROVIDERS:
        return t.bad(node, WrongProbe(span=node.span, name="uaddr", provider=provider))
    symbol = literal_string(t, node, 0)
    return t.bad(node) if symbol is None else call(t, node, Pointer(_pointed(t, symbol), Space.USER), extra=symbol)


def _pointed(t: Typing, symbol: str) -> Int:
    """What is at a symbol: the ELF file says its size, where it is here."""
    assert t.context is not None
    programs = t.view.programs
    size = programs.symbol_size(str(t.context.target.parts["path"]), symbol) if programs else None
    return Int(size * 8, False) if size in (1, 2, 4, 8) else U64


def _emit_uaddr(code: Code, node: typed.Call) -> Operand:
    # At a function's entry the registers say where the program is. Where it returns, they say where to.
    returns = code.target.provider.name == "uretprobe"
    ip = code.helper(Helper.GET_FUNC_IP, code.f.parameter) if returns else instruction_pointer(code)
    return operands.address(code, str(node.extra), ip)


ALL = (Builtin("uaddr", _check_uaddr, _emit_uaddr, takes=(1, 1)),)
