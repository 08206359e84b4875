"""Files and functions stay small enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES, FUNCTION = 500, 60
# Larger ones, with what they may have: nothing is added to them, and nothing to this list without a reason.
LARGER = {
    "agent/kubebpf/agent/cluster/agent.py": 580,  # the loop and what it decides, in its order
    "agent/kubebpf/agent/session/session.py": 600,  # the life of a session, in its order
    "compiler/kubebpf/compiler/complaints/typing.py": 550,  # one dataclass after the other
    "compiler/kubebpf/compiler/syntax/tree.py": 550,  # likewise
    "tests/agent/session/test_session.py": 600,
    "operator/kubebpf/operator/main.py:run": 70,  # the options of a command
    "agent/kubebpf/agent/main.py:run": 70,  # likewise
}
MADE = {"agent/kubebpf/agent/libbpf/bindings.py"}


def test_sizes() -> None:
    found = {}
    for folder in ("compiler", "agent", "operator", "tests", "hack", "bench"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name, text = str(path.relative_to(ROOT)), path.read_text()
            if name in MADE:
                continue
            found[name] = text.count("\n"), LINES
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    found[f"{name}:{node.name}"] = (node.end_lineno or 0) - node.lineno + 1, FUNCTION
    assert not {name: lines for name, (lines, most) in found.items() if lines > LARGER.get(name, most)}
