"""Label selectors as Kubernetes has them. One that cannot be evaluated matches nothing.

Selector.from_object({"matchLabels": {"app": "api"}}).matches({"app": "api", "tier": "web"})   -> True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of matchExpressions; matchLabels are `In` with one value."""

    key: str
    operator: str
    values: frozenset[str]

    @property
    def problem(self) -> str:
        """Why it cannot be evaluated; "" when it can (apimachinery, pkg/labels: NewRequirement)."""
        if not self.key:
            return "a requirement without a key"
        if self.operator in ("In", "NotIn"):
            return "" if self.values else f"{self.key}: {self.operator} needs values"
        if self.operator in ("Exists", "DoesNotExist"):
            return f"{self.key}: {self.operator} takes no values" if self.values else ""
        return f"{self.key}: no operator {self.operator!r}"

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it. An operator of the future holds for nothing."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector: all requirements must hold; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether it selects whatever there is."""
        return not self.requirements

    @property
    def problem(self) -> str:
        """Why it cannot be evaluated; "" when it can."""
        return next((requirement.problem for requirement in self.requirements if requirement.problem), "")

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Selector:
        """From the JSON of a metav1.LabelSelector."""
        labels = [Requirement(key, "In", frozenset({value})) for key, value in (obj.get("matchLabels") or {}).items()]
        rest = [
            Requirement(e.get("key", ""), e.get("operator", ""), frozenset(e.get("values") or ()))
            for e in obj.get("matchExpressions") or ()
        ]
        return cls((*labels, *rest))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected; never when the selector cannot be evaluated."""
        return not self.problem and all(requirement.holds(labels) for requirement in self.requirements)
