"""Whether the operator has granted a trace its object: checked before anything is loaded, and anything but yes is no.

    trust = Trust(api, "kubebpf-system")
    trust.check(trace, digest)          # UntrustedError, or nothing

The keys come from a ConfigMap that only the operator may write; or from a folder of files, for clusters that hand out keys
otherwise.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kubebpf.agent.cluster.api import Api, ApiError
from kubebpf.agent.cluster.objects import RefusedError
from kubebpf.agent.cluster.trace import Trace
from kubebpf.compiler.artifact.statement import TRUST_CONFIG_MAP, Grant, key_id, statement

FRESH_SECONDS = 60.0  # a key that is trusted no longer is trusted here for at most as long
SOON_SECONDS = 2.0  # between two looks for a key that is not known


class UntrustedError(RefusedError):
    """No key that is trusted says that this trace may run this object. A later status may carry a grant that counts."""


class Trust:
    """The keys; may be used from several threads.

    Args:
        namespace: where the operator publishes them.
        folder: of `*.pub` files that are trusted instead: base64 of 32 bytes each.
    """

    def __init__(self, api: Api, namespace: str, folder: Path | None = None) -> None:
        self._api, self._namespace, self._folder = api, namespace, folder
        self._lock = threading.Lock()
        self._keys: dict[str, bytes] = {}
        self._read_at = float("-inf")

    def check(self, trace: Trace, digest: str) -> None:
        """Refuse an object that was not granted to this generation of this trace.

        Raises:
            UntrustedError: there is no signature, its key is not trusted, or it is about something else.
            ApiError, ApiUnavailableError: the keys cannot be had now.
        """
        if not trace.signature:
            raise UntrustedError("SignatureMissing", "the status names an object without a signature")
        public = self._key(trace.signing_key)
        if public is None:
            raise UntrustedError("KeyNotTrusted", f"the key {trace.signing_key or '-'} is not among those that are trusted")
        unsafe = trace.unsafe_granted
        grant = Grant(trace.name.uid, trace.generation, digest, trace.name.namespace, unsafe)
        try:
            signature = base64.b64decode(trace.signature, validate=True)
            Ed25519PublicKey.from_public_bytes(public).verify(signature, statement(grant))
        except (InvalidSignature, binascii.Error, ValueError):
            said = f"the signature is not about object {digest} for generation {trace.generation} of {trace.name}"
            raise UntrustedError("SignatureInvalid", said) from None

    def _key(self, name: str) -> bytes | None:
        with self._lock:
            age = time.monotonic() - self._read_at
            if age > FRESH_SECONDS or (name not in self._keys and age > SOON_SECONDS):
                self._keys = dict(self._read())
                self._read_at = time.monotonic()
            return self._keys.get(name)

    def _read(self) -> dict[str, bytes]:
        texts = self._files() if self._folder else self._published()
        found = [_decode(text) for text in texts]
        # Named by their contents: a file's name proves nothing.
        return {key_id(public): public for public in found if public}

    def _files(self) -> list[str]:
        assert self._folder
        return [path.read_text() for path in sorted(self._folder.glob("*.pub"))]

    def _published(self) -> list[str]:
        try:
            answer = self._api.request("GET", f"/api/v1/namespaces/{self._namespace}/configmaps/{TRUST_CONFIG_MAP}")
        except ApiError as error:
            if error.code != 404:
                raise
            return []
        return [str(text) for text in (answer.get("data") or {}).values()]


def _decode(text: str) -> bytes | None:
    try:
        public = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        return None
    return public if len(public) == 32 else None
