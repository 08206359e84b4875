"""The numbers of the BPF helpers that generated code calls, and of the flags it passes (include/uapi/linux/bpf.h, a stable
ABI)."""

from __future__ import annotations

from enum import IntEnum


class Helper(IntEnum):
    """`BPF_FUNC_*`."""

    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    KTIME_GET_NS = 5
    GET_PRANDOM_U32 = 7
    GET_SMP_PROCESSOR_ID = 8
    GET_CURRENT_PID_TGID = 14
    GET_CURRENT_UID_GID = 15
    GET_CURRENT_COMM = 16
    GET_CURRENT_TASK = 35
    GET_NUMA_NODE_ID = 42
    GET_STACK = 67
    GET_CURRENT_CGROUP_ID = 80
    SEND_SIGNAL = 109
    PROBE_READ_USER = 112
    PROBE_READ_KERNEL = 113
    PROBE_READ_USER_STR = 114
    PROBE_READ_KERNEL_STR = 115
    JIFFIES64 = 118
    GET_NS_CURRENT_PID_TGID = 120
    GET_CURRENT_ANCESTOR_CGROUP_ID = 123
    KTIME_GET_BOOT_NS = 125
    RINGBUF_OUTPUT = 130
    RINGBUF_RESERVE = 131
    RINGBUF_SUBMIT = 132
    RINGBUF_DISCARD = 133
    GET_CURRENT_TASK_BTF = 158
    FOR_EACH_MAP_ELEM = 164
    GET_FUNC_IP = 173
    GET_ATTACH_COOKIE = 174
    LOOP = 181
    STRNCMP = 182
    MAP_LOOKUP_PERCPU_ELEM = 195
    KTIME_GET_TAI_NS = 208


class MapType(IntEnum):
    """`BPF_MAP_TYPE_*`."""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    RINGBUF = 27


BPF_ANY = 0
BPF_NOEXIST = 1
BPF_F_NO_PREALLOC = 1
