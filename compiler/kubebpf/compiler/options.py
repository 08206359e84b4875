"""How a program is compiled: what the caller decides, and what the program's config block does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """What the caller decides. Equal options, text and kernel view give equal bytes.

    Args:
        source_name: what diagnostics call the program.
        scoped: generate the scope predicate in front of every program, and refuse what would see beyond it (namespaced traces).
        header: "plain", or "context" to put time, CPU and cgroup into every event.
        unsafe: allow unsafe helpers.
        offline: every function, tracepoint and binary named is taken to exist.
        arch: the processor of the nodes, as `uname -m` spells it: it decides where registers are.
        count_failures: generate what counts full maps, lost events and failed helpers by their place in the text.
        include_dirs: folders that C headers are looked for in, before the system's.
        includes: C headers in front of the program's own C definitions.
        check_helpers: count the reads of memory that fail, too, each under its place in the text (-k).
        initial_pids: the tracers are known to live in the initial pid namespace, so that programs need not ask at each event.
        args: `$1` and on. The object depends on those that stand where a literal has to (`Manifest.folded`), and on the others
            only by what they are (see `artifact.parameters.shape`); `--name` for getopt() likewise.
        params: the options for getopt(), each with its text.
        base: the folder that the program's imports are relative to; None for text that is no file of this machine, which then can
            import nothing.
        overrides: settings of a manifest, by the names of the config block, and text; they win over the config block.
        environment: settings as `BPFTRACE_NAME` and text, which win over the program's config block; local mode only. Names
            that are no setting's are left alone.
    """

    source_name: str = "stdin"
    scoped: bool = False
    header: str = "plain"
    unsafe: bool = False
    offline: bool = False
    arch: str = "x86_64"
    count_failures: bool = True
    check_helpers: bool = False
    initial_pids: bool = False
    include_dirs: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    overrides: tuple[tuple[str, str], ...] = ()
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The config block's variables, with upstream's defaults. Some decide nothing here but what config() says, and the
    `unstable_` ones what is refused or warned of: every feature that is there is meant to stay."""

    license: str = "GPL"
    max_map_keys: int = 4096
    max_strlen: int = 1024
    max_cat_bytes: int = 10240
    on_stack_limit: int = 32
    str_trunc_trailer: str = ".."
    print_maps_on_exit: bool = True
    missing_probes: str = "error"
    stack_mode: str = "bpftrace"
    perf_rb_pages: int = 0
    max_probes: int = 1024
    cache_user_symbols: str = "PER_PROGRAM"
    cpp_demangle: bool = True
    lazy_symbolication: bool = True
    log_size: int = 1_000_000
    max_bpf_progs: int = 1024
    show_debug_info: bool = True
    use_blazesym: bool = True
    unstable_dw_ustack: str = "enable"
    unstable_import_statement: str = "error"
    unstable_tseries: str = "enable"
    unstable_typeinfo: str = "enable"
    dummy_ts_map: str = ""  # a scalar map that tseries takes for the clock, in tests: `@ts`
