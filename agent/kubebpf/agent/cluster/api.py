"""The few requests that an agent makes, over the official client's connection: JSON in, JSON out.

api = Api.connect(kubeconfig=None)                     # in a pod
api.request("GET", "/api/v1/namespaces/kubebpf/configmaps/kubebpf-0f3a…")
for event in api.watch("/api/v1/pods", {"resourceVersion": "42"}): ...

The client brings authentication, token renewal, TLS and proxies. Its models are left aside: making them costs more than all the
rest of an agent.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

Object = dict[str, Any]

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"
# Lists without what their objects say, only who they are.
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class ApiError(Exception):
    """The API server said no.

    Args:
        code: the HTTP status.
        message: its words.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class ApiUnavailableError(Exception):
    """Nobody said anything of use: no connection, a time-out, an overloaded server. Trying again later may help.

    Args:
        retry_after: seconds that the server asks to be left alone (429 of its priority and fairness, 503), 0 if it does not say.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def later(delay: float, retry_after: float) -> float:
    """Seconds to wait after an error: one's own delay, and never less than the server asks for.

    The server tells everyone the same number of whole seconds, so what is added to it is random.
    """
    return max(delay, retry_after * random.uniform(1.0, 2.0))


class Api:
    """A connection pool to one API server. May be used from several threads."""

    def __init__(self, connection: client.ApiClient) -> None:
        self._client = connection

    @classmethod
    def connect(cls, kubeconfig: Path | None = None) -> Api:
        """Connect as the ServiceAccount of this pod, or as a kubeconfig file says.

        Raises:
            kubernetes.config.ConfigException: neither is there or usable.
        """
        settings = client.Configuration()
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        else:
            config.load_kube_config(str(kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call]
        # Every caller has its own back-off; urllib3's three quick retries only hide the first error.
        settings.retries = False
        # A node that vanished without a word must not leave a watch waiting for minutes.
        settings.keep_alive = True
        return cls(client.ApiClient(settings))

    def request(
        self, method: str, path: str, body: Object | None = None, query: dict[str, str] | None = None, accept: str = JSON
    ) -> Object:
        """One request and its answer. A PATCH is a merge patch (RFC 7386).

        Args:
            accept: in which form the answer is wanted.

        Raises:
            ApiError: the server's answer is no success.
            ApiUnavailableError: no answer, 429 or 5xx.
        """
        response = self._send(method, path, body, query, (CONNECT_SECONDS, READ_SECONDS), accept)
        try:
            parsed: Object = json.loads(response.response.data)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ApiUnavailableError(str(error)) from error
        return parsed

    def watch(self, path: str, query: dict[str, str], read_seconds: float) -> Iterator[Object]:
        """The events of a watch, until the server ends it.

        Raises:
            ApiError, ApiUnavailableError: as request.
        """
        response = self._send("GET", path, None, query | {"watch": "true"}, (CONNECT_SECONDS, read_seconds))
        try:
            for line in _lines(response.response):
                yield json.loads(line)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # ValueError: a line that was cut, or a proxy's page.
            raise ApiUnavailableError(str(error)) from error
        finally:
            # The rest of the stream is of no use to the next request on this connection.
            response.response.close()

    def _send(
        self,
        method: str,
        path: str,
        body: Object | None,
        query: dict[str, str] | None,
        timeout: tuple[float, float],
        accept: str = JSON,
    ) -> Any:
        headers = {"Accept": accept, "Content-Type": MERGE_PATCH if method == "PATCH" else JSON}
        pairs = list((query or {}).items())
        try:
            request = self._client.param_serialize(
                method, path, query_params=pairs, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response = self._client.call_api(*request, _request_timeout=timeout)
        except ApiException as error:
            raise ApiUnavailableError(str(error)) from error
        except (urllib3.exceptions.HTTPError, OSError, config.ConfigException) as error:
            # The last: the token's file is read again now and then, and may be missing while the kubelet replaces it.
            raise ApiUnavailableError(str(error)) from error
        if 200 <= response.status < 300:
            return response
        raise _refusal(response.status, response.response.data, response.response.headers.get("Retry-After"))


def _refusal(code: int, body: bytes, retry_after: str | None) -> ApiError | ApiUnavailableError:
    try:
        message = str(json.loads(body).get("message", ""))
    except (ValueError, AttributeError):
        message = body.decode(errors="replace")[:500]
    if code == 429 or code >= 500:
        return ApiUnavailableError(f"{code}: {message}", _seconds(retry_after))
    return ApiError(code, message)


def _seconds(retry_after: str | None) -> float:
    """The header in seconds, at most a minute. Kubernetes never sends its other form, a date."""
    return min(float(retry_after), 60.0) if retry_after is not None and retry_after.isdecimal() else 0.0


def _lines(response: Any) -> Iterator[bytes]:
    """The lines of a chunked answer, each as soon as it is there."""
    rest = bytearray()
    for chunk in response.stream(amt=None, decode_content=True):
        rest += chunk
        *lines, tail = rest.split(b"\n")
        rest = bytearray(tail)
        yield from (bytes(line) for line in lines if line)
