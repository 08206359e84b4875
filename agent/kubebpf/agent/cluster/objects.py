"""Fetches compiled objects: from a ConfigMap of the system namespace, verified by digest.

objects = Objects(api, "kubebpf-system")
objects.fetch("kubebpf-0f3a…", "sha256:0f3a…")     -> Artifact
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from collections import OrderedDict
from typing import Any

from kubebpf.agent.cluster.api import Api, ApiError
from kubebpf.agent.cluster.trace import Trace
from kubebpf.compiler.artifact.artifact import Artifact
from kubebpf.compiler.artifact.manifest import ManifestError

KEEP = 16
NOT_FOUND = 404
KEY = "object.o"


class RefusedError(Exception):
    """This node does not run the trace, and trying again does not help.

    Args:
        reason: CamelCase, for the report.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Objects:
    """The last few objects, by digest; may be used from several threads.

    Args:
        namespace: where the operator keeps them.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Artifact] = OrderedDict()

    def fetch(self, config_map: str, digest: str) -> Artifact:
        """The object with this digest.

        Raises:
            RefusedError: what is there is not that object.
            ApiError, ApiUnavailableError: it cannot be had now.
        """
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
        artifact = self._read(config_map, digest)
        with self._lock:
            self._kept[digest] = artifact
            if len(self._kept) > KEEP:
                self._kept.popitem(last=False)
        return artifact

    def _read(self, config_map: str, digest: str) -> Artifact:
        answer = self._get(f"/api/v1/namespaces/{self._namespace}/configmaps/{config_map}")
        try:
            elf = base64.b64decode((answer.get("binaryData") or {})[KEY], validate=True)
        except (KeyError, binascii.Error) as error:
            raise RefusedError("ObjectInvalid", f"ConfigMap {config_map} has no {KEY} that can be read") from error
        held = "sha256:" + hashlib.sha256(elf).hexdigest()
        if held != digest:
            raise RefusedError("DigestMismatch", f"ConfigMap {config_map} holds {held}, the status names {digest}")
        try:
            return Artifact.read(elf)
        except ManifestError as error:
            raise RefusedError("ObjectInvalid", str(error)) from error

    def _get(self, path: str) -> dict[str, Any]:
        """The object never changes, so what the API server has in memory will do: a thousand nodes ask at the same moment."""
        try:
            return self._api.request("GET", path, query={"resourceVersion": "0"})
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            # It may be younger than that memory.
            return self._api.request("GET", path)


def check_allowed(artifact: Artifact, trace: Trace, allow_unsafe: bool) -> None:
    """Refuse an object that may not run for this trace here.

    Args:
        allow_unsafe: whether this agent allows unsafe helpers at all.

    Raises:
        RefusedError: it would see other pods' events, or calls an unsafe helper that is not allowed.
    """
    manifest = artifact.manifest
    if trace.selects_pods and not manifest.scoped:
        raise RefusedError("ScopeMissing", "the object has no scope, and this trace may not see every process of the node")
    if manifest.unsafe and not (allow_unsafe and trace.allow_unsafe and trace.unsafe_granted):
        raise RefusedError("UnsafeNotAllowed", f"the program calls {', '.join(manifest.unsafe)}: not allowed here")


def retryable(error: Exception) -> bool:
    """Whether an object that could not be had may be there later: rights and ConfigMaps (404) may be given again."""
    return not isinstance(error, ApiError) or error.code in (401, 403, 404)
