"""Wildcards of attach points: `*` for any characters, `[abc]` for one of these; nothing else is special."""

from __future__ import annotations

import re


def is_wildcard(text: str) -> bool:
    """Whether a part of an attach point has a wildcard."""
    return "*" in text or "[" in text


def pattern(text: str) -> re.Pattern[str]:
    """The regular expression for a part of an attach point; use its fullmatch."""
    parts = re.split(r"(\*|\[[^\]]*\])", text)
    return re.compile("".join(_piece(part) for part in parts), re.DOTALL)


def _piece(part: str) -> str:
    if part == "*":
        return ".*"
    if part.startswith("[") and part.endswith("]") and len(part) > 2:
        return "[" + re.escape(part[1:-1]).replace(r"\-", "-") + "]"
    return re.escape(part)
