"""Where the test control plane's programs come from: the environment, PATH, the cache, or the project's own build."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SERVERS = ("etcd", "kube-apiserver", "kube-controller-manager")


class MissingBinaryError(Exception):
    """The developer named a place that lacks a program; silence would hide their mistake."""


@dataclass(frozen=True)
class Binaries:
    etcd: Path
    apiserver: Path
    controller_manager: Path
    kubectl: Path

    def minor_version(self) -> int:
        """The API server's minor version: flags come and go with it."""
        said = subprocess.run([self.apiserver, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"v1\.(\d+)", said)
        if found is None:
            raise MissingBinaryError(f"{self.apiserver} --version says {said!r}")
        return int(found[1])


def find_binaries() -> Binaries:
    """All servers from one place, because their versions must match; kubectl from anywhere."""
    servers = _from_environment() or _from_path() or built_control_plane()
    etcd, apiserver, controller_manager = (servers / name for name in SERVERS)
    return Binaries(etcd, apiserver, controller_manager, _kubectl(servers))


def find_helm() -> Path:
    """Helm on PATH, else the project's own download into the cache."""
    on_path = shutil.which("helm")
    return Path(on_path) if on_path else _directory_from_script("get-helm.sh") / "helm"


def find_new_kubectl() -> Path:
    """A kubectl that knows --subresource (1.24), unlike that of the built control plane: the one that comes with Helm."""
    return _directory_from_script("get-helm.sh") / "kubectl"


def find_crd_server() -> Path | None:
    """The CRD API server of a newer Kubernetes. Where nothing may be skipped it is built, which takes minutes once; else None
    where it has not been."""
    named = os.environ.get("KUBEBPF_CRD_SERVER")
    if named:
        return Path(named)
    words = [] if os.environ.get("KUBEBPF_NO_SKIP") == "1" else ["--where"]
    done = subprocess.run([REPOSITORY / "hack/build-crdserver.sh", *words], stdout=subprocess.PIPE, text=True, check=True)
    path = Path(done.stdout.strip())
    return path if path.exists() else None


def built_control_plane() -> Path:
    """The project's cached build; builds it when it is missing (minutes, once a machine)."""
    return _directory_from_script("build-controlplane.sh")


def _from_environment() -> Path | None:
    named = os.environ.get("KUBEBUILDER_ASSETS")
    if not named:
        return None
    folder = Path(named)
    missing = [name for name in SERVERS if not (folder / name).exists()]
    if missing:
        raise MissingBinaryError(f"KUBEBUILDER_ASSETS={folder} has no {', '.join(missing)}; unset it to use the built ones")
    return folder


def _from_path() -> Path | None:
    found = [shutil.which(name) for name in SERVERS]
    folders = {Path(path).resolve().parent for path in found if path}
    return folders.pop() if all(found) and len(folders) == 1 else None


def _kubectl(servers: Path) -> Path:
    beside = servers / "kubectl"
    if beside.exists():
        return beside
    on_path = shutil.which("kubectl")
    return Path(on_path) if on_path else built_control_plane() / "kubectl"


def _directory_from_script(name: str) -> Path:
    script = REPOSITORY / "hack" / name
    # The script's progress goes to the terminal (it can take minutes); its only line on stdout is the directory.
    done = subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip().splitlines()[-1])
