"""Providers: what their attach points become in the manifest, and what is taken for missing."""

from __future__ import annotations

import pytest

from kubebpf.compiler.kernel.view import KernelView
from kubebpf.compiler.probes.interrupts import fires_in_interrupts
from kubebpf.compiler.probes.parts import full_text, has_wildcard, number_of
from kubebpf.compiler.probes.registry import PROVIDERS
from kubebpf.compiler.syntax.providers import PROVIDERS as SPELLINGS
from support.programs import anything, checked, codes, compiled


def target(attach_point: str, view: KernelView) -> tuple[str, str, dict[str, str | int], bool]:
    (attach,) = compiled(f"{attach_point} {{ }}", view).manifest.attaches
    return attach.provider, attach.text, attach.target, attach.wildcard


@pytest.mark.parametrize(
    ("written", "provider", "text", "parts"),
    [
        ("BEGIN", "begin", "begin", {}),
        ("end", "end", "end", {}),
        ("i:s:1", "interval", "interval:s:1", {"period_ns": 10**9}),
        ("interval:ms:20", "interval", "interval:ms:20", {"period_ns": 20 * 10**6}),
        ("interval:us:7", "interval", "interval:us:7", {"period_ns": 7000}),
        ("interval:5ms", "interval", "interval:5ms", {"period_ns": 5 * 10**6}),
        ("interval:1000", "interval", "interval:1000", {"period_ns": 1000}),
        ("p:hz:99", "profile", "profile:hz:99", {"hz": 99}),
        ("profile:1m", "profile", "profile:1m", {"period_ns": 60 * 10**9}),
        ("s:faults", "software", "software:faults", {"event": "page-faults", "config": 2, "count": 100}),
        ("software:page-faults:7", "software", "software:page-faults:7", {"event": "page-faults", "config": 2, "count": 7}),
        ("software:cpu:", "software", "software:cpu:", {"event": "cpu-clock", "config": 0, "count": 1_000_000}),
        ("t:sched:sched_switch", "tracepoint", "tracepoint:sched:sched_switch", {"category": "sched", "event": "sched_switch"}),
        ("rt:sched_switch", "rawtracepoint", "rawtracepoint:sched_switch", {"module": "", "event": "sched_switch"}),
        ("u:/bin/sh:main", "uprobe", "uprobe:/bin/sh:main", {"path": "/bin/sh", "function": "main", "offset": 0}),
        ("uprobe:/l/libc:malloc+8", "uprobe", "uprobe:/l/libc:malloc+8", {"path": "/l/libc", "function": "malloc", "offset": 8}),
        ("uprobe:/bin/sh:0x10", "uprobe", "uprobe:/bin/sh:0x10", {"path": "/bin/sh", "function": "", "offset": 16}),
        ("u:/bin/sh@main.c:7:3", "uprobe", "uprobe:/bin/sh@main.c:7:3",
         {"path": "/bin/sh", "function": "", "offset": 0, "source": "main.c", "line": 7, "column": 3}),
        ("U:./libc:libc:setjmp", "usdt", "usdt:./libc:libc:setjmp", {"path": "./libc", "namespace": "libc", "name": "setjmp"}),
        ("k:vfs_read", "kprobe", "kprobe:vfs_read", {"module": "", "function": "vfs_read", "offset": 0}),
        ("k:mod:f.cold+0x10", "kprobe", "kprobe:mod:f.cold+0x10", {"module": "mod", "function": "f.cold", "offset": 16}),
        ("kr:f", "kretprobe", "kretprobe:f", {"module": "", "function": "f", "offset": 0}),
        ("w:0x10:8:wr", "watchpoint", "watchpoint:0x10:8:wr", {"address": 16, "length": 8, "mode": "rw"}),
        ("ur:/bin/sh:main", "uretprobe", "uretprobe:/bin/sh:main", {"path": "/bin/sh", "function": "main", "offset": 0}),
    ],
)  # fmt: skip
def test_targets(written: str, provider: str, text: str, parts: dict[str, str | int], small: KernelView) -> None:
    assert target(written, small) == (provider, text, parts, False)


@pytest.mark.parametrize(
    "written",
    [
        "tracepoint:sched:*",
        "tracepoint:*:sched_switch",
        "kprobe:vfs_*",
        "kretprobe:*mod:[ab]*",
        "fentry:vfs_*",
        "fexit:no*:f",
        "fentry:bpf:*",
        "uprobe:/bin/sh:ma*",
        "uprobe:/lib/lib*:main",
        "uprobe:/bin/sh:cpp:main",
        "usdt:/bin/sh:x",
        "uprobe:libc:malloc",
        "usdt:libc:libc:setjmp",
        "usdt:/bin/sh:*:x",
        "usdt::a:x",
    ],
)
def test_wildcards_are_left_to_the_node(written: str, small: KernelView) -> None:
    assert target(written, small)[3]


