"""The config block: names and values checked, defaults for the rest."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from kubebpf.compiler.complaints.base import Complaint, Report
from kubebpf.compiler.options import Settings
from kubebpf.compiler.passes.hints import did_you_mean
from kubebpf.compiler.syntax import tree


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


LICENSES = (
    "Dual MIT/GPL",
    "Dual BSD/GPL",
    "Dual MPL/GPL",
    "GPL and additional rights",
    "GPL v2",
    "GPL",
)  # license_is_gpl_compatible
MAY_BE_ZERO = ("perf_rb_pages", "on_stack_limit")
CHOICES = {
    "license": LICENSES,
    "missing_probes": ("error", "warn", "ignore"),
    "stack_mode": ("bpftrace", "perf", "raw", "build_id"),
}
# Upstream's variables that decide nothing here, and so are accepted.
ACCEPTED = frozenset(
    ("cache_user_symbols", "cpp_demangle", "lazy_symbolication", "log_size", "max_bpf_progs", "show_debug_info",
     "use_blazesym", "unstable_tseries", "unstable_import", "unstable_import_statement", "unstable_typeinfo",
     "unstable_map_decl", "unstable_addr", "unstable_dw_ustack")
)  # fmt: skip


def read_config(config: tree.Config | None, report: Report) -> Settings:
    """The settings of a program; what is wrong goes to the report and leaves the default."""
    settings = Settings()
    for entry in config.entries if config else ():
        name = entry.name.lower().removeprefix("bpftrace_")
        if name in ACCEPTED:
            continue
        settings = _set(settings, entry, name, report)
    return settings


def _set(settings: Settings, entry: tree.ConfigEntry, name: str, report: Report) -> Settings:
    known = {f.name: f for f in fields(Settings)}
    if name not in known:
        report.add(UnknownSetting(span=entry.span, name=entry.name, help=did_you_mean(name, [*known, *ACCEPTED])))
        return settings
    problem = _problem(getattr(settings, name), name, entry.value)
    if problem:
        report.add(BadSetting(span=entry.span, name=entry.name, found=_written(entry.value), wanted=problem))
        return settings
    value = bool(entry.value) if isinstance(getattr(settings, name), bool) else entry.value
    changed: Any = {name: value}  # `_problem` has looked at the type
    return replace(settings, **changed)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _problem(default: object, name: str, value: object) -> str:
    """What is wanted, when the value is not that; else ""."""
    if name in CHOICES:
        return "" if value in CHOICES[name] else ", ".join(CHOICES[name])
    if isinstance(default, bool):
        return "" if isinstance(value, bool) or value in (0, 1) else "true or false"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "a string"
    if isinstance(value, bool) or not isinstance(value, int):
        return "a number"
    return "" if value > 0 or (value == 0 and name in MAY_BE_ZERO) else "a number above 0"
