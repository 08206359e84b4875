#!/bin/bash
# A machine with kprobes, fentry and iterators, for tests that the running kernel may not have:
#
#   hack/vm.sh setup            what it needs, into ~/.cache/kubebpf/vm: a minute and 400 MB, once
#   hack/vm.sh run COMMAND…     boot Debian's kernel under QEMU and run a command in it, in this folder; gives its exit code
#
# The guest sees this machine's root file system, read-only, under an overlay in its own memory: a Python environment of the host
# runs in it, and nothing that it writes is seen outside. With KVM it takes a few seconds, without some tens.
#   VM_TIMEOUT=600 seconds    VM_MEMORY=2048 MiB    VM_PASS="A B": variables that the command is to have
#   VM_NETWORK=1: a network card, behind which 10.0.2.2 is this machine; its driver is the command's to load
set -euo pipefail
CACHE=${KUBEBPF_VM:-$HOME/.cache/kubebpf/vm}
KERNEL_SUITE=trixie QEMU_SUITE=bookworm

mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/\?$' || echo https://deb.debian.org/debian; }

# apt_of SUITE…: an apt configuration of its own in $CACHE, so that the machine's stays as it is; sets the array APT.
apt_of() {
  local folder=$CACHE/apt-$1 suite uri
  mkdir -p "$folder"/{lists/partial,cache/archives/partial}
  uri=$(mirror)
  for suite in "$@"; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
  done > "$folder/sources"
  APT=(-o Dir::State::Lists="$folder/lists" -o Dir::Etc::SourceList="$folder/sources" -o Dir::Etc::SourceParts=/dev/null
       -o Dir::Cache="$folder/cache" -o APT::Sandbox::User=root)
  apt-get "${APT[@]}" -qq update
}

setup() {
  command -v apt-get dpkg gcc > /dev/null || { echo "vm.sh: setup needs Debian or Ubuntu: apt-get, dpkg, gcc" >&2; exit 3; }
  mkdir -p "$CACHE"/{debs,kernel,qemu,virtiofsd,mnt}
  if [ ! -x "$CACHE/qemu/usr/bin/qemu-system-x86_64" ]; then  # QEMU 7.2 stops at cmpxchg16b without KVM: the backport does not
    apt_of $QEMU_SUITE $QEMU_SUITE-backports
    apt-get "${APT[@]}" -y -qq --download-only --no-install-recommends -t $QEMU_SUITE-backports install qemu-system-x86 > /dev/null
    for deb in "$CACHE/apt-$QEMU_SUITE"/cache/archives/*.deb; do dpkg -x "$deb" "$CACHE/qemu"; done
    (cd "$CACHE/debs" && apt-get "${APT[@]}" -qq download qemu-system-common/$QEMU_SUITE)  # the last with virtiofsd in it
    dpkg -x "$CACHE"/debs/qemu-system-common_*.deb "$CACHE/virtiofsd"
  fi
  if [ ! -e "$CACHE/bzImage" ]; then
    apt_of $KERNEL_SUITE
    local package
    package=$(apt-cache "${APT[@]}" depends linux-image-cloud-amd64 | awk '/linux-image-[0-9]/ { print $2; exit }')
    (cd "$CACHE/debs" && apt-get "${APT[@]}" -qq download "$package")
    dpkg -x "$CACHE/debs/${package}"_*.deb "$CACHE/kernel"
    xz -dc "$CACHE/kernel/usr/lib/modules/${package#linux-image-}/kernel/fs/overlayfs/overlay.ko.xz" > "$CACHE/overlay.ko"
    cp "$CACHE/kernel/boot/vmlinuz-${package#linux-image-}" "$CACHE/bzImage"
  fi
}

# The first process of the guest. The root is the host's; what is written goes to the overlay.
guest() {
  cat <<EOF
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs $CACHE/mnt
mkdir $CACHE/mnt/{upper,work,root}
$(command -v insmod || echo insmod) $CACHE/overlay.ko 2> /dev/null || $(readlink -f "$(command -v python3)") -c '
import ctypes, os
ctypes.CDLL(None).syscall(313, os.open("$CACHE/overlay.ko", os.O_RDONLY), b"", 0)'  # finit_module(2)
mount -t overlay -o lowerdir=/,upperdir=$CACHE/mnt/upper,workdir=$CACHE/mnt/work,xino=off overlay $CACHE/mnt/root
cd $CACHE/mnt/root
mount --move /dev dev
mount -t proc proc proc; mount -t sysfs sysfs sys; mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts; mount -t tmpfs -o mode=1777 shm dev/shm; mount -t tmpfs -o mode=755 run run
ln -sfn /proc/self/fd dev/fd; ln -sfn fd/0 dev/stdin; ln -sfn fd/1 dev/stdout; ln -sfn fd/2 dev/stderr
mount -t cgroup2 cgroup2 sys/fs/cgroup; mount -t bpf bpf sys/fs/bpf
mount -t debugfs debugfs sys/kernel/debug; mount -t tracefs tracefs sys/kernel/tracing
exec chroot . /bin/bash $1/command > dev/hvc0 2>&1 < dev/null
EOF
}

# What runs left behind that were killed; their folders are named by the number of their process.
sweep() {
  local folder owner
  for folder in "$CACHE"/run.*; do
    owner=${folder##*/run.}
    owner=${owner%%.*}
    [ ! -d "$folder" ] || [[ $owner =~ ^[0-9]+$ && -d /proc/$owner ]] || rm -rf --one-file-system "$folder"
  done
}

