"""The API server as the operator needs it: a handful of calls, off the event loop, errors sorted by what can be done about them.

api = Api.connect()
body = await api.write_status(trace.key, trace.resource_version, status)     # raises Conflict, Gone, Unavailable
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import urllib3
import yaml
from kubernetes import client, config

from kubebpf.operator.model import API_VERSION, GROUP, VERSION, Json, Report, TraceKey

TIMEOUT = 30.0  # seconds for one request
PAGE = 500  # items of one answer to a list
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PLURALS = {"BpfTrace": "bpftraces", "ClusterBpfTrace": "clusterbpftraces"}


class ApiError(Exception):
    """The API server refused, or did not answer. Trying later may help.

    Args:
        retry_after: seconds that the server asks to be left alone (429 of its priority and fairness), 0 if it does not say.
    """

    def __init__(self, message: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConflictError(ApiError):
    """The object exists already, or has changed since it was read (409)."""


class GoneError(ApiError):
    """There is no such object (404)."""


class InvalidError(ApiError):
    """The API server takes no such object (400, 413, 422): trying the same again is useless."""


_BY_STATUS: dict[int, type[ApiError]] = {
    404: GoneError,
    409: ConflictError,
    400: InvalidError,
    413: InvalidError,
    422: InvalidError,
}


# What the client library lets through when a file is no kubeconfig: text of another encoding, no YAML, YAML of another form.
_MALFORMED = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OSError)


def _load_kubeconfig() -> None:
    try:
        config.load_kube_config()  # type: ignore[no-untyped-call]
    except _MALFORMED as error:
        said = " ".join(str(error).split())
        raise config.ConfigException(f"{config.KUBE_CONFIG_DEFAULT_LOCATION} is no kubeconfig file: {said}") from error


class Api:
    """Calls of a `kubernetes` client in threads. Answers are plain JSON."""

    def __init__(self) -> None:
        settings = client.Configuration.get_default_copy()
        # Lost connections only. What the server asks for is the queue's business: urllib3 would sleep in one of few threads.
        settings.retries = urllib3.Retry(3, status=0, respect_retry_after_header=False)
        plain, metadata = client.ApiClient(settings), client.ApiClient(settings)
        # Lists of objects without their contents: a stored program has up to a megabyte.
        metadata.set_default_header("Accept", METADATA_ONLY)  # type: ignore[no-untyped-call]
        self._core = client.CoreV1Api(plain)
        self._metadata = client.CoreV1Api(metadata)
        self._admission = client.AdmissionregistrationV1Api(plain)
        self._authorization = client.AuthorizationV1Api(plain)
        self._leases = client.CoordinationV1Api(plain)
        self._custom = client.CustomObjectsApi(plain)
        self._custom_metadata = client.CustomObjectsApi(metadata)

    @classmethod
    def connect(cls) -> Api:
        """With the ServiceAccount of the pod, else with KUBECONFIG or ~/.kube/config.

        Raises:
            kubernetes.config.ConfigException: there is neither, or the file is not a kubeconfig; the text is one line.
        """
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            _load_kubeconfig()
        return cls()

    async def get_trace(self, key: TraceKey) -> Json:
        """The trace as it is now. Raises GoneError when there is none of that name."""
        names = [GROUP, VERSION, *_place(key), PLURALS[key.kind], key.name]
        call = self._custom.get_namespaced_custom_object if key.scoped else self._custom.get_cluster_custom_object
        return await _call(call, *names)

    async def write_status(self, key: TraceKey, resource_version: str, status: Json) -> Json:
        """Put a whole status in place of the present one; the object as it is then.

        Raises:
            ConflictError: the trace is no longer at `resource_version`.
        """
        meta = {"name": key.name, "uid": key.uid, "resourceVersion": resource_version}
        meta |= {"namespace": key.namespace} if key.scoped else {}
        body = {"apiVersion": API_VERSION, "kind": key.kind, "metadata": meta, "status": status}
        names = [GROUP, VERSION, *_place(key), PLURALS[key.kind], key.name]
        custom = self._custom
        call = custom.replace_namespaced_custom_object_status if key.scoped else custom.replace_cluster_custom_object_status
        return await _call(call, *names, body)

    async def create_trace(self, key: TraceKey, body: Json) -> Json:
        """Beside the trace of that key. Raises ConflictError when there is one of that name."""
        call = self._custom.create_namespaced_custom_object if key.scoped else self._custom.create_cluster_custom_object
        return await _call(call, GROUP, VERSION, *_place(key), PLURALS[key.kind], body)

    async def delete_trace(self, key: TraceKey) -> None:
        """Remove exactly the one with that uid, and all it owns; nothing happens when it is gone."""
        call = self._custom.delete_namespaced_custom_object if key.scoped else self._custom.delete_cluster_custom_object
        body = {"preconditions": {"uid": key.uid}, "propagationPolicy": "Background"}
        await _gone_is_fine(call, GROUP, VERSION, *_place(key), PLURALS[key.kind], key.name, body=body)

    async def all_uids(self) -> set[str]:
        """Of every trace, report, node and BpfNode there is."""
        plurals = (*PLURALS.values(), "bpftracereports", "bpfnodes")
        items = await _list(self._metadata.list_node)
        for plural in plurals:
            items += await _list(self._custom_metadata.list_cluster_custom_object, GROUP, VERSION, plural)
        return {item["metadata"]["uid"] for item in items}

    async def ask_bpf_node(self, name: str, digest: str) -> None:
        """Ask a node's agent for types of a kernel, "" for none. Raises GoneError when there is no BpfNode of that name."""
        body = {"spec": {"uploadBTF": digest or None}}
        await _call(self._custom.patch_cluster_custom_object, GROUP, VERSION, "bpfnodes", name, body)

    async def get_chunk(self, namespace: str, name: str) -> Json:
        """A BtfChunk. Raises GoneError when there is none."""
        return await _call(self._custom.get_namespaced_custom_object, GROUP, VERSION, namespace, "btfchunks", name)

    async def list_chunks(self, namespace: str) -> list[str]:
        """The names of all BtfChunks; none where the kind is not installed."""
        call = self._custom_metadata.list_namespaced_custom_object
        try:
            return [item["metadata"]["name"] for item in await _list(call, GROUP, VERSION, namespace, "btfchunks")]
        except GoneError:
            return []

    async def delete_chunk(self, namespace: str, name: str) -> None:
        """Remove a BtfChunk; nothing happens when it is gone."""
        await _gone_is_fine(self._custom.delete_namespaced_custom_object, GROUP, VERSION, namespace, "btfchunks", name)

    async def delete_report(self, report: Report) -> None:
        """Remove a report; nothing happens when it is gone."""
        names = [GROUP, VERSION, report.namespace, "bpftracereports", report.name]
        await _gone_is_fine(self._custom.delete_namespaced_custom_object, *names)

    async def create_config_map(self, namespace: str, body: Json) -> Json:
        """Raises ConflictError when there is one of that name."""
        return await _call(self._core.create_namespaced_config_map, namespace, body)

    async def get_config_map(self, namespace: str, name: str) -> Json:
        """Raises GoneError when there is none."""
        return await _call(self._core.read_namespaced_config_map, name, namespace)

    async def replace_config_map(self, namespace: str, name: str, body: Json) -> Json:
        """Put this in place of the present one, whatever it is."""
        return await _call(self._core.replace_namespaced_config_map, name, namespace, body)

    async def get_secret(self, namespace: str, name: str) -> Json:
        """Raises GoneError when there is none."""
        return await _call(self._core.read_namespaced_secret, name, namespace)

    async def create_secret(self, namespace: str, body: Json) -> Json:
        """Raises ConflictError when there is one of that name."""
        return await _call(self._core.create_namespaced_secret, namespace, body)

    async def replace_secret(self, namespace: str, body: Json) -> Json:
        """Raises ConflictError when it has changed since it was read."""
        return await _call(self._core.replace_namespaced_secret, body["metadata"]["name"], namespace, body)

    async def list_config_maps(self, namespace: str, label: str) -> list[Json]:
        """Those that have the label: their metadata only."""
        return await _list(self._metadata.list_namespaced_config_map, namespace, label_selector=label)

    async def delete_config_map(self, namespace: str, name: str, uid: str) -> None:
        """Remove exactly the one with that uid; nothing happens when it is gone."""
        body = {"preconditions": {"uid": uid}}
        await _gone_is_fine(self._core.delete_namespaced_config_map, name, namespace, body=body)

    async def get_webhook_configuration(self, kind: str, name: str) -> Json:
        """Of the kind `validating` or `mutating`. Raises GoneError when there is none."""
        return await _call(getattr(self._admission, f"read_{kind}_webhook_configuration"), name)

    async def replace_webhook_configuration(self, kind: str, name: str, body: Json) -> Json:
        """Raises ConflictError when it has changed since it was read."""
        return await _call(getattr(self._admission, f"replace_{kind}_webhook_configuration"), name, body)

    async def review_access(self, spec: Json) -> bool:
        """Whether the API server would allow it: a SubjectAccessReview."""
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = await _call(self._authorization.create_subject_access_review, body)
        return (answer.get("status") or {}).get("allowed") is True

    async def get_lease(self, namespace: str, name: str) -> Json:
        """Raises GoneError when there is none."""
        return await _call(self._leases.read_namespaced_lease, name, namespace)

    async def create_lease(self, namespace: str, body: Json) -> Json:
        """Raises ConflictError when there is one of that name."""
        return await _call(self._leases.create_namespaced_lease, namespace, body)

    async def replace_lease(self, namespace: str, name: str, body: Json) -> Json:
        """Raises ConflictError when it has changed since it was read."""
        return await _call(self._leases.replace_namespaced_lease, name, namespace, body)

    async def create_event(self, namespace: str, body: Json) -> None:
        """Raises ConflictError when there is one of that name."""
        await _call(self._core.create_namespaced_event, namespace, body)

    async def patch_event(self, namespace: str, name: str, body: Json) -> None:
        """Raises GoneError when it has expired."""
        await _call(self._core.patch_namespaced_event, name, namespace, body)


