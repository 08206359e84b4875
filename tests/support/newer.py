"""A Kubernetes of today beside the control plane, for what 1.20 does not know: CEL rules in CRDs, ValidatingAdmissionPolicies.

    with NewerServer(cluster, policies) as newer:
        newer.api("POST", path, body, user="system:serviceaccount:…", extra={"authentication.kubernetes.io/node-name": "a"})

It is the CRD API server of Kubernetes 1.36 (hack/build-crdserver.sh) with that version's schema checks and admission plug-ins.
Rights (SubjectAccessReview) and namespaces come from the control plane. Two things that one cannot give are put in its way:
`Core` lists the policies, of which 1.20 knows nothing, and who has the front proxy's certificate may say which node the token
of a ServiceAccount names, as tokens do since 1.30.
"""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.controlplane import ApiError, ControlPlane, Object
from support.processes import Server, eventually, free_ports

ADMISSION = "/apis/admissionregistration.k8s.io/v1/"
GROUP_VERSION = "admissionregistration.k8s.io/v1"


class Core(ThreadingHTTPServer):
    """The control plane's API, and lists of policies on top."""

    daemon_threads = True

    def __init__(self, cluster: ControlPlane, policies: Sequence[Object]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster = cluster
        self.policies: dict[str, list[Object]] = {"validatingadmissionpolicies": [], "validatingadmissionpolicybindings": []}
        for number, policy in enumerate(policies, 1):
            kind: str = policy["kind"]
            plural = f"{kind.lower()}s" if kind.endswith("Binding") else kind.lower().replace("policy", "policies")
            meta = {"uid": f"00000000-0000-4000-8000-{number:012}", "resourceVersion": str(number), "generation": 1}
            said = {"apiVersion": GROUP_VERSION, "metadata": policy["metadata"] | meta, "spec": _with_defaults(policy["spec"])}
            self.policies[plural].append(policy | said)


def _with_defaults(spec: Object) -> Object:
    """As an API server stores it."""
    defaults = {"namespaceSelector": {}, "objectSelector": {}, "matchPolicy": "Equivalent"}
    return spec | {"matchConstraints": defaults | spec["matchConstraints"]} if "matchConstraints" in spec else spec


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Core

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        where = urllib.parse.urlsplit(self.path)
        plural = where.path.removeprefix(ADMISSION)
        if where.path.startswith(ADMISSION) and plural in self.server.policies:
            if "watch=true" in where.query or "watch=1" in where.query:
                self._hold()
            else:
                items = self.server.policies[plural]
                kind = "ValidatingAdmissionPolicyBindingList" if "bindings" in plural else "ValidatingAdmissionPolicyList"
                self._answer(
                    200, {"apiVersion": GROUP_VERSION, "kind": kind, "metadata": {"resourceVersion": "1"}, "items": items}
                )
            return
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def _answer(self, code: int, body: Object) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _hold(self) -> None:
        """A watch in which nothing happens."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        time.sleep(600)

    def _forward(self) -> None:
        cluster = self.server.cluster
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        context = ssl.create_default_context(cafile=str(cluster.folder / "certs" / "apiserver.crt"))
        to = http.client.HTTPSConnection("127.0.0.1", cluster.port, context=context)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "accept-encoding", "accept")}
        # Kubernetes' clients keep their tokens to themselves where there is no TLS.
        to.request(self.command, self.path, body, kept | {"Accept": "application/json", "Authorization": "Bearer admin-token"})
        answer = to.getresponse()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(OSError, http.client.HTTPException):
            while piece := answer.read1(1 << 16):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        to.close()


class NewerServer:
    """See the module.

    Args:
        binary: of the CRD API server.
        crds: files to apply.
        policies: ValidatingAdmissionPolicies and their bindings.
    """

    def __init__(self, cluster: ControlPlane, binary: Path, crds: Sequence[Path], policies: Sequence[Object]) -> None:
        self.cluster, self.crds = cluster, crds
        self.folder = cluster.folder / "newer"
        self.core = Core(cluster, policies)
        (self.port,) = free_ports(1)
        self._binary = binary

    def __enter__(self) -> Self:
        self.folder.mkdir()
        threading.Thread(target=self.core.serve_forever, daemon=True).start()
        self._write_certificates()
        self.server = self._server()
        self.server.start()
        try:
            eventually(self._ready, timeout=60, what="the CRD server is ready")
            for path in self.crds:
                self.api("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(path.read_text()))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.stop(grace=2)
        print(self.server.tail(20))
        self.core.shutdown()
        self.core.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ready(self) -> bool:
        self.server.check()
        try:
            self.api("GET", "/readyz")
        except (OSError, ApiError):
            return False
        return True

    def _server(self) -> Server:
        core = self.folder / "core"
        self.cluster.write_kubeconfig(core, token="admin-token")
        core.write_text(core.read_text().replace(self.cluster.url, f"http://127.0.0.1:{self.core.server_port}"))
        etcd = next(str(word) for word in self.cluster.apiserver.argv if "--etcd-servers" in str(word))
        argv: list[str | Path] = [
            self._binary,
            etcd,
            "--etcd-prefix=/newer",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
        ]
        argv += [f"--{part}kubeconfig={core}" for part in ("", "authentication-", "authorization-")]
        argv += [f"--cert-dir={self.folder}/certs", f"--requestheader-client-ca-file={self.folder}/front.crt"]
        argv += ["--authentication-skip-lookup=true", "--enable-priority-and-fairness=false"]
        # Their kinds are not listed by `Core`.
        argv += ["--disable-admission-plugins=MutatingAdmissionPolicy,MutatingAdmissionWebhook,ValidatingAdmissionWebhook"]
        # Kubernetes 1.20 does not know how to begin a watch with a list.
        return Server(argv, self.cluster.folder / "newer.log", {"KUBE_FEATURE_WatchListClient": "false"})

    def _write_certificates(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "front-proxy")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        (self.folder / "front.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
        (self.folder / "front.key").touch(mode=0o600)
        (self.folder / "front.key").write_bytes(pem)

    def api(
        self, method: str, path: str, body: Object | None = None, user: str = "", extra: dict[str, str] | None = None
    ) -> Object:
        """One request: as an administrator, or as `user` whom the front proxy vouches for.

        Raises:
            ApiError: it is refused.
        """
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        if user:
            context.load_cert_chain(self.folder / "front.crt", self.folder / "front.key")
            headers["X-Remote-User"] = user
            for name, value in (extra or {}).items():
                headers[f"X-Remote-Extra-{urllib.parse.quote(name, safe='')}"] = value
        else:
            headers["Authorization"] = "Bearer admin-token"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                text = answer.read()
                parsed: Object = json.loads(text) if text.startswith(b"{") else {}
                return parsed
        except urllib.error.HTTPError as error:
            with error:
                said = error.read()
                message = json.loads(said).get("message", "") if said.startswith(b"{") else said.decode(errors="replace")
                raise ApiError(error.code, message) from None
