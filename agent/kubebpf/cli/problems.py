"""What ends a command with a message instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can act on; printed as it is.

    Args:
        message: for standard error.
        code: of the process: 1 for a wrong program or machine, 2 for a wrong command line.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def error_line(message: object) -> UserError:
    """A UserError in the form of every other error: `ERROR: …`."""
    return UserError(f"ERROR: {message}")
