"""What is said of a program that is right, but larger than the kernel takes."""

from __future__ import annotations


class TooLargeError(Exception):
    """The program needs more than the kernel gives any program.

    Args:
        what: it needs too much of: `bytes of stack`, `instructions`.
        needed: how many.
        limit: how many there are.
    """

    def __init__(self, what: str, needed: int, limit: int) -> None:
        super().__init__(f"{needed} {what} are needed, of {limit}")
        self.what, self.needed, self.limit = what, needed, limit
