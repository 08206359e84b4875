"""Whether the DaemonSet that this agent belongs to is still wanted: what a stopping agent leaves behind depends on it.

owner = Owner(api, "kubebpf-system", "kubebpf-agent")
owner.start()         at the start: a thread asks until it knows whether it may
owner.is_gone()       at the end -> True: the DaemonSet is deleted or being deleted, and no agent will come and take pins up

Anything but a clear answer is "still wanted": what counts on for nobody ends with the next agent or a reboot, and counts that
were thrown away never come back. `helm uninstall` deletes the roles right behind the DaemonSet, so an agent that could ask at
its start and may no longer ask at its end has been uninstalled as well; an API server that is starting refuses for a moment
too, and is asked again.
"""

from __future__ import annotations

import logging
import threading
import time

from kubebpf.agent.cluster.api import Api, ApiError, ApiUnavailableError
from kubebpf.agent.cluster.watch import Backoff

log = logging.getLogger(__name__)

NOT_FOUND = 404
REFUSED = (401, 403)
PATIENCE = 4.0  # seconds in which a refusal has to stay one
_PAUSE = 0.5


class Owner:
    """The DaemonSet of this agent.

    Args:
        namespace, name: of the DaemonSet; without a name nothing is asked, and it is always wanted.
    """

    def __init__(self, api: Api, namespace: str, name: str = "") -> None:
        self._api, self._name = api, name
        self._path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"
        self._known = False

    def start(self) -> None:
        """Ask in a thread until the answer is clear: an API server that is down or starting tells nothing."""
        if self._name:
            threading.Thread(target=self._look, name="owner", daemon=True).start()

    def _look(self) -> None:
        backoff = Backoff()
        while not self._known:
            try:
                self._api.request("GET", self._path)
                self._known = True
            except ApiError as error:
                level = logging.WARNING if backoff.fresh else logging.DEBUG
                log.log(level, "DaemonSet %s: %s; unless that changes, pins stay when this agent ends", self._name, error)
                if error.code == NOT_FOUND:
                    return  # it is older than its agents, or there is none
            except ApiUnavailableError:
                pass
            if not self._known:
                time.sleep(backoff.next())

    def is_gone(self) -> bool:
        """At the end: whether no agent will follow this one. Takes some seconds at most."""
        if not self._known:
            return False
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return "deletionTimestamp" in self._api.request("GET", self._path)["metadata"]
            except ApiUnavailableError:
                return False
            except ApiError as error:
                if error.code not in REFUSED or time.monotonic() > until:
                    return error.code in (NOT_FOUND, *REFUSED)
            time.sleep(_PAUSE)
