"""What an operator signs about an object, and a node verifies before it loads it: these bytes, and no others.

    statement(Grant(uid="6c1…", generation=3, digest="sha256:…", namespace="shop", unsafe=False))
    -> b'kubebpf.dev/v1alpha1 object grant\\n{"digest":"sha256:…","generation":3,…}'

An object alone is worth nothing: it may run for one trace, in one generation, with one scope. The same object under another
trace's name, an older generation's object, a namespace's object as a cluster-wide one: each is another statement.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

PREFIX = b"kubebpf.dev/v1alpha1 object grant\n"

# In the system namespace: the operator's private keys, and the public keys that agents trust.
KEYS_SECRET = "kubebpf-signing-keys"
TRUST_CONFIG_MAP = "kubebpf-trusted-keys"


@dataclass(frozen=True, slots=True)
class Grant:
    """The right of one trace to run one object.

    Args:
        uid, generation: of the trace.
        digest: of the object, `sha256:` and hex digits.
        namespace: whose pods it may see; "" for a ClusterBpfTrace.
        unsafe: whether its unsafe helpers were allowed to whoever asked for them.
    """

    uid: str
    generation: int
    digest: str
    namespace: str
    unsafe: bool


def statement(grant: Grant) -> bytes:
    """The bytes that are signed: canonical JSON behind a prefix that no other use of the key has."""
    return PREFIX + json.dumps(asdict(grant), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def key_id(public: bytes) -> str:
    """The name of a public key: the first 16 hex digits of its SHA-256.

    Args:
        public: the 32 raw bytes of an Ed25519 key (RFC 8032).
    """
    return hashlib.sha256(public).hexdigest()[:16]
