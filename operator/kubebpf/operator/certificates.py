"""The certificate of the admission webhook: made here, kept in a Secret, its authority told to the chart's configurations.

    folder = await Certificates(api, config).prepare(Path("/tmp/…"))        # tls.crt, tls.key, ca.crt

kopf would make its own, but not with every OpenSSL, and each replica another one; cert-manager is not in every cluster.
"""

from __future__ import annotations

import base64
import logging
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubebpf.operator.api import Api, ConflictError, GoneError
from kubebpf.operator.config import Config
from kubebpf.operator.model import Json

logger = logging.getLogger(__name__)

SECRET = "kubebpf-webhook-certificate"
LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=60)  # an operator that runs for months is started again sooner than this
FILES = ("tls.crt", "tls.key", "ca.crt")


class Certificates:
    """See the module."""

    def __init__(self, api: Api, config: Config) -> None:
        self._api, self._config = api, config

    async def prepare(self, folder: Path) -> None:
        """Write the three files, and publish the authority.

        Raises:
            ApiError: the Secret or a configuration cannot be read or written.
        """
        assert self._config.webhook
        data = await self._data(self._config.webhook.hosts)
        for name in FILES:
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(data[name])
        for name in self._config.webhook.configurations:
            await self._publish(name, base64.b64encode(data["ca.crt"]).decode())

    async def _data(self, hosts: tuple[str, ...]) -> dict[str, bytes]:
        try:
            secret = await self._api.get_secret(self._config.namespace, SECRET)
        except GoneError:
            secret = {}
        found = {name: base64.b64decode(text) for name, text in (secret.get("data") or {}).items()}
        if is_good(found, hosts, datetime.now(UTC)):
            return found
        made = make(hosts, datetime.now(UTC))
        meta = {name: value for name, value in secret.get("metadata", {}).items() if name == "resourceVersion"}
        body: Json = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, **meta},
            "type": "kubernetes.io/tls",
            "data": {name: base64.b64encode(value).decode() for name, value in made.items()},
        }
        try:
            await (self._api.replace_secret if secret else self._api.create_secret)(self._config.namespace, body)
        except ConflictError:
            return await self._data(hosts)  # another replica was faster, its certificate counts
        logger.info("made a certificate for the admission webhook: %s", ", ".join(hosts))
        return made

    async def _publish(self, name: str, bundle: str) -> None:
        kind, _, name = name.partition("/")
        try:
            body = await self._api.get_webhook_configuration(kind, name)
        except GoneError:
            logger.warning("there is no %swebhookconfiguration %s", kind, name)
            return
        hooks = body.get("webhooks") or []
        if all(hook["clientConfig"].get("caBundle") == bundle for hook in hooks):
            return
        for hook in hooks:
            hook["clientConfig"]["caBundle"] = bundle
        try:
            await self._api.replace_webhook_configuration(kind, name, body)
        except ConflictError:
            await self._publish(f"{kind}/{name}", bundle)


def is_good(found: dict[str, bytes], hosts: tuple[str, ...], now: datetime) -> bool:
    """Whether a stored certificate serves these names for long enough."""
    if not all(name in found for name in FILES):
        return False
    try:
        certificate = x509.load_pem_x509_certificate(found["tls.crt"])
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    served = {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}
    return certificate.not_valid_after_utc - now > RENEW_BEFORE and set(hosts) <= served


def make(hosts: tuple[str, ...], now: datetime) -> dict[str, bytes]:
    """A new authority and a certificate of it; the authority's key is forgotten.

    Args:
        hosts: names and addresses that API servers call.
    """
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubebpf admission webhook CA")])
    root = _builder(issuer, issuer, authority.public_key(), now)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    leaf = _builder(subject, issuer, server.public_key(), now)
    leaf = leaf.add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return {
        "tls.crt": leaf.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        "tls.key": server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "ca.crt": root.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
    }


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    empty = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    # Clocks of API servers may be behind.
    return (
        empty.serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
