"""List and watch: the state of the API server as a stream of changes, through outages of any length.

watch = Watch(api, Resource("pods", "/api/v1/pods", {"fieldSelector": "spec.nodeName=a"}), queue.put)
watch.start()
queue.get()   -> Listed("pods", [{…}, …]), then Changed("pods", {…}) and Removed("pods", {…})

What an outage hid comes with the next Changed events, or with another Listed where the server has forgotten (410 Gone):
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kubebpf.agent.cluster.api import Api, ApiError, ApiUnavailableError, Object, later

log = logging.getLogger(__name__)

GONE = 410
FIRST_DELAY = 0.25
LAST_DELAY = 15.0
# A server that is going down answers watches and ends them at once.
QUICK_SECONDS = 1.0
# The server ends a watch after this time, spread so that the nodes of a cluster do not all come back at once.
WATCH_SECONDS = (240, 360)


@dataclass(frozen=True, slots=True)
class Resource:
    """What is watched.

    Args:
        name: for the receiver.
        path: of the collection.
        query: selectors.
    """

    name: str
    path: str
    query: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects there are; what is not named does not exist any longer."""

    resource: str
    objects: list[Object]


@dataclass(frozen=True, slots=True)
class Changed:
    """An object is new or has changed."""

    resource: str
    object: Object


@dataclass(frozen=True, slots=True)
class Removed:
    """An object is gone; its last state."""

    resource: str
    object: Object


Change = Listed | Changed | Removed


class Backoff:
    """How long to wait before the next attempt: doubling, with jitter, up to a limit.

    Args:
        first, last: seconds.
    """

    def __init__(self, first: float = FIRST_DELAY, last: float = LAST_DELAY) -> None:
        self._first, self._last = first, last
        self._delay = first

    @property
    def fresh(self) -> bool:
        """Whether the last attempt worked."""
        return self._delay == self._first

    def next(self) -> float:
        """Seconds to wait now."""
        delay, self._delay = self._delay, min(self._delay * 2, self._last)
        return delay * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked."""
        self._delay = self._first


class Watch:
    """A thread that follows one resource.

    Args:
        api: the connection.
        resource: what to watch.
        emit: takes the changes, in the thread; must not block.
    """

    def __init__(self, api: Api, resource: Resource, emit: Callable[[Change], None]) -> None:
        self._api, self._resource, self._emit = api, resource, emit
        self._version = ""
        self._stopped = threading.Event()
        self._backoff = Backoff()
        self._thread = threading.Thread(target=self._run, name=f"watch-{resource.name}", daemon=True)

    def start(self) -> None:
        """Begin; the first change is a Listed."""
        self._thread.start()

    def stop(self) -> None:
        """Emit nothing from now on. The thread ends with its current request."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            asked = 0.0
            try:
                if not self._version:
                    self._list()
                started = time.monotonic()
                self._follow()
                if time.monotonic() - started > QUICK_SECONDS:
                    continue
            except ApiUnavailableError as error:
                asked = error.retry_after
                # Once an outage: a night without an API server must not fill the log.
                log.log(logging.WARNING if self._backoff.fresh else logging.DEBUG, "watch of %s: %s", self._resource.name, error)
            except ApiError as error:
                self._refused(error)
            except Exception as error:
                # No Kubernetes object, or what nobody thought of: the next list tells the truth. A watch never ends by itself.
                log.exception("watch of %s: %r", self._resource.name, error)
                self._version = ""
            self._stopped.wait(later(self._backoff.next(), asked))

    def _refused(self, error: ApiError) -> None:
        # 410 is the ordinary end of a long absence. Anything else (a CRD that is not there yet, missing rights) may be mended
        # under a running agent, and then the old version is of no use either. Told once, as an outage is.
        level = logging.INFO if error.code == GONE else logging.ERROR if self._backoff.fresh else logging.DEBUG
        log.log(level, "watch of %s: %s", self._resource.name, error)
        self._version = ""

    def _list(self) -> None:
        answer = self._api.request("GET", self._resource.path, query=self._resource.query)
        self._version = answer["metadata"]["resourceVersion"]
        self._tell(Listed(self._resource.name, answer.get("items") or []))

    def _follow(self) -> None:
        seconds = random.randint(*WATCH_SECONDS)
        query = self._resource.query | {
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        for event in self._api.watch(self._resource.path, query, read_seconds=seconds + 30.0):
            if self._stopped.is_set():
                return
            self._take(event["type"], event["object"])
            self._backoff.reset()

    def _take(self, kind: str, object: Object) -> None:
        if kind == "ERROR":
            raise ApiError(object.get("code", 0), object.get("message", "the watch failed"))
        self._version = object["metadata"]["resourceVersion"]
        if kind == "DELETED":
            self._tell(Removed(self._resource.name, object))
        elif kind != "BOOKMARK":
            self._tell(Changed(self._resource.name, object))

    def _tell(self, change: Change) -> None:
        if not self._stopped.is_set():
            self._emit(change)
