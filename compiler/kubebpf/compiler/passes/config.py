"""The config block: names and values checked, defaults for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from kubebpf.compiler.complaints.base import Complaint, Report, Severity
from kubebpf.compiler.options import Settings
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.syntax import tree
from kubebpf.compiler.syntax.span import Span


@dataclass(frozen=True, kw_only=True)
class UnknownSetting(Complaint):
    """A config variable that nobody knows."""

    title: ClassVar[str] = "Unrecognized config variable: {name}"
    name: str


@dataclass(frozen=True, kw_only=True)
class BadSetting(Complaint):
    """A value that the config variable does not take."""

    title: ClassVar[str] = "Invalid value for {name}. Found: {found}. Valid values: {wanted}"
    name: str
    found: str
    wanted: str


@dataclass(frozen=True, kw_only=True)
class SettingGone(Complaint):
    """A config variable of older releases that no longer decides anything."""

    severity: ClassVar[Severity] = "warning"
    title: ClassVar[str] = "{name} is deprecated and has no effect"
    name: str


LICENSES = (
    "Dual MIT/GPL",
    "Dual BSD/GPL",
    "Dual MPL/GPL",
    "GPL and additional rights",
    "GPL v2",
    "GPL",
)  # license_is_gpl_compatible
MAY_BE_ZERO = ("perf_rb_pages", "on_stack_limit")
UNSTABLE = ("enable", "warn", "error")
CHOICES = {
    "license": LICENSES,
    "missing_probes": ("error", "warn", "ignore"),
    "stack_mode": ("bpftrace", "perf", "raw", "build_id"),
    "cache_user_symbols": ("PER_PID", "PER_PROGRAM", "NONE"),
}
# Older programs have them, and lose nothing.
GONE = ("max_type_res_iterations", "symbol_source", "unstable_addr", "unstable_import", "unstable_macro", "unstable_map_decl")
INTERNAL = ("dummy_ts_map",)  # of the environment only, for tests of time series
PREFIX = "bpftrace_"


def read_config(
    config: tree.Config | None,
    report: Report,
    environment: Iterable[tuple[str, str]] = (),
    overrides: Iterable[tuple[str, str]] = (),
) -> Settings:
    """The settings of a program.

    Args:
        config: of the program.
        report: takes what is wrong; the default is left then.
        environment: `BPFTRACE_MAX_STRLEN` and text; they win.
        overrides: `max_strlen` and text, of a manifest; they win over the program.
    """
    settings = Settings()
    for entry in config.entries if config else ():
        name = entry.name.lower().removeprefix(PREFIX)
        if name in GONE:
            report.add(SettingGone(span=entry.span, name=entry.name))
            continue
        settings = _set(settings, entry, name, report)
    for name, text in overrides:
        entry = tree.ConfigEntry(name, _read(text, getattr(settings, name, text)), span=Span(0, 0))
        settings = _set(settings, entry, name, report)
    for written, text in environment:
        name = written.lower().removeprefix(PREFIX)
        if written.lower().startswith(PREFIX) and hasattr(settings, name):
            entry = tree.ConfigEntry(written, _read(text, getattr(settings, name)), span=Span(0, 0))
            settings = _set(settings, entry, name, report)
    return settings


def _read(text: str, default: object) -> int | bool | str:
    """The value that an environment variable's text spells."""
    if isinstance(default, bool):
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)
    if isinstance(default, int):
        return int(text) if text.isascii() and text.isdigit() else text
    return text


def _set(settings: Settings, entry: tree.ConfigEntry, name: str, report: Report) -> Settings:
    known = [f.name for f in fields(Settings) if f.name not in INTERNAL or entry.span == Span(0, 0)]
    if name not in known:
        report.add(UnknownSetting(span=entry.span, name=entry.name, help=did_you_mean(name, known)))
        return settings
    default, value = getattr(settings, name), entry.value
    if name.startswith("unstable_") and isinstance(value, bool):
        value = "enable" if value else "error"
    if name == "cache_user_symbols" and value in (0, 1):
        value = "PER_PID" if value else "NONE"  # a switch in older releases
    problem = _problem(default, name, value)
    if problem:
        report.add(BadSetting(span=entry.span, name=entry.name, found=_written(entry.value), wanted=problem))
        return settings
    changed: Any = {name: bool(value) if isinstance(default, bool) else value}  # `_problem` has looked at the type
    return replace(settings, **changed)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _problem(default: object, name: str, value: object) -> str:
    """What is wanted, when the value is not that; else ""."""
    choices = UNSTABLE if name.startswith("unstable_") else CHOICES.get(name)
    if choices:
        return "" if value in choices else ", ".join(choices)
    if isinstance(default, bool):
        return "" if isinstance(value, int) else "true or false"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "a string"
    if isinstance(value, bool) or not isinstance(value, int):
        return "a number"
    return "" if value > 0 or (value == 0 and name in MAY_BE_ZERO) else "a number above 0"
