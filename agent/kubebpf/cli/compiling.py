"""The compiler in a process of its own, at work while this one gets ready to load what it makes.

    compiling = Compiling.start(text, "stdin")     before numpy, libbpf and the session are imported
    …
    artifact = compiling.artifact()                the diagnostics are on standard error

Most of a short run is imports. With the compiler and LLVM in one process, the session and libbpf in the other, a program that
prints a line takes 0.26 s instead of 0.45 s on two CPUs. And where LLVM aborts, it ends the child and not the trace.
"""

from __future__ import annotations

import os
import pickle
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

import click

from kubebpf.cli.problems import UserError, error_line, not_installed

if TYPE_CHECKING:
    from kubebpf.compiler.artifact.artifact import Artifact


class CompilerCrashError(Exception):
    """The compiler's process ended without an answer, or with an exception that is nobody's mistake but ours."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the compiler's process says.

    Args:
        elf: the object, or None.
        said: the diagnostics as text.
        refusal: the message of a UserError.
        crash: the last line of an exception, and its traceback.
    """

    elf: bytes | None = None
    said: str = ""
    refusal: str = ""
    crash: tuple[str, str] = ("", "")


class Compiling:
    """A compilation under way.

    Args:
        pid: of its process.
        pipe: where its answer comes.
    """

    def __init__(self, pid: int, pipe: int) -> None:
        self._pid, self._pipe = pid, pipe

    @classmethod
    def start(cls, text: str, name: str, unsafe: bool = False, warnings: bool = True, **options: Any) -> Self:
        """Fork. No thread may run yet.

        Args:
            text: of the program.
            name: in diagnostics.
            unsafe: allow unsafe helpers.
            warnings: show them.
            options: further arguments of `build`, by name.
        """
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _compile(writing, text, name, unsafe, warnings, options)
        os.close(writing)
        return cls(pid, reading)

    def answer(self) -> Answer:
        """Wait for the end of the process, and say what it said.

        Raises:
            CompilerCrashError: it said nothing.
        """
        with open(self._pipe, "rb") as pipe:  # noqa: PTH123 - a descriptor
            data = pipe.read()
        _, status = os.waitpid(self._pid, 0)
        if not data:
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            why = signal.strsignal(number) if number else f"exit code {os.waitstatus_to_exitcode(status)}"
            raise CompilerCrashError(f"the compiler's process ended: {why}")
        answer: Answer = pickle.loads(data)
        return answer

    def artifact(self) -> Artifact:
        """The artifact; diagnostics go to standard error.

        Raises:
            UserError: the program has errors, or there is no BTF.
            CompilerCrashError: the compiler failed.
        """
        answer = self.answer()
        if answer.crash[0]:
            if os.environ.get("KUBEBPF_DEBUG", "") not in ("", "0"):
                click.echo(answer.crash[1], err=True)
            raise CompilerCrashError(answer.crash[0])
        if answer.refusal:
            raise UserError(answer.refusal)
        if answer.elf is None:
            raise UserError(answer.said) if answer.said else error_line("the program could not be compiled")
        if answer.said:
            click.echo(answer.said, err=True)
        from kubebpf.compiler.artifact.artifact import Artifact

        return Artifact.read(answer.elf)


def _compile(writing: int, text: str, name: str, unsafe: bool, warnings: bool, options: dict[str, Any]) -> NoReturn:
    # Nothing may return from here into the parent's code, and no exit handler of the parent may run twice.
    try:
        with open(writing, "wb") as pipe:
            pickle.dump(_answer(text, name, unsafe, warnings, options), pipe)
    finally:
        os._exit(0)


def _answer(text: str, name: str, unsafe: bool, warnings: bool, options: dict[str, Any]) -> Answer:
    try:
        from kubebpf.cli.building import build, complaints, kernel_view

        built = build(text, name, kernel_view(), unsafe=unsafe, here=True, count_failures=warnings, **options)
        said = complaints(built.report, warnings or built.artifact is None)
        return Answer(built.artifact.elf if built.artifact else None, said)
    except UserError as error:
        return Answer(refusal=str(error))
    except (MemoryError, RecursionError) as error:
        return Answer(refusal=f"ERROR: the program is too large or nested too deeply ({type(error).__name__})")
    except ModuleNotFoundError as error:
        return Answer(refusal=str(not_installed(error)))
    except Exception as error:
        import traceback

        line = f"{type(error).__name__}: {error}".splitlines()[0]
        return Answer(crash=(line, traceback.format_exc()))
