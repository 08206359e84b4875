#!/bin/bash
# Build both images of the Dockerfile without a container engine, and try each for real: needs buildah, root, and this machine's kernel.
#
#   hack/images.sh [ARGUMENT OF buildah build…]      for example: --build-arg PIP_INDEX_URL=… -v /srv/wheels:/srv/wheels:ro
#
# IMAGE_BASE names the base image; without it one is made with debootstrap, once. The images stay in buildah's store (buildah images).
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/common.sh
BASE=${IMAGE_BASE:-localhost/kubebpf-base}
need_packages buildah

# A minimal Debian, so that no registry is needed.
make_base() {
  need_packages debootstrap
  local folder=$CACHE/base-rootfs container
  rm -rf "$folder"
  say "debootstrap: a base image"
  debootstrap --variant=minbase bookworm "$folder" "$(debian_mirror)" >&2
  container=$(buildah from scratch)
  buildah add -q "$container" "$folder" / >/dev/null
  buildah commit -q --rm "$container" "$BASE" >/dev/null
  rm -rf "$folder"
}

# build TARGET ARGUMENT…
build() {
  local target=$1; shift
  say "building kubebpf-$target"
  buildah build -q --isolation chroot --network host --build-arg BASE="$BASE" --target "$target" -t "kubebpf-$target" "$@" . >/dev/null
}

# inside IMAGE OPTIONS… -- COMMAND…: run in a container of the image.
inside() {
  local image=$1 container status=0 options=(); shift
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  # The default filter of older builders forbids bpf() without CAP_SYS_ADMIN.
  container=$(buildah from --pull-never --security-opt seccomp=unconfined "$image")
  buildah run --isolation chroot "${options[@]}" "$container" -- "$@" || status=$?
  buildah rm "$container" >/dev/null
  return $status
}

buildah inspect --type image "$BASE" >/dev/null 2>&1 || make_base
for target in operator agent; do build "$target" "$@"; done

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
chmod 777 "$work"
say "the operator's image compiles, the agent's runs what it compiled"
program='begin { printf("%s\n", "from the image"); @x = 42; exit(); }'
inside kubebpf-operator -v "$work:/work" -- /opt/kubebpf/bin/kubebpf compile -e "$program" -o /work/object.o
said=$(inside kubebpf-agent --cap-add CAP_BPF --cap-add CAP_PERFMON -v "$work:/work" -v /sys:/sys -- /opt/kubebpf/bin/kubebpf run /work/object.o)
echo "$said"
grep -q 'from the image' <<<"$said" && grep -q '@x: 42' <<<"$said" || fail "the images do not work together"
# Neither image has what belongs to the other.
! inside kubebpf-agent -- /opt/kubebpf/bin/python -c 'import llvmlite' 2>/dev/null || fail "the agent's image has LLVM"
! inside kubebpf-operator -- sh -c 'ls /usr/lib/*/libbpf.so*' 2>/dev/null || fail "the operator's image has libbpf"
buildah images --filter reference=localhost/kubebpf-operator --filter reference=localhost/kubebpf-agent 2>/dev/null || buildah images
