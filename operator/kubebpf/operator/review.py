"""Who was allowed to use unsafe helpers: asked of the API server when a trace is written, remembered in a signed annotation.

    review(…)  -> '{"user":"alice","key":"3f0c…","signature":"…"}'       at admission, after a SubjectAccessReview said yes
    is_reviewed(trace, signer)                                          at every look, because admission may have been passed by

The signature is about the whole spec: another program, or the same one in another namespace, wants a review of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kubebpf.operator.model import Trace, spec_digest
from kubebpf.operator.signing import Signature, Signer

PREFIX = b"kubebpf.dev/v1alpha1 unsafe review\n"
VERB = "useunsafe"
NOBODY = "this operator grants unsafe helpers to nobody (unsafe.policy: Never)"


def review(signer: Signer, kind: str, namespace: str, spec: Mapping[str, Any], user: str) -> str:
    """The annotation's value.

    Args:
        namespace: "" for a ClusterBpfTrace.
        user: who was allowed to.
    """
    signature = signer.sign_bytes(_statement(kind, namespace, spec_digest(spec), user))
    return json.dumps({"user": user, "key": signature.key, "signature": signature.value}, sort_keys=True)


def is_reviewed(trace: Trace, signer: Signer) -> bool:
    """Whether the trace's annotation is about this spec, and signed."""
    try:
        said = json.loads(trace.review)
        signature = Signature(str(said["key"]), str(said["signature"]))
        statement = _statement(trace.key.kind, trace.key.namespace, trace.spec_digest, str(said["user"]))
    except (ValueError, KeyError, TypeError):
        return False
    return signer.verifies_bytes(statement, signature)


def reviewer(trace: Trace) -> str:
    """Who was allowed to, of a trace that is reviewed."""
    return str(json.loads(trace.review)["user"])


def _statement(kind: str, namespace: str, digest: str, user: str) -> bytes:
    said = {"kind": kind, "namespace": namespace, "spec": digest, "user": user}
    return PREFIX + json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
