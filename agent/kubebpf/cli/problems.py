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


def not_installed(error: ModuleNotFoundError) -> UserError:
    """What an installation without all extras lacks: the agent's image has no compiler, the operator's no libbpf."""
    if (error.name or "").startswith("kubebpf."):
        return UserError(f"ERROR: this installation has no {error.name}: pip install 'kubebpf[all]' has everything")
    return UserError(f"ERROR: {error.name} is not installed: pip install 'kubebpf[all]' has everything")


def error_line(message: object) -> UserError:
    """A UserError in the form of every other error: `ERROR: …`."""
    return UserError(f"ERROR: {message}")
