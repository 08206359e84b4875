"""What the kernel does for some probes only: path(), socket_cookie(), override(), and whether it has a function for programs.

path(args.file.f_path)    socket_cookie(args.sk)    override(-12)    kfunc_exist("bpf_strnlen")

path() and socket_cookie() take pointers that the verifier can follow from the probe's context: they are loaded step by step
instead of being read by a helper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import call, integer, literal_integer, literal_string
from kubebpf.compiler.complaints.helpers import NegativeLength
from kubebpf.compiler.complaints.typing import BadAttachPoint, WrongArgument, WrongProbe
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.emit.members import followed
from kubebpf.compiler.passes.conversions import convert
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import BOOL, U64, VOID, Pointer, String, Struct, sizeof

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.passes.typing import Typing

WITH_PATHS = ("fentry", "fexit", "iter")
WITH_SOCKETS = ("fentry", "fexit", "iter", "rawtracepoint")
SOCKETS = frozenset(
    ("sock", "sock_common", "tcp_sock", "udp_sock", "inet_sock", "inet_connection_sock", "tcp_request_sock", "tcp_timewait_sock",
     "udp6_sock", "tcp6_sock", "unix_sock", "mptcp_sock", "request_sock")
)  # fmt: skip


def elsewhere(t: Typing, node: tree.Call, providers: tuple[str, ...]) -> typed.Bad | None:
    """The refusal of a call in a probe that does not offer the helper, or None."""
    assert t.context is not None
    name = t.context.provider.name
    if name in providers:
        return None
    hint = (f"{node.name}() works in {', '.join(providers)} probes",)
    return t.bad(node, WrongProbe(span=node.span, name=node.name, provider=name, help=hint))


def points_at(value: typed.Expr, names: frozenset[str]) -> bool:
    """Whether a value is, or points to, one of some structs; of an argument that nobody knows it is taken to."""
    found = value.type.target if isinstance(value.type, Pointer) else value.type
    unknown = isinstance(value, typed.Argument) and value.access is None
    return unknown or (isinstance(found, Struct) and found.name in names)


# --- path -------------------------------------------------------------------------------------------------------------


def _check_path(t: Typing, node: tree.Call) -> typed.Expr:
    if refused := elsewhere(t, node, WITH_PATHS):
        return refused
    value, size = t.value(node.arguments[0]), t.settings.max_strlen
    if len(node.arguments) == 2:
        wanted = literal_integer(t, node, 1)
        if wanted is None:
            return t.bad(node)
        if wanted <= 0:
            return t.bad(node, NegativeLength(span=node.arguments[1].span, name="path", found=str(wanted)))
        size = wanted
    if isinstance(value, typed.Bad) or points_at(value, frozenset(("path",))):
        return value if isinstance(value, typed.Bad) else call(t, node, String(size), (value,))
    return t.bad(
        node, WrongArgument(span=value.span, name="path", wanted="a struct path or a pointer to one", found=str(value.type))
    )


def _emit_path(code: Code, node: typed.Call) -> Operand:
    size = sizeof(node.type)
    code.zero(code.destination, size)
    code.helper(Helper.D_PATH, followed(code, node.arguments[0]), code.destination, const(size, "i32"))
    return const(0)


# --- socket_cookie ----------------------------------------------------------------------------------------------------


def _check_cookie(t: Typing, node: tree.Call) -> typed.Expr:
    if refused := elsewhere(t, node, WITH_SOCKETS):
        return refused
    value = t.value(node.arguments[0])
    if isinstance(value, typed.Bad) or points_at(value, SOCKETS):
        return value if isinstance(value, typed.Bad) else call(t, node, U64, (value,))
    return t.bad(
        node, WrongArgument(span=value.span, name="socket_cookie", wanted="a pointer to struct sock", found=str(value.type))
    )


def _emit_cookie(code: Code, node: typed.Call) -> Operand:
    return code.helper(Helper.GET_SOCKET_COOKIE, followed(code, node.arguments[0]))


# --- override ---------------------------------------------------------------------------------------------------------


def _check_override(t: Typing, node: tree.Call) -> typed.Expr:
    assert t.context is not None
    if refused := elsewhere(t, node, ("kprobe",)):
        return refused
    if t.context.target.parts.get("offset") or "address" in t.context.target.parts:
        problem = "override() replaces a whole function: the probe has to be at its start"
        return t.bad(node, BadAttachPoint(span=node.span, problem=problem))
    value = integer(t, node, 0)
    return value if isinstance(value, typed.Bad) else call(t, node, VOID, (convert(value, U64),))


def _emit_override(code: Code, node: typed.Call) -> Operand:
    code.helper(Helper.OVERRIDE_RETURN, code.f.parameter, code.scalar(node.arguments[0]))
    return const(0)


# --- kfunc_exist, kfunc_allowed ---------------------------------------------------------------------------------------


def _check_kfunc(t: Typing, node: tree.Call) -> typed.Expr:
    """The node answers, before the load: the verifier drops the branch that is not for it."""
    assert t.context is not None
    name = literal_string(t, node, 0)
    if name is None:
        return t.bad(node)
    section = t.context.provider.section(t.context.target).partition("/")[0]
    arg = name if node.name == "kfunc_exist" else f"{section}:{name}"
    return typed.LoadTime(span=node.span, type=BOOL, kind=node.name, arg=arg)


ALL = (
    Builtin("path", _check_path, _emit_path, takes=(1, 2)),
    Builtin("socket_cookie", _check_cookie, _emit_cookie, takes=(1, 1)),
    Builtin("override", _check_override, _emit_override, takes=(1, 1), unsafe=True),
    Builtin("kfunc_exist", _check_kfunc, takes=(1, 1)),
    Builtin("kfunc_allowed", _check_kfunc, takes=(1, 1)),
)
