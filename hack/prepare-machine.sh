#!/bin/bash
# What the machine itself needs, silent and quick when all is there:
#
#   hack/prepare-machine.sh run     libbpf and the kernel's tracing file systems
#   hack/prepare-machine.sh test    also C compilers, bpftool and openssl
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/common.sh"

mounted() { findmnt -n -t "$1" -M "$2" >/dev/null; }
mount_once() { mounted "$1" "$2" || { mkdir -p "$2" 2>/dev/null || true; as_root mount -t "$1" "$1" "$2"; }; }

has_libbpf() { PATH=$PATH:/usr/sbin:/sbin ldconfig -p | grep -q 'libbpf\.so\.1 '; }
has_bpftool() { PATH=$PATH:/usr/sbin:/sbin bpftool version >/dev/null 2>&1; }

has_libbpf || need_packages libbpf1
if [ "${1:-run}" = test ]; then
  need_packages gcc libc6-dev openssl clang
  # Ubuntu had bpftool only in its kernel's own package until 24.10.
  has_bpftool || need_packages bpftool || need_packages linux-tools-common "linux-tools-$(uname -r)"
  [ -e "${KUBEBPF_VM:-$HOME/.cache/kubebpf/vm}/bzImage" ] || as_root env HOME="$HOME" hack/vm.sh setup
fi

# Containers and small systems do not mount these by themselves; without root the programs say what is missing.
if [ "$(id -u)" = 0 ]; then
  mount_once tracefs /sys/kernel/tracing || say "tracefs cannot be mounted here"
  mount_once bpf /sys/fs/bpf || say "bpffs cannot be mounted here"
fi
