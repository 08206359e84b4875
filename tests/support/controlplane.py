"""A real Kubernetes control plane for tests: etcd, API server and controller manager on 127.0.0.1.

    with ControlPlane(crds=[Path("crds")]) as cluster:
        cluster.kubectl("get", "nodes")
        with cluster.outage():          # the API server is gone, etcd keeps the objects
            ...

There is no scheduler and no kubelet: `support.pods` plays the node. The ServiceAccount admission plugin is off, so a pod
needs no token, and only those controllers run that do not quarrel with nodes nobody heartbeats for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.audit import POLICY
from support.binaries import Binaries, find_binaries
from support.processes import Server, ServerDiedError, eventually, free_ports

Object = dict[str, Any]

USERS = {
    "admin": ("admin-token", "system:masters"),
    # A tenant without any rights, until a test binds a role to the user "tenant".
    "tenant": ("tenant-token", ""),
}
# Garbage collection by ownerReferences and namespace deletion; ServiceAccounts so that namespaces look as they do elsewhere.
# Not pod garbage collection or node life cycle: they remove pods of nodes without a kubelet.
CONTROLLERS = "garbagecollector,namespace,serviceaccount,root-ca-cert-publisher,clusterrole-aggregation"


class ApiError(Exception):
    """The API server's answer was not a success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class KubectlError(Exception):
    """kubectl ended with a status other than zero; the text is what it said."""