@pytest.mark.parametrize(
    "written", ["interval:us:0", "interval:999", "interval:ns:999", "profile:hz:0", "software:cs:-1", "interval:s:x"]
)
def test_rates_that_make_no_sense(written: str, small: KernelView) -> None:
    assert codes(f"{written} {{ }}", small) == ["BadAttachPoint"]


@pytest.mark.parametrize(
    ("policy", "said"), [("error", ["UnknownProbe"]), ("warn", ["ProbeSkipped", "ProbeRemoved"]), ("ignore", [])]
)
@pytest.mark.parametrize("probe", ["tracepoint:sched:none", "rawtracepoint:none", "rawtracepoint:none:sched_switch"])
def test_missing_probes_are_a_matter_of_policy(policy: str, said: list[str], probe: str, small: KernelView) -> None:
    done = checked(f"config = {{ missing_probes = {policy} }} begin {{ }} {probe} {{ @ = count(); }}", small)
    # An error may be followed by a second one, that the probe is left with no place to attach to.
    assert [c.code for c in done.report if c.code != "NoAttachPoints"] == said
    assert (done.program is None) == (policy == "error")
    if done.program:
        assert [p.target.provider.name for p in done.program.probes] == ["begin"]


def test_offline_everything_exists() -> None:
    assert codes("tracepoint:no:such { print(args.anything); } rawtracepoint:nothing { print(arg0); print(args.x); }") == []


def test_every_provider_that_is_built_has_a_spelling() -> None:
    assert set(PROVIDERS) <= set(SPELLINGS)


@pytest.mark.parametrize(
    "written",
    [
        "kprobe:f:g:h", "kprobe:0x1000", "kprobe:f+x", "kretprobe:f+4", "kprobe:f*+4", "fentry:a:b:c", "fentry:bpf:x:prog",
        "iter:task*", "iter:task:a:b", "watchpoint:0x10:3:r", "watchpoint:0x10:8:rr", "watchpoint:f+arg0:8:w", "w:0x10:8:rx",
        "aw:f+arg0:8:w",
    ],
)  # fmt: skip
def test_attach_points_that_make_no_sense(written: str) -> None:
    assert codes(f"{written} {{ }}") == ["BadAttachPoint"]


@pytest.mark.parametrize(
    ("text", "expected"), [("100", 100), ("0x1f", 31), ("10ms", 10_000_000), ("1e3", 1000), ("x", None), ("", None), ("5x", None)]
)
def test_numbers_in_attach_points(text: str, expected: int | None) -> None:
    assert number_of(text) == expected


def test_patterns() -> None:
    assert [has_wildcard(p) for p in ("a*", "[ab]c", "abc")] == [True, True, False]
    assert full_text.__doc__


def test_interrupts() -> None:
    assert fires_in_interrupts("irq", "anything")
    assert fires_in_interrupts("block", "block_rq_complete")
    assert fires_in_interrupts("", "netif_receive_skb")
    assert not fires_in_interrupts("block", "block_rq_insert")
    assert not fires_in_interrupts("syscalls", "sys_enter_read")


@pytest.mark.parametrize(
    ("program", "traceable"),
    [
        ("kprobe:f { print((arg0, func)); }", True),
        ("kretprobe:f /retval/ { print(kstack); }", True),
        ('kprobe:f { print(reg("ip")); }', False),
        ("kprobe:f { print(ctx); }", False),
        ("kprobe:f+4 { print(arg0); }", False),
        ("fentry:f { print(func); }", False),
    ],
)
def test_a_kprobe_that_asks_for_no_register_can_run_as_a_fentry(program: str, traceable: bool) -> None:
    manifest = compiled(program, anything()).manifest
    assert manifest.attaches[0].traceable == traceable
    assert ("traced" in [c.kind for c in manifest.constants]) == (traceable and ("arg0" in program or "retval" in program))


def test_unsafe_kernel_helpers() -> None:
    assert codes("kprobe:f { override(1); }") == ["UnsafeNotAllowed"]
    assert codes("kprobe:f { override(1); } kprobe:0x1000 { }", unsafe=True) == []
    assert codes("kprobe:f+1 { override(1); }", unsafe=True) == ["BadAttachPoint"]