def _place(key: TraceKey) -> list[str]:
    return [key.namespace] if key.scoped else []


async def _list(call: Callable[..., Any], *names: str, **options: Any) -> list[Json]:
    """All items, in pages."""
    items: list[Json] = []
    after: dict[str, str] = {}
    while True:
        page = await _call(call, *names, limit=PAGE, **options, **after)
        items += page.get("items") or []
        if not (token := page.get("metadata", {}).get("continue")):
            return items
        after = {"_continue": token}


async def _gone_is_fine(call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    try:
        await _call(call, *args, **kwargs)
    except GoneError:
        return


async def _call(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Json:
    """Run a generated method of the client in a thread; its raw answer as JSON, its errors as ours."""

    def run() -> bytes:
        data: bytes = call(*args, _preload_content=False, _request_timeout=TIMEOUT, **kwargs).data
        return data

    try:
        answer = json.loads(await asyncio.to_thread(run))
    except client.ApiException as error:
        kind = _BY_STATUS.get(error.status, ApiError)
        raise kind(f"{error.status}: {_message(error.body)}", _seconds((error.headers or {}).get("Retry-After"))) from None
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise ApiError(str(error)) from error
    return answer if isinstance(answer, dict) else {}


def _seconds(retry_after: object) -> float:
    """The header in seconds, at most a minute. Kubernetes never sends its other form, a date."""
    return min(float(retry_after), 60.0) if isinstance(retry_after, str) and retry_after.isdecimal() else 0.0


def _message(body: object) -> str:
    try:
        return str(json.loads(str(body if isinstance(body, str) else bytes(body or b"").decode()))["message"])  # type: ignore[call-overload]
    except (ValueError, KeyError, TypeError):
        return str(body)[:200]