run() {
  [ -e "$CACHE/bzImage" ] && [ -x "$CACHE/qemu/usr/bin/qemu-system-x86_64" ] || { echo "vm.sh: run 'hack/vm.sh setup' first" >&2; exit 3; }
  local work libraries accelerator processor status=250
  sweep
  work=$(mktemp -d "$CACHE/run.$$.XXXXXX")
  trap 'set +e; kill $(jobs -p) 2> /dev/null; wait 2> /dev/null; rm -rf "'"$work"'"' EXIT
  guest "$work" > "$work/init"
  chmod +x "$work/init"
  {
    echo "export PATH=$PATH HOME=/root LANG=C.UTF-8; cd $(printf %q "$PWD"); ip link set lo up 2> /dev/null"
    for name in ${VM_PASS:-}; do printf 'export %s=%q\n' "$name" "${!name:-}"; done
    printf '%q ' "$@"
    # What was printed has to have left the guest before it ends.
    echo; echo 'status=$?; sleep 0.5; for port in /dev/vport?p1; do echo $status > $port; done; sleep 0.2'
    echo 'echo b > /proc/sysrq-trigger; sleep 60'
  } > "$work/command"
  libraries=$(echo "$CACHE"/{qemu,virtiofsd}/{usr/lib,lib}/x86_64-linux-gnu | tr ' ' :)
  # KVM may be there and not work, in a machine that is virtual itself.
  for accelerator in $([ ! -w /dev/kvm ] || echo kvm) tcg,thread=multi; do
    processor=$([ "$accelerator" = kvm ] && echo host || echo max)
    boot 2> /dev/null
    if [ -s "$work/status" ]; then read -r status < "$work/status"; return "$status"; fi
  done
  tail -n 60 "$work"/{console,qemu.log,virtiofsd.log} >&2
  return "$status"
}

# Boots once, with the variables of `run`; there is a status behind it if the guest came up.
boot() {
  rm -f "$work/root.sock"
  # The root is served from a read-only mount in a namespace of its own: the guest cannot write to it, whatever it does.
  LD_LIBRARY_PATH=$libraries unshare --mount --propagation private bash -c '
    mkdir -p "$1/ro" && mount --bind / "$1/ro" && mount -o remount,bind,ro "$1/ro"
    exec "$2" --socket-path="$1/root.sock" -o source="$1/ro",sandbox=chroot,cache=always,no_posix_lock,log_level=err' \
    _ "$work" "$CACHE/virtiofsd/usr/lib/qemu/virtiofsd" >> "$work/virtiofsd.log" 2>&1 &
  for _ in $(seq 200); do [ -S "$work/root.sock" ] && break; sleep 0.02; done
  local network=()
  [ -z "${VM_NETWORK:-}" ] || network=(-netdev user,id=net -device virtio-net-pci,netdev=net,romfile=)
  LD_LIBRARY_PATH=$libraries QEMU_MODULE_DIR=$CACHE/qemu/usr/lib/x86_64-linux-gnu/qemu \
  timeout -k 5 "${VM_TIMEOUT:-600}" "$CACHE/qemu/usr/bin/qemu-system-x86_64" \
    -L "$CACHE/qemu/usr/share/qemu" -L "$CACHE/qemu/usr/share/seabios" -nodefaults -no-user-config -display none -no-reboot \
    -machine q35,hpet=off,usb=off,sata=off,smbus=off,graphics=off -accel $accelerator -cpu $processor -smp 2 \
    -m "${VM_MEMORY:-2048}" -object memory-backend-memfd,id=ram,size="${VM_MEMORY:-2048}"M,share=on -numa node,memdev=ram \
    -kernel "$CACHE/bzImage" -append "root=root rootfstype=virtiofs ro init=$work/init console=ttyS0 quiet panic=-1 reboot=t \
nokaslr mitigations=off no_timer_check random.trust_cpu=on audit=0" \
    -chardev socket,id=root,path="$work/root.sock" -device vhost-user-fs-pci,chardev=root,tag=root,queue-size=1024 \
    -serial file:"$work/console" -device virtio-serial-pci -chardev stdio,id=out,signal=off -device virtconsole,chardev=out \
    -chardev file,id=status,path="$work/status" -device virtserialport,chardev=status,name=status "${network[@]}" < /dev/null 2> "$work/qemu.log" || true
}

case ${1:-} in
  setup) setup ;;
  run) shift; run "$@" ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
