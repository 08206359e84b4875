"""Grants, signed: which trace may run which object (Ed25519). Agents load nothing without one.

    signer = Signer(api, config)
    await signer.refresh()                       # keys made, found or rotated; what agents trust is published
    signer.sign(grant)  -> Signature("3f0c…", "base64…")

The private keys are in a Secret of the system namespace, which only the operator may read; the public ones in a ConfigMap that
agents read. A key is replaced when it is old: the new one signs at once, the old one stays trusted for a while, until every
status names the new one. Deleting the Secret is the emergency brake: the next look makes a new key and distrusts all others.
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kubebpf.compiler.artifact.statement import KEYS_SECRET, TRUST_CONFIG_MAP, Grant, key_id, statement
from kubebpf.operator.api import Api, ConflictError, GoneError
from kubebpf.operator.config import Config
from kubebpf.operator.model import Json

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Signature:
    """As it stands in a trace's status."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Key:
    """A private key and when it was made."""

    private: Ed25519PrivateKey
    made: datetime

    @classmethod
    def make(cls, now: datetime) -> Key:
        """A new one."""
        return cls(Ed25519PrivateKey.generate(), now)

    @property
    def public(self) -> bytes:
        """The raw public key."""
        return self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    @property
    def id(self) -> str:
        """Its name."""
        return key_id(self.public)


class Signer:
    """Signs with the newest key."""

    def __init__(self, api: Api, config: Config) -> None:
        self._api, self._config = api, config
        self._keys: list[Key] = []

    @property
    def key(self) -> str:
        """The name of the key that signs; "" before the first refresh."""
        return self._keys[-1].id if self._keys else ""

    def sign(self, grant: Grant) -> Signature:
        """A signature; equal for equal grants and keys (RFC 8032 is deterministic)."""
        return self.sign_bytes(statement(grant))

    def sign_bytes(self, data: bytes) -> Signature:
        """As `sign`, for another statement; each kind of statement begins with a prefix of its own."""
        newest = self._keys[-1]
        return Signature(newest.id, base64.b64encode(newest.private.sign(data)).decode())

    def verifies(self, grant: Grant, signature: Signature | None) -> bool:
        """Whether one of the keys has signed this grant: what a status says is believed only then."""
        return self.verifies_bytes(statement(grant), signature)

    def verifies_bytes(self, data: bytes, signature: Signature | None) -> bool:
        """As `verifies`, for another statement."""
        keys = [key for key in self._keys if signature and key.id == signature.key]
        try:
            value = base64.b64decode(signature.value, validate=True) if signature else b""
            for key in keys:
                key.private.public_key().verify(value, data)
        except (InvalidSignature, ValueError):
            return False
        return bool(keys)

    async def refresh(self) -> bool:
        """Read the keys, make or replace them if need be, publish the public ones; whether another key signs now.

        Raises:
            ApiError: the Secret or the ConfigMap cannot be read or written.
        """
        before = self.key
        secret = await self._secret()
        self._keys = await self._renewed(secret, datetime.now(UTC))
        await self._publish()
        return self.key != before

    async def _secret(self) -> Json:
        try:
            return await self._api.get_secret(self._config.namespace, KEYS_SECRET)
        except GoneError:
            return {}

    async def _renewed(self, secret: Json, now: datetime) -> list[Key]:
        keys = read_keys(secret)
        wanted = due(keys, now, self._config.key_lifetime, self._config.key_overlap)
        if [key.id for key in wanted] == [key.id for key in keys] and secret:
            return keys
        meta = {name: value for name, value in secret.get("metadata", {}).items() if name == "resourceVersion"}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": KEYS_SECRET, **meta},
            "type": "kubebpf.dev/signing-keys",
            "data": {f"{key.id}.{_moment(key)}.key": base64.b64encode(_raw(key)).decode() for key in wanted},
        }
        try:
            put = self._api.replace_secret if secret else self._api.create_secret
            await put(self._config.namespace, body)
        except ConflictError:
            return read_keys(await self._secret())  # another replica was faster, its keys count
        logger.info("objects are signed with the key %s", wanted[-1].id)
        return wanted

    async def _publish(self) -> None:
        """Agents trust these keys, and no others."""
        wanted = {f"{key.id}.pub": base64.b64encode(key.public).decode() for key in self._keys}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": TRUST_CONFIG_MAP}, "data": wanted}
        try:
            found = await self._api.get_config_map(self._config.namespace, TRUST_CONFIG_MAP)
        except GoneError:
            await self._api.create_config_map(self._config.namespace, body)
            return
        if found.get("data") != wanted:
            await self._api.replace_config_map(self._config.namespace, TRUST_CONFIG_MAP, body)


def due(keys: list[Key], now: datetime, lifetime: timedelta, overlap: timedelta) -> list[Key]:
    """The keys that should be there, oldest first: a new one when the newest is old, without those that are not needed any more.

    Args:
        lifetime: how long a key signs.
        overlap: how long an older key stays trusted once its successor signs.
    """
    if not keys or now - keys[-1].made >= lifetime:
        keys = [*keys, Key.make(now)]
    successors = keys[1:]
    kept = [key for key, next_key in zip(keys, successors, strict=False) if now - next_key.made < overlap]
    return [*kept, keys[-1]]


def read_keys(secret: Json) -> list[Key]:
    """The keys of the Secret, oldest first; what is no key is left out."""
    keys = []
    for name, value in (secret.get("data") or {}).items():
        try:
            made = datetime.fromtimestamp(int(name.split(".")[1]) / 1_000_000, UTC)
            keys.append(Key(Ed25519PrivateKey.from_private_bytes(base64.b64decode(value, validate=True)), made))
        except (ValueError, IndexError, OverflowError):
            logger.warning("the Secret %s holds something that is no key: %s", KEYS_SECRET, name)
    return sorted(keys, key=lambda key: (key.made, key.id))


def _raw(key: Key) -> bytes:
    plain = serialization.NoEncryption()
    return key.private.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, plain)


def _moment(key: Key) -> int:
    """The time as a Secret's key may spell it: microseconds since 1970."""
    return round(key.made.timestamp() * 1_000_000)
