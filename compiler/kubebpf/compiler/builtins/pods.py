"""Who an event belongs to in a cluster: pod, namespace, container, node, names that are found when a value is read.

    @[namespace, pod, container] = count()      -> key: three cgroup ids of the current task's container

In the kernel the first three are one number: the id of the current cgroup, or of its ancestor at the depth where containers lie
on the node, so that cgroups which a container makes for itself do not count as others. The node of all events is the one that
reads them; its number is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubebpf.compiler.builtins.record import Builtin
from kubebpf.compiler.builtins.shapes import gives
from kubebpf.compiler.emit.helpers import Helper
from kubebpf.compiler.emit.ir import Operand, const
from kubebpf.compiler.types import typed
from kubebpf.compiler.types.model import Resolved

if TYPE_CHECKING:
    from kubebpf.compiler.emit.code import Code

# A depth that no cgroup has: where nobody knows the node's layout, the current cgroup stands for itself.
NO_DEPTH = "255"


def _emit_container(code: Code, node: typed.Call) -> Operand:
    current = code.helper(Helper.GET_CURRENT_CGROUP_ID)
    depth = code.f.cast("trunc", code.load_constant("container_level", default=NO_DEPTH), "i32")
    # 0 when the current cgroup is less deep.
    ancestor = code.helper(Helper.GET_CURRENT_ANCESTOR_CGROUP_ID, depth)
    chosen = code.f.select(code.f.compare("ne", ancestor, const(0)), ancestor, current)
    code.f.store(chosen, code.destination, align=8)
    return const(0)


def _emit_node(code: Code, node: typed.Call) -> Operand:
    code.f.store(const(0), code.destination, align=8)
    return const(0)


def _of_container(name: str) -> Builtin:
    return Builtin(name, gives(Resolved(name, 8)), _emit_container, bare=True, reads_current=True)


ALL = (
    _of_container("pod"),
    _of_container("namespace"),
    _of_container("container"),
    Builtin("node", gives(Resolved("node", 8)), _emit_node, bare=True),
)
