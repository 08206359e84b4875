"""Figures as tables: drawn by rich, or as Markdown. A ratio is ours divided by the peer's: below 1 we are better.

table = Table("Start", ("what", "kubebpf", "bpftrace", "ratio"))
table.compare("wall, ms", 210.0, 400.0)        # -> 210 | 400 | 0.53
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable


@dataclass
class Table:
    """One table.

    Args:
        title: above it.
        columns: their heads; the first is text, the others are figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """One row."""
        self.rows.append(tuple(_shown(cell) for cell in cells))

    def compare(self, what: str, ours: float, peer: float | None) -> None:
        """A row of one figure under both tools; without the peer's, ours alone."""
        self.add(what, *compared(ours, peer))


def compared(ours: float, peer: float | None) -> Sequence[object]:
    """Ours, the peer's and the ratio, as cells."""
    return (ours,) if peer is None else (ours, peer, f"{ours / peer:.2f}")


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell >= 20 else f"{cell:.1f}"
    return str(cell)


def markdown(table: Table) -> str:
    """As a Markdown table with its title as a heading."""
    lines = [f"### {table.title}", "", _line(table.columns), _line(["---"] + ["---:"] * (len(table.columns) - 1))]
    return "\n".join(lines + [_line([_code(row[0]), *row[1:]]) for row in table.rows])


def _code(text: str) -> str:
    """Program text as code."""
    return f"`{text}`" if "@" in text or "(" in text else text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def show(table: Table, console: Console) -> None:
    """On a terminal."""
    drawn = RichTable(title=table.title, title_justify="left")
    for i, column in enumerate(table.columns):
        drawn.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn, markup=False)