class ControlPlane:
    """One etcd, one API server, one controller manager in a temporary folder; ports and certificates survive restarts."""

    def __init__(self, crds: Sequence[Path] = (), binaries: Binaries | None = None) -> None:
        self.crds = [path for path in crds if path.exists()]
        self.binaries = binaries or find_binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="kubebpf-controlplane-"))
        self.kubeconfig = self.folder / "kubeconfig"
        self.audit_log = self.folder / "audit.log"
        self._context: ssl.SSLContext | None = None
        self._servers: list[Server] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # -- life cycle

    def start(self) -> None:
        """Ready to serve, CRDs established, controllers running."""
        (self.folder / "etcd").mkdir(mode=0o700)
        self._write_secrets()
        for attempt in range(3):
            self._plan_servers(*free_ports(4))
            try:
                self.etcd.start()
                self.start_apiserver()
                break
            except ServerDiedError as died:
                # Another process may have taken a port between the look and the bind.
                if "address already in use" not in str(died) or attempt == 2:
                    raise
                self._stop_servers()
        self.write_kubeconfig(self.kubeconfig, token=USERS["admin"][0])
        self.apply_crds()
        # Started after the CRDs: the garbage collector learns new kinds only every 30 seconds.
        self.controller_manager.start()

    def stop(self) -> None:
        self._stop_servers()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_apiserver(self, timeout: float = 60.0) -> None:
        """Start (again) and wait until it is ready."""
        self.apiserver.start()
        deadline = time.monotonic() + timeout
        while not self._ready():
            for server in (self.etcd, self.apiserver):
                server.check()
            if time.monotonic() > deadline:
                raise ServerDiedError(f"the API server is not ready after {timeout:g} s:\n{self.apiserver.tail()}")
            time.sleep(0.05)

    def stop_apiserver(self) -> None:
        """A clean stop; asked kindly it would wait a minute for its clients' watches, so it gets three seconds."""
        self.apiserver.stop(grace=3.0)

    def kill_apiserver(self) -> None:
        """kill -9: clients see reset connections."""
        self.apiserver.kill()

    @contextmanager
    def outage(self, how: str = "kill") -> Iterator[None]:
        """The API server is gone inside the block ("kill" or "stop") and ready again after it."""
        self.kill_apiserver() if how == "kill" else self.stop_apiserver()
        try:
            yield
        finally:
            self.start_apiserver()
            # One that was still starting when the API server went ends with a fatal error; a running one waits.
            self.controller_manager.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The API server keeps its connections but answers nothing inside the block."""
        self.apiserver.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.apiserver.signal(signal.SIGCONT)

    # -- clients

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def kubectl(
        self, *args: str | Path, input: str | None = None, kubeconfig: Path | None = None, binary: Path | None = None
    ) -> str:
        """kubectl as admin, or as the user of another kubeconfig; its stdout. Raises KubectlError with its stderr."""
        return self.run_kubectl(*args, input=input, kubeconfig=kubeconfig, binary=binary)[0]

    def run_kubectl(
        self, *args: str | Path, input: str | None = None, kubeconfig: Path | None = None, binary: Path | None = None
    ) -> tuple[str, str]:
        """As `kubectl`, with its stderr, where warnings are."""
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig or self.kubeconfig), "HOME": str(self.folder)}
        command = [str(binary or self.binaries.kubectl), *(str(word) for word in args)]
        done = subprocess.run(command, input=input, capture_output=True, text=True, env=environment, timeout=120)
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(command[1:])}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout, done.stderr

    def get(self, kind: str, name: str = "", namespace: str | None = None) -> Any:
        """`kubectl get -o json`: the object, or the list of items without a name."""
        where = ["-n", namespace] if namespace else ["-A"] if not name else []
        answer = json.loads(self.kubectl("get", kind, *([name] if name else []), *where, "-o", "json"))
        return answer if name else answer["items"]

    def apply(self, *manifests: Object) -> None:
        """`kubectl apply` of objects."""
        self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(manifests))

    def api(self, method: str, path: str, body: Object | None = None, token: str = USERS["admin"][0]) -> Object:
        """One request to the API server, a few milliseconds where kubectl takes a hundred. PATCH is a merge patch."""
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": content, "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._tls()) as answer:
                parsed: Object = json.load(answer)
                return parsed
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, _message(error.read())) from None

    def namespace(self, name: str, labels: dict[str, str] | None = None) -> str:
        """Make a namespace unless it exists; its name."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        try:
            self.api("POST", "/api/v1/namespaces", body)
        except ApiError as error:
            if error.code != 409:
                raise
        return name

    def user_kubeconfig(self, user: str) -> Path:
        """A kubeconfig of one of USERS."""
        return self.write_kubeconfig(self.folder / f"kubeconfig-{user}", token=USERS[user][0])

    def service_account_kubeconfig(self, namespace: str, name: str, pod: Object | None = None, hours: int = 12) -> Path:
        """A kubeconfig with a token of that ServiceAccount (TokenRequest), so that a process runs under its real rights.

        `pod` (a created Pod object) binds the token to that pod, as a kubelet's tokens are.
        """
        spec: Object = {"expirationSeconds": hours * 3600}
        file = f"kubeconfig-{namespace}-{name}"
        if pod is not None:
            meta = pod["metadata"]
            file += f"-{meta['name']}"
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        token: str = self.api("POST", path, request)["status"]["token"]
        return self.write_kubeconfig(self.folder / file, token, namespace)

    def write_kubeconfig(self, path: Path, token: str, namespace: str = "default") -> Path:
        cluster = {"server": self.url, "certificate-authority": str(self.folder / "certs" / "apiserver.crt")}
        context = {"cluster": "test", "user": "test", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def apply_crds(self) -> None:
        """Apply the CRD files and wait until their kinds are served."""
        files = [file for path in self.crds for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
        if not files:
            return
        # The files have CEL rules; servers before 1.23 do not know the field and drop it, but kubectl would refuse it first.
        lenient = ["--validate=false"] if self.binaries.minor_version() < 23 else []
        named = [word for file in files for word in ("-f", str(file))]
        names = self.kubectl("apply", "-o", "name", *lenient, *named).split()
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
        eventually(self._crds_published, timeout=30, what="kubectl sees the new kinds")

    # -- inside

    def _crds_published(self) -> bool:
        """Established comes a little before discovery lists the kinds, and a GET in between answers 404."""
        for crd in self.get("customresourcedefinitions"):
            spec = crd["spec"]
            version = next(v["name"] for v in spec["versions"] if v["served"])
            try:
                self.api("GET", f"/apis/{spec['group']}/{version}/{spec['names']['plural']}")
            except ApiError:
                return False
        return True

    def _plan_servers(self, client_port: int, peer_port: int, api_port: int, manager_port: int) -> None:
        self.port = api_port
        at, log = self.folder, self.folder
        client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
        etcd: list[str | Path] = [self.binaries.etcd, "--name=test", f"--data-dir={at}/etcd", "--unsafe-no-fsync"]
        etcd += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        etcd += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        etcd += [f"--initial-cluster=test={peer}"]
        apiserver: list[str | Path] = [self.binaries.apiserver, f"--etcd-servers={client}"]
        apiserver += ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={api_port}"]
        apiserver += [f"--cert-dir={at}/certs", f"--token-auth-file={at}/tokens.csv", "--authorization-mode=RBAC"]
        apiserver += ["--service-account-issuer=https://kubernetes.default.svc"]
        apiserver += [f"--service-account-key-file={at}/sa.pub", f"--service-account-signing-key-file={at}/sa.key"]
        # Without "none" the server wants a routable address to publish.
        apiserver += ["--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none"]
        apiserver += [f"--audit-policy-file={at}/audit.yaml", f"--audit-log-path={self.audit_log}"]
        apiserver += ["--allow-privileged=true", "--disable-admission-plugins=ServiceAccount", "--profiling=false"]
        manager: list[str | Path] = [self.binaries.controller_manager, f"--kubeconfig={self.kubeconfig}"]
        manager += ["--bind-address=127.0.0.1", f"--secure-port={manager_port}", f"--cert-dir={at}/certs-manager"]
        manager += [f"--controllers={CONTROLLERS}", "--leader-elect=false", f"--flex-volume-plugin-dir={at}/flex"]
        manager += [f"--root-ca-file={at}/certs/apiserver.crt"]
        if self.binaries.minor_version() < 24:
            # Until 1.24 it also listened without TLS, on every address.
            manager += ["--port=0"]
        self.etcd = Server(etcd, log / "etcd.log")
        self.apiserver = Server(apiserver, log / "apiserver.log")
        self.controller_manager = Server(manager, log / "controller-manager.log")
        self._servers = [self.controller_manager, self.apiserver, self.etcd]

    def _stop_servers(self) -> None:
        for server in self._servers:
            # The API server waits for its clients' watches when asked kindly; nobody needs that at the end.
            server.stop(grace=2.0)

    def _write_secrets(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "sa.key").write_bytes(private)
        (self.folder / "audit.yaml").write_text(POLICY)
        (self.folder / "sa.pub").write_bytes(public)
        lines = [f'{token},{user},{user},"{groups}"' for user, (token, groups) in USERS.items()]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context(cafile=str(self.folder / "certs" / "apiserver.crt"))
            # The API server's self-made certificate lacks what the strict mode of newer Pythons asks for.
            self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return self._context

    def _ready(self) -> bool:
        if not (self.folder / "certs" / "apiserver.crt").exists():
            return False
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {USERS['admin'][0]}"})
        with suppress(OSError, ssl.SSLError), urllib.request.urlopen(request, timeout=2, context=self._tls()) as answer:
            return bool(answer.read() == b"ok")
        return False


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body).get("message", body.decode()))
    except ValueError:
        return body.decode(errors="replace")
