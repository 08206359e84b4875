#!/bin/bash
# Builds the test control plane and prints the directory it is in: etcd, kube-apiserver, kube-controller-manager, kubectl.
#
#   hack/build-controlplane.sh            build unless it is there already
#   hack/build-controlplane.sh --where    only print the directory
#
# Kubernetes comes from Debian bookworm's source package, compiled with Debian's Go; etcd and kubectl are Debian's binaries.
# About five minutes on two cores and 2 GB of disk while it runs; afterwards only the binaries stay (240 MB).
# The system's apt configuration is left alone. DEBIAN_MIRROR names another mirror.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/common.sh"

# The directory is named after this file's text: another recipe is another control plane.
KEY=$(sha256sum "$(readlink -f "$0")" | cut -c1-12)-$(uname -m)
OUT=$CACHE/controlplane/$KEY
[ "${1:-}" = --where ] && { echo "$OUT"; exit; }

# Whoever comes second waits here and finds the work done.
mkdir -p "$CACHE/controlplane"
exec 9>"$CACHE/controlplane/$KEY.lock"
flock 9
[ -d "$OUT" ] && { echo "$OUT"; exit; }

need_packages patch xz-utils
# Below the cache, not in /tmp: the last step is a rename, and /tmp may be a small memory file system.
W=$(mktemp -d "$CACHE/controlplane/build.XXXXXX")
trap 'chmod -R u+w "$W"; rm -rf "$W"' EXIT

fetch() {
  say "fetching Debian's kubernetes source, Go and etcd"
  private_apt "$W/apt"
  mkdir -p "$W/downloads"
  ( cd "$W/downloads"
    apt-get "${APT[@]}" -qq source --download-only kubernetes
    apt-get "${APT[@]}" -qq download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev etcd-server kubernetes-client )
  local deb
  for deb in "$W"/downloads/*.deb; do dpkg-deb -x "$deb" "$W/debian"; done
}

unpack() {
  SOURCE=$W/gopath/src/k8s.io/kubernetes
  mkdir -p "$SOURCE" "$W/packaging"
  tar -xzf "$W"/downloads/kubernetes_*.orig.tar.gz -C "$SOURCE" --strip-components=1
  tar -xJf "$W"/downloads/kubernetes_*.debian.tar.xz -C "$W/packaging"
  local name
  while read -r name; do patch -s -d "$SOURCE" -p1 <"$W/packaging/debian/patches/$name"; done <"$W/packaging/debian/patches/series"
  # The vendored reflect2 1.0.1 corrupts map iteration with Go 1.18 and later: the API server crashes on the first custom
  # resource. Debian's own package has the repaired 1.0.2.
  local vendored=$SOURCE/vendor/github.com/modern-go/reflect2
  rm "$vendored"/*.go "$vendored"/*.s
  cp "$W"/debian/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$vendored/"
}

# The one generated file that the source archive lacks: OpenAPI definitions of every type marked +k8s:openapi-gen.
generate_openapi() {
  say "generating OpenAPI definitions"
  local packages
  go build -o "$W/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  packages=$(find -L pkg cmd plugin vendor/k8s.io -type f -name '*.go' \
      -not -path 'vendor/k8s.io/code-generator/*' -not -path 'vendor/k8s.io/sample-apiserver/*' -print0 |
    xargs -0 grep -l '^// *+k8s:openapi-gen=' | xargs -n1 dirname | LC_ALL=C sort -u | sed 's,^,k8s.io/kubernetes/,' | paste -sd,)
  "$W/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
    -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$W/violations"
}

compile() {
  local version package flags="-s -w" command
  # The archive is named kubernetes_1.20.5+really1.20.2.orig.tar.gz.
  version=$(basename "$W"/downloads/kubernetes_*.orig.tar.gz .orig.tar.gz | sed 's/.*_//; s/.*really//')
  # Without a stamped version the server calls itself v0.0.0 and clients refuse to talk to it.
  for package in k8s.io/{,kubernetes/vendor/k8s.io/}{component-base/version,client-go/pkg/version}; do
    flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*} -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
    flags+=" -X $package.gitTreeState=archive -X $package.buildDate=2021-01-13T13:20:00Z"
  done
  for command in kube-apiserver kube-controller-manager; do
    say "compiling $command $version"
    go build -trimpath -tags "providerless dockerless" -ldflags "$flags" -o "$W/bin/" "k8s.io/kubernetes/cmd/$command"
  done
}

fetch
unpack
cd "$SOURCE"
mkdir -p "$W"/{bin,gotmp}
export GOPATH=$W/gopath GOCACHE=$W/gocache GOTMPDIR=$W/gotmp GO111MODULE=off GOFLAGS= GOPROXY=off CGO_ENABLED=0
PATH=$W/debian/usr/lib/go-1.19/bin:$PATH
generate_openapi
compile
install -m 755 "$W/debian/usr/bin/etcd" "$W/debian/usr/bin/kubectl" "$W/bin/"

cd "$W/bin"
for binary in etcd kube-apiserver kube-controller-manager; do ./$binary --version >&2 || fail "$binary does not run"; done
./kubectl version --client --short >&2 || fail "kubectl does not run"
mv "$W/bin" "$OUT"
say "done"
echo "$OUT"
