"""A builtin is one record: how it is spelled, how a call is typed, and how it becomes instructions.

PID = Builtin("pid", check=gives(U32), emit=lambda code, call: code.shift_right(code.helper(GET_CURRENT_PID_TGID), 32))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code
    from kubebpf.compiler.emit.ir import Operand
    from kubebpf.compiler.passes.typing import Typing

Check = Callable[["Typing", tree.Call], typed.Expr]
Emit = Callable[["Code", typed.Call], "Operand"]


@dataclass(frozen=True, slots=True)
class Builtin:
    """One helper, value or action of the language.

    Args:
        name: as programs spell it.
        check: types a call (a bare name is a call without arguments); gives the typed expression, or Bad after a diagnostic.
        emit: makes the instructions of a checked call and gives its value; an action gives a constant 0. None when `check`
            always gives something other than a Call.
        bare: whether the name alone, without parentheses, is a call.
        takes: the least and the largest number of arguments; the checker words the error.
        unsafe: needs --unsafe or allowUnsafe.
        reads_current: depends on the task that happens to be on the CPU; refused where that task is not the cause.
        unused: the kind of failure that is counted when a call's result is 0 and nobody looks at it; "" for none.
        aggregate: a map function, allowed only as the assigned value of a map.
    """

    name: str
    check: Check
    emit: Emit | None = None
    bare: bool = False
    takes: tuple[int, int] = (0, 0)
    unsafe: bool = False
    reads_current: bool = False
    unused: str = ""
    aggregate: bool = False
