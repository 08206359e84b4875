"""The pieces of a program that are not probes: the config block, map declarations, macros and functions.

config = { max_strlen = 64; stack_mode = perf }
let @m = lruhash(100);
macro add($x, @m, e) { … }
fn twice($a: int64): int64 { return 2 * $a; }
"""

from __future__ import annotations

from kubebpf.compiler.complaints.syntax import BuiltinAsMacroParameter
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.attach_points import AttachPointParser
from kubebpf.compiler.syntax.tokens import Kind
from kubebpf.compiler.syntax.types import is_builtin

_SIGILS = (Kind.VARIABLE, Kind.MAP)


class HeadParser(AttachPointParser):
    """The part of the grammar that reads everything but probes."""

    # --- config ---

    def config(self) -> tree.Config:
        """`config = { name = value; … }`, the last `;` optional."""
        start = self.advance().span.start
        self.expect("=")
        self.expect("{")
        entries: list[tree.ConfigEntry] = []
        while not self.token.is_op("}"):
            entries.append(self._config_entry())
            if not self.token.is_op("}"):
                self.expect(";")
        self.expect("}")
        return tree.Config(tuple(entries), span=self.since(start))

    def _config_entry(self) -> tree.ConfigEntry:
        name = self.identifier("config key")
        self.expect("=")
        value = self._config_value()
        return tree.ConfigEntry(name.text, value, span=self.since(name.span.start))

    def _config_value(self) -> int | bool | str:
        token = self.token
        match token.kind:
            case Kind.STRING:
                return self.advance().string
            case Kind.INTEGER:
                return self.advance().number
            case Kind.NAME:
                self.advance()
                return token.text == "true" if token.text in ("true", "false") else token.text
            case _:
                return self.fail("string, int, boolean, or ident")

    # --- maps ---

    def map_declaration(self) -> tree.MapDeclaration:
        """`let @m = kind(max_entries);`, the `;` optional."""
        start = self.advance().span.start
        map_ = self.expect_kind(Kind.MAP, "'@' in map declaration")
        self.expect("=")
        kind = self.identifier("map type name").text
        self.expect("(")
        entries = self._map_size()
        self.expect(")")
        self.accept(";")
        return tree.MapDeclaration(tree.Map(map_.text, span=map_.span), kind, entries, span=self.since(start))

    def _map_size(self) -> tree.Expr:
        if self.token.kind is Kind.PARAMETER:
            parameter = self.advance()
            return tree.PositionalParameter(parameter.number, span=parameter.span)
        size = self.expect_kind(Kind.INTEGER, "positive integer for map declaration max entries")
        return tree.Integer(size.number, size.text, size.duration, span=size.span)

    # --- macros ---

    def macro(self) -> tree.Macro:
        """`macro name(parameters) { … }`; its span ends with its name."""
        start = self.advance().span.start
        name = self.identifier("macro name").text
        span = self.since(start)
        self.expect("(")
        parameters: list[tree.MacroParameter] = []
        while not self.token.is_op(")"):
            parameters.append(self._macro_parameter())
            if not self.accept(","):
                break
        self.expect(")")
        return tree.Macro(name, tuple(parameters), self.block_or_value(), span=span)

    def _macro_parameter(self) -> tree.MacroParameter:
        token = self.token
        if token.kind in _SIGILS:
            self.advance()
            return tree.MacroParameter(token.text, span=token.span)
        if token.is_name("typeof") and self.peek().is_op("("):
            return self._type_parameter()
        self.identifier("macro argument ($var, @map, or identifier)")
        if is_builtin(token.text):
            self.complain(BuiltinAsMacroParameter(span=token.span, name=token.text))
        return tree.MacroParameter(token.text, span=token.span)

    def _type_parameter(self) -> tree.MacroParameter:
        start = self.advance().span.start
        self.expect("(")
        name = self.identifier("the name of the type").text
        self.expect(")")
        return tree.MacroParameter(name, True, span=self.since(start))

    # --- functions ---

    def function(self) -> tree.Function:
        """`fn name($a: T, …): R { … }`; its span ends with its name."""
        start = self.advance().span.start
        name = self.identifier("function name").text
        span = self.since(start)
        self.expect("(")
        parameters: list[tree.FunctionParameter] = []
        while not self.token.is_op(")"):
            parameters.append(self._function_parameter())
            if not self.accept(","):
                break
        self.expect(")")
        self.expect(":", "a function says what it returns, as in fn f(): void { }")
        returns = self.annotation()
        return tree.Function(name, tuple(parameters), returns, self.block(), span=span)

    def _function_parameter(self) -> tree.FunctionParameter:
        name = self.expect_kind(Kind.VARIABLE, "variable in function argument")
        self.expect(":")
        type_ = self.annotation()
        return tree.FunctionParameter(name.text, type_, span=self.since(name.span.start))
