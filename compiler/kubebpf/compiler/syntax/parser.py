"""A whole program: the pieces of a text in their order. `parse` is the door of this package.

#include <linux/fs.h>                  c_definitions
config = { max_strlen = 64 }           config
import "lib.bt";                       imports (config and imports in either order)
let @m = hash(16);                     from here on in any order
macro twice(x) { x + x }
begin { print(twice(2)); }

>>> program = parse(Source("stdin", "begin { @x = 1 }"), report)
>>> program.probes[0].attach_points[0].provider
'begin'
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field

from kubebpf.compiler.complaints.base import Report
from kubebpf.compiler.complaints.syntax import (
    DuplicateConfig,
    MisplacedCDefinition,
    MisplacedConfig,
    MisplacedImport,
    NotText,
    ProgramTooLong,
    RootLet,
    UnterminatedCDefinition,
)
from kubebpf.compiler.syntax import c_text, tree
from kubebpf.compiler.syntax.cursor import Abandoned, GivenUp
from kubebpf.compiler.syntax.heads import HeadParser
from kubebpf.compiler.syntax.limits import check_depth
from kubebpf.compiler.syntax.span import Source
from kubebpf.compiler.syntax.tokens import Kind

# Halves of surrogate pairs, but those that stand for bytes that are no UTF-8 (PEP 383).
_NO_TEXT = re.compile("[\ud800-\udc7f\udd00-\udfff]")
MAX_LENGTH = 1 << 20  # Characters. The longest program in anybody's collection has a few ten thousand.


def parse(source: Source, report: Report, file: int = 0) -> tree.Program:
    """Parse a program.

    Args:
        source: the text.
        report: takes the complaints. When it has errors, the tree is incomplete and good for nothing but tools.
        file: the number of the source in the spans of the tree.
    """
    parser = _Parser(source, report, file)
    if len(source.text) > MAX_LENGTH:
        report.add(ProgramTooLong(span=parser.lexer.span(MAX_LENGTH, MAX_LENGTH), limit=MAX_LENGTH))
        return tree.Program()
    if found := _NO_TEXT.search(source.text):
        report.add(NotText(span=parser.lexer.span(*found.span())))
        return tree.Program()
    program = parser.program()
    if not parser.errors:
        check_depth(program, report)
    return program


@dataclass
class _Pieces:
    """A program while it is collected."""

    shebang: str = ""
    c_definitions: list[tree.CDefinition] = field(default_factory=list)
    config: tree.Config | None = None
    imports: list[tree.Import] = field(default_factory=list)
    map_declarations: list[tree.MapDeclaration] = field(default_factory=list)
    macros: list[tree.Macro] = field(default_factory=list)
    functions: list[tree.Function] = field(default_factory=list)
    probes: list[tree.Probe] = field(default_factory=list)

    @property
    def in_body(self) -> bool:
        """Whether a probe, function, macro or map declaration has been seen."""
        return bool(self.map_declarations or self.macros or self.functions or self.probes)


class _Parser(HeadParser):
    """The part of the grammar that reads programs."""

    def program(self) -> tree.Program:
        pieces = _Pieces(shebang=self._shebang())
        with suppress(GivenUp):
            while self.start < len(self.lexer.text):
                self._piece(pieces)
        return tree.Program(
            tuple(pieces.c_definitions),
            pieces.config,
            tuple(pieces.imports),
            tuple(pieces.map_declarations),
            tuple(pieces.macros),
            tuple(pieces.functions),
            tuple(pieces.probes),
            pieces.shebang,
            span=self.lexer.span(0, len(self.lexer.text)),
        )

    def _shebang(self) -> str:
        if not self.lexer.text.startswith("#!"):
            return ""
        line = self.lexer.text.partition("\n")[0]
        self.end = len(line)
        return line

    def _piece(self, pieces: _Pieces) -> None:
        before = self.end
        try:
            self._known_piece(pieces)
        except Abandoned:
            self._skip_piece()
        if self.end == before:
            self.skip_balanced()

    def _known_piece(self, pieces: _Pieces) -> None:
        start = self.start
        word = self.lexer.word(start)
        if self.lexer.text.startswith("#", start):
            return self._c_definition(pieces, c_text.directive_end(self.lexer.text, start))
        brace = c_text.opening_brace(self.lexer.text, word, start)
        if brace is not None:
            return self._c_definition(pieces, self._definition_end(word, brace))
        if word == "typedef" and not self._is_attach_point(word):
            return self._c_definition(pieces, self._typedef_end(start))
        match word:
            case "config" if not self._is_attach_point(word):
                self._config(pieces)
            case "import":
                self._import(pieces)
            case "let":
                self._let_map(pieces)
            case "macro":
                pieces.macros.append(self.macro())
            case "fn":
                pieces.functions.append(self.function())
            case _:
                pieces.probes.append(self._probe())
        return None

    def _is_attach_point(self, word: str) -> bool:
        return self.lexer.text.startswith(":", self.start + len(word))

    # --- Pieces with a fixed place ---

    def _c_definition(self, pieces: _Pieces, end: int) -> None:
        start = self.start
        self.end = max(end, start + 1)
        span = self.since(start)
        if pieces.in_body:
            self.complain(MisplacedCDefinition(span=span, what="probes and functions"))
        elif pieces.config or pieces.imports:
            self.complain(MisplacedCDefinition(span=span, what="config and imports"))
        text = self.lexer.text[start : self.end].rstrip()
        pieces.c_definitions.append(tree.CDefinition(text, span=span))

    def _definition_end(self, keyword: str, brace: int) -> int:
        text = self.lexer.text
        closed = c_text.closing_brace(text, brace)
        if closed is None:
            self.complain(UnterminatedCDefinition(span=self.lexer.span(self.start, brace + 1), keyword=keyword))
            raise GivenUp
        return c_text.definition_end(text, closed)

    def _typedef_end(self, start: int) -> int:
        end = c_text.typedef_end(self.lexer.text, start)
        if end is None:
            self.complain(UnterminatedCDefinition(span=self.lexer.span(start, start + len("typedef")), keyword="typedef"))
            raise GivenUp
        return end

    def _config(self, pieces: _Pieces) -> None:
        word = self.token
        if pieces.in_body:
            self.complain(MisplacedConfig(span=word.span))
        elif pieces.config:
            self.complain(DuplicateConfig(span=word.span))
        config = self.config()
        pieces.config = pieces.config or config

    def _import(self, pieces: _Pieces) -> None:
        word = self.token
        if pieces.in_body:
            self.complain(MisplacedImport(span=word.span))
        pieces.imports.append(self.import_())

    def _let_map(self, pieces: _Pieces) -> None:
        if self.peek().kind is Kind.MAP:
            pieces.map_declarations.append(self.map_declaration())
            return
        self.complain_at(self.token.span.to(self.peek().span), RootLet)
        raise Abandoned

    # --- Probes ---

    def _probe(self) -> tree.Probe:
        start = self.start
        attach_points = self.attach_points()
        span = self.since(start)
        predicate = self._predicate()
        return tree.Probe(attach_points, predicate, self.block(), span=span)

    def _predicate(self) -> tree.Expr | None:
        """The predicate. After a mistake in it the body is read all the same, for the mistakes there."""
        try:
            return self.predicate()
        except Abandoned:
            while self.token.kind is not Kind.END and not self.token.is_op("{"):
                self.end = self.token.span.end
            return None

    def _skip_piece(self) -> None:
        """Go on behind the next block, the end of this one, or a `;`, whatever comes first."""
        while self.token.kind is not Kind.END:
            last = self.token.is_op("{", "}", ";")
            self.skip_balanced()
            if last:
                return
