"""Where a builtin may stand: not everything of a probe is there in functions and in the bodies of `for`.

fn f(): void { print(probe); }          -> OutsideProbe
for ($i : 0..2) { print(args.fd); }     -> InForLoop
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.complaints.flow import InForLoop, OutsideProbe
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.types import typed

if TYPE_CHECKING:
    from kubebpf.compiler.passes.typing import Typing

# What a probe hands over, and what names it: a function has none, because any probe may call it.
OF_PROBES = frozenset(("arg0", "retval", "args", "ctx", "func", "probe", "probetype", "usdt_location"))
# What is read from the program's context; upstream's `for` bodies do not have it.
OF_CONTEXT = frozenset(("arg0", "retval", "args", "ctx"))


def refused_here(t: Typing, node: tree.Expr, name: str, builtin: str) -> typed.Expr | None:
    """The complaint about what only probes have, or have only outside of `for`; None when it may stand here.

    Args:
        name: as written.
        builtin: of the record.
    """
    if t.function is not None and builtin in OF_PROBES:
        return t.bad(node, OutsideProbe(span=node.span, name=name))
    if t.fors and builtin in OF_CONTEXT:
        return t.bad(
            node, InForLoop(span=node.span, name=name.partition(".")[0], help=(f"Assign it in front of the loop: $x = {name};",))
        )
    return None
