"""Rust's names, mangled by its version 0 scheme (RFC 2603), as its source spells them.

    demangled("_RNvNtC5hello5inner3run")    -> "hello::inner::run"

Crates are named without their hashes, which tell builds apart; lifetimes are left out. What cannot be read gives "".
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

_DIGITS = string.digits + string.ascii_lowercase + string.ascii_uppercase
_BASIC = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize", "j": "usize", "l": "i32",
    "m": "u32", "n": "i128", "o": "u128", "p": "_", "s": "i16", "t": "u16", "u": "()", "v": "...",
    "x": "i64", "y": "u64", "z": "!",
}  # fmt: skip
_STEPS = 8192  # letters that are read for one name: backward references can double them again and again
_DEEPEST = 100
_SPECIAL = {"C": "closure", "S": "shim"}


class _UnreadableError(Exception):
    pass


def demangled(name: str) -> str:
    """The path of a mangled name; "" when it is none."""
    mangled, _, _ = name.partition(".")  # `.llvm.123`: what the compiler added
    if not re.match("_R[A-Z]", mangled) or not mangled.isascii():
        return ""
    try:
        return _Reader(mangled[2:]).path(value=True)
    except (_UnreadableError, IndexError, ValueError):
        return ""


class _Reader:
    """Reads one name from left to right.

    Args:
        text: behind `_R`; backward references count from here.
        at: where to begin.
        depth: of what is being read.
        steps: one number, how many were taken, shared with those that read backward references.
    """

    def __init__(self, text: str, at: int = 0, depth: int = 0, steps: list[int] | None = None) -> None:
        self._text, self._at, self._depth = text, at, depth
        self._steps = steps or [0]

    def path(self, value: bool = False) -> str:
        """A path; of a value, generic arguments follow `::`."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _UnreadableError
        done = self._path(self._next(), value)
        self._depth -= 1
        return done

    def _path(self, kind: str, value: bool) -> str:
        match kind:
            case "C":
                return self._identifier()[1]
            case "N":
                return self._nested(self._next(), self.path(value))
            case "M":
                self._skip_place()
                return f"<{self._type()}>"
            case "X":
                self._skip_place()
                return f"<{self._type()} as {self.path()}>"
            case "Y":
                return f"<{self._type()} as {self.path()}>"
            case "I":
                path = self.path(value)
                return f"{path}{'::' if value else ''}<{', '.join(filter(None, self._until_end(self._generic)))}>"
            case "B":
                return self._back().path(value)
        raise _UnreadableError

    def _nested(self, namespace: str, path: str) -> str:
        number, name = self._identifier()
        if namespace.islower():
            return f"{path}::{name}" if name else path
        word = _SPECIAL.get(namespace, namespace)
        return f"{path}::{{{word}{':' + name if name else ''}#{number}}}"

    def _skip_place(self) -> None:
        """Where an `impl` stands says nothing beyond its type."""
        self._disambiguator()
        self.path()

    def _identifier(self) -> tuple[int, str]:
        """(which of several of one name, the name)"""
        number = self._disambiguator()
        encoded = self._take("u")
        digits = re.compile("[1-9][0-9]*|0").match(self._text, self._at)
        if digits is None:
            raise _UnreadableError
        self._at = digits.end()
        self._take("_")
        name = self._text[self._at : self._at + int(digits[0])]
        self._at += int(digits[0])
        return number, _unicode(name) if encoded else name

    def _disambiguator(self) -> int:
        return self._base62() + 1 if self._take("s") else 0

    def _base62(self) -> int:
        number, start = 0, self._at
        while (digit := self._next()) != "_":
            number = number * 62 + _DIGITS.index(digit)
        return number + 1 if self._at - start > 1 else 0

    def _back(self) -> _Reader:
        before = self._at - 1
        start = self._base62()
        if start >= before:
            raise _UnreadableError
        return _Reader(self._text, start, self._depth, self._steps)

    def _generic(self) -> str:
        if self._take("L"):
            self._base62()
            return ""
        return self._constant() if self._take("K") else self._type()

    def _type(self) -> str:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _UnreadableError
        done = self._type_of(self._next())
        self._depth -= 1
        return done

    def _type_of(self, kind: str) -> str:
        match kind:
            case "A":
                return f"[{self._type()}; {self._constant()}]"
            case "S":
                return f"[{self._type()}]"
            case "T":
                parts = self._until_end(self._type)
                return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
            case "R" | "Q":
                if self._take("L"):
                    self._base62()
                return f"&{'mut ' if kind == 'Q' else ''}{self._type()}"
            case "P":
                return f"*const {self._type()}"
            case "O":
                return f"*mut {self._type()}"
            case "F":
                return self._function()
            case "D":
                return self._dynamic()
            case "B":
                return self._back()._type()
        if kind in _BASIC:
            return _BASIC[kind]
        self._at -= 1
        return self.path()

    def _function(self) -> str:
        self._binder()
        unsafe = "unsafe " if self._take("U") else ""
        abi = ""
        if self._take("K"):
            abi = 'extern "C" ' if self._take("C") else f'extern "{self._identifier()[1].replace("_", "-")}" '
        parameters, result = self._until_end(self._type), self._type()
        return f"{unsafe}{abi}fn({', '.join(parameters)})" + (f" -> {result}" if result != "()" else "")

    def _dynamic(self) -> str:
        self._binder()
        traits = self._until_end(self._trait)
        if self._take("L"):
            self._base62()
        return f"dyn {' + '.join(traits)}"

    def _trait(self) -> str:
        path, bounds = self.path(), []
        while self._take("p"):
            name = self._identifier()[1]
            bounds.append(f"{name} = {self._type()}")
        if not bounds:
            return path
        return f"{path[:-1]}, {', '.join(bounds)}>" if path.endswith(">") else f"{path}<{', '.join(bounds)}>"

    def _binder(self) -> None:
        if self._take("G"):
            self._base62()

    def _constant(self) -> str:
        if self._take("B"):
            return self._back()._constant()
        kind = self._next()
        if kind == "p":
            return "_"
        if kind not in "abchijlmnostxy":
            raise _UnreadableError
        sign = "-" if self._take("n") else ""
        end = self._text.index("_", self._at)
        number, self._at = int(self._text[self._at : end] or "0", 16), end + 1
        if kind == "b":
            return "true" if number else "false"
        return repr(chr(number)) if kind == "c" else f"{sign}{number}"

    def _until_end(self, read: Callable[[], str]) -> list[str]:
        parts: list[str] = []
        while not self._take("E"):
            parts.append(read())
        return parts

    def _next(self) -> str:
        self._at += 1
        self._steps[0] += 1
        if self._steps[0] > _STEPS:
            raise _UnreadableError
        return self._text[self._at - 1]

    def _take(self, letter: str) -> bool:
        found = self._text[self._at : self._at + 1] == letter
        self._at += found
        return found


def _unicode(name: str) -> str:
    """A name of other letters: Punycode with `_` where that has `-`."""
    head, _, tail = name.rpartition("_")
    return f"{head}-{tail}".lstrip("-").encode().decode("punycode") if head else tail.encode().decode("punycode")
