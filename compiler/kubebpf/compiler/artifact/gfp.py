"""Allocation flags by name, for `%gr`: 0xcc0 -> "GFP_KERNEL", 0x41 -> "GFP_DMA|__GFP_IO".

Values and their order are those of Linux 6.18 (include/linux/gfp_types.h, include/trace/events/mmflags.h): combinations first,
the largest ones before those that they contain. Kernels change the numbers now and then; bpftrace has one table, too.
"""

from __future__ import annotations

_NAMES: tuple[tuple[int, str], ...] = (
    (0x21C24CA, "GFP_TRANSHUGE"), (0x21C20CA, "GFP_TRANSHUGE_LIGHT"), (0x2100CCA, "GFP_HIGHUSER_MOVABLE"),
    (0x100CC2, "GFP_HIGHUSER"), (0x100CC0, "GFP_USER"), (0x400CC0, "GFP_KERNEL_ACCOUNT"), (0xCC0, "GFP_KERNEL"),
    (0xC40, "GFP_NOFS"), (0x820, "GFP_ATOMIC"), (0xC00, "GFP_NOIO"), (0x2800, "GFP_NOWAIT"), (0x1, "GFP_DMA"), (0x4, "GFP_DMA32"),
    (0x2, "__GFP_HIGHMEM"), (0x20, "__GFP_HIGH"), (0x40, "__GFP_IO"), (0x80, "__GFP_FS"), (0x100, "__GFP_ZERO"),
    (0x400, "__GFP_DIRECT_RECLAIM"), (0x800, "__GFP_KSWAPD_RECLAIM"), (0x1000, "__GFP_WRITE"), (0x2000, "__GFP_NOWARN"),
    (0x4000, "__GFP_RETRY_MAYFAIL"), (0x8000, "__GFP_NOFAIL"), (0x10000, "__GFP_NORETRY"), (0x20000, "__GFP_MEMALLOC"),
    (0x40000, "__GFP_COMP"), (0x80000, "__GFP_NOMEMALLOC"), (0x100000, "__GFP_HARDWALL"), (0x200000, "__GFP_THISNODE"),
    (0x400000, "__GFP_ACCOUNT"), (0x800000, "__GFP_ZEROTAGS"), (0x1000000, "__GFP_SKIP_ZERO"), (0x2000000, "__GFP_SKIP_KASAN"),
    (0x4000000, "__GFP_NO_OBJ_EXT"),
)  # fmt: skip


def gfp_text(flags: int) -> str:
    """The names of the flags, joined by `|`; what has no name is a number at the end."""
    names = []
    for mask, name in _NAMES:
        if flags & mask == mask:
            names.append(name)
            flags &= ~mask
    rest = [hex(flags)] if flags else []
    return "|".join(names + rest) or "0"
