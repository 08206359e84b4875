"""The binaries of this machine for the compiler, found as the agent finds them when it attaches."""

from __future__ import annotations

from kubebpf.compiler.userland.programs import FoundFunction, NoProgramError


class LocalPrograms:
    """See Programs in kubebpf.compiler.userland."""

    def functions(self, path: str, function: str, language: str) -> list[FoundFunction]:
        """As Programs.functions."""
        # Most programs do not ask, and the readers of ELF files take time to import.
        from kubebpf.agent.binaries.binary import NotElfError, binary
        from kubebpf.agent.binaries.files import NoFileError, files
        from kubebpf.agent.binaries.places import named
        from kubebpf.agent.libbpf.demangle import NoDemanglerError

        found = list[FoundFunction]()
        try:
            for _, file in files(path):
                opened = binary(file)
                found += [FoundFunction(s.name, s.address, file, opened.debug) for _, s in named(opened, function, language)]
        except (NoFileError, NotElfError, NoDemanglerError, OSError) as error:
            raise NoProgramError(str(error)) from error
        return found

    def symbol_size(self, path: str, symbol: str) -> int | None:
        """As Programs.symbol_size."""
        from kubebpf.agent.binaries.binary import NotElfError, binary
        from kubebpf.agent.binaries.files import NoFileError, files

        try:
            found = [binary(file).symbol(symbol) for _, file in files(path)]
        except (NoFileError, NotElfError, OSError):
            return None
        return next((s.size for s in found if s), None)
