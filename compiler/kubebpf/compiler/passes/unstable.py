"""Features that the config block switches off, or wants a warning about: `unstable_tseries = error`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kubebpf.compiler.complaints.base import Complaint, Report, Severity
from kubebpf.compiler.options import Settings
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.limits import children


@dataclass(frozen=True, kw_only=True)
class FeatureOff(Complaint):
    """A feature that the program's own config block forbids."""

    title: ClassVar[str] = "{feature} feature is not enabled; set {setting} = enable in the config block"
    feature: str
    setting: str


@dataclass(frozen=True, kw_only=True)
class FeatureUnstable(Complaint):
    """A feature that the program's own config block wants to be told of."""

    severity: ClassVar[Severity] = "warning"
    title: ClassVar[str] = "{feature} is used, and {setting} = warn"
    feature: str
    setting: str


FEATURES = ("dw_ustack", "tseries", "typeinfo")


def check_unstable(program: tree.Program, settings: Settings, report: Report) -> None:
    """Complain once about each feature that is not simply on, where it is used first."""
    levels = {feature: str(getattr(settings, f"unstable_{feature}")) for feature in FEATURES}
    watched = {feature: level for feature, level in levels.items() if level != "enable"}
    waiting: list[tree.Node] = [program] if watched else []
    while waiting and watched:
        node = waiting.pop()
        feature = _feature(node)
        if feature in watched:
            kind = FeatureOff if watched.pop(feature) == "error" else FeatureUnstable
            report.add(kind(span=node.span, feature=feature, setting=f"unstable_{feature}"))
        waiting.extend(reversed(children(node)))


def _feature(node: tree.Node) -> str:
    match node:
        case tree.Call(name="tseries" | "dw_ustack" as name) | tree.Identifier(name="dw_ustack" as name):
            return name
        case tree.Typeinfo():
            return "typeinfo"
        case _:
            return ""
