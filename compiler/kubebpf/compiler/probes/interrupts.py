"""Tracepoints whose current task is not the cause: they fire in interrupts, softirqs and timers, in whatever task these find.

never_fires_for_its_cause("irq", "softirq_entry")    -> True: refused in traces of pods; the following are warned of
fires_in_interrupts("net", "netif_receive_skb")      -> True: mostly in whatever task the network card interrupts
fires_in_interrupts("syscalls", "sys_enter_read")    -> False

The table is of the kernel's sources (include/trace/events, and where the trace_* calls stand in 6.18). Tracepoints that can
fire both ways
are in it: a trace that goes by the current task is only right when that is always the cause.
"""

from __future__ import annotations

CATEGORIES = frozenset(
    ("irq", "irq_vectors", "irq_matrix", "timer", "napi", "rcu", "power", "nmi", "ipi", "mce", "thermal", "tick_stop", "csd",
    "xdp", "smbus",
     "hwmon", "dma_fence", "workqueue", "qdisc")
)  # fmt: skip
EVENTS = frozenset(
    (
        # Requests end where the device says so.
        "block_rq_complete", "block_rq_error", "block_bio_complete", "nvme_complete_rq", "nvme_async_event",
        "scsi_dispatch_cmd_done",
        "scsi_eh_wakeup", "ufshcd_command", "virtio_blk_complete",
        # Packets come in by NAPI, and their sockets wake whoever waits.
        "netif_receive_skb", "netif_receive_skb_entry", "netif_receive_skb_exit", "netif_receive_skb_list_entry",
        "netif_receive_skb_list_exit", "netif_rx", "netif_rx_entry", "netif_rx_exit", "napi_gro_receive_entry",
        "napi_gro_receive_exit",
        "napi_gro_frags_entry", "napi_gro_frags_exit", "napi_poll", "kfree_skb", "consume_skb", "tcp_probe", "tcp_retransmit_skb",
        "tcp_retransmit_synack", "tcp_receive_reset", "tcp_send_reset", "tcp_bad_csum", "inet_sock_set_state",
        "sock_rcvqueue_full",
        "sk_data_ready", "fib_table_lookup", "net_dev_xmit", "net_dev_start_xmit", "net_dev_queue",
        # The scheduler wakes tasks from anywhere, and its ticks interrupt anybody.
        "sched_wakeup", "sched_waking", "sched_wakeup_new", "sched_migrate_task", "sched_stat_runtime",
        "sched_wake_idle_without_ipi",
        "signal_generate", "hrtimer_expire_entry", "hrtimer_expire_exit", "timer_expire_entry", "timer_expire_exit",
        "softirq_entry",
        "softirq_exit", "softirq_raise", "irq_handler_entry", "irq_handler_exit", "cpu_idle", "cpu_frequency", "rcu_utilization",
    )
)  # fmt: skip


# Nobody's work: what runs there was interrupted, or is the kernel's own.
NEVER_CATEGORIES = frozenset(("irq", "irq_vectors", "irq_matrix", "napi", "nmi", "mce", "thermal", "tick_stop"))
NEVER_EVENTS = frozenset(
    (
        "softirq_entry", "softirq_exit", "irq_handler_entry", "irq_handler_exit", "hrtimer_expire_entry", "hrtimer_expire_exit",
        "timer_expire_entry", "timer_expire_exit", "napi_poll", "cpu_idle", "sched_wake_idle_without_ipi", "block_rq_complete",
        "block_rq_error", "block_bio_complete", "nvme_complete_rq", "nvme_async_event", "scsi_dispatch_cmd_done",
        "virtio_blk_complete",
    )
)  # fmt: skip


def never_fires_for_its_cause(category: str, event: str) -> bool:
    """Whether a tracepoint's current task is never the one that the event is about: a trace of pods has nothing to count there.

    Args:
        category: of the tracepoint; "" for a raw one.
        event: its name.
    """
    return category in NEVER_CATEGORIES or event in NEVER_EVENTS


def fires_in_interrupts(category: str, event: str) -> bool:
    """Whether a tracepoint's current task may be anybody.

    Args:
        category: of the tracepoint; "" for a raw one.
        event: its name.
    """
    return category in CATEGORIES or event in EVENTS
