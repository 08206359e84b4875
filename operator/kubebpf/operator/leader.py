"""One operator at a time: a Lease that the leader renews and that another replica takes when it is no longer renewed.

    await Elector(api, "kubebpf-system").run(lead)      # lead() runs whenever this replica is elected

The rules are client-go's (tools/leaderelection): a lease counts as expired when *this* replica has seen no change of it for its
duration, by the local monotonic clock, so that clocks of machines need not agree; the leader stops before others may start,
because `give_up` is shorter than `duration`. The Python client's own election ends its thread at the first refused connection
and cannot hand a lease back, so that each restart would leave the cluster unserved for a whole duration.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from kubebpf.operator.api import Api, ApiError, ConflictError, GoneError
from kubebpf.operator.config import Terms
from kubebpf.operator.model import Json

logger = logging.getLogger(__name__)

NAME = "kubebpf-operator"


class Elector:
    """Takes part in the election.

    Args:
        namespace: of the Lease.
        identity: of this replica; by default the host's (the pod's) name and something random.
    """

    def __init__(self, api: Api, namespace: str, terms: Terms | None = None, identity: str = "") -> None:
        self._api, self._namespace, self._terms = api, namespace, terms or Terms()
        self.identity = identity or f"{os.uname().nodename}_{secrets.token_hex(4)}"
        self._seen: str | None = None  # the resourceVersion that was seen last
        self._seen_at = 0.0
        self._holder = ""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Lead whenever this replica is elected, until cancelled; the lease is handed back at the end.

        Args:
            lead: the work; cancelled when the lease is lost, called anew when it is won again. It does not return by itself.

        Raises:
            Exception: whatever `lead` raises.
        """
        try:
            while True:
                await self._win()
                await self._lead(lead)
        finally:
            await asyncio.shield(self._hand_back())

    async def _win(self) -> None:
        logger.info("%s: waiting for the lease %s", self.identity, NAME)
        while not await self._try():
            await asyncio.sleep(self._terms.retry * random.uniform(0.8, 1.2))
        logger.info("%s: leads", self.identity)

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> None:
        work = asyncio.ensure_future(lead())
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.wait({work, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, renewing):
                task.cancel()
            results = await asyncio.gather(work, renewing, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        logger.warning("%s: lost the lease", self.identity)

    async def _renew(self) -> None:
        """Returns when the lease is lost."""
        renewed = time.monotonic()
        while time.monotonic() - renewed < self._terms.give_up:
            await asyncio.sleep(self._terms.retry)
            began = time.monotonic()
            if await self._try():
                renewed = began
            elif self._holder and self._holder != self.identity:
                return

    async def _try(self) -> bool:
        """Take the lease or renew it; whether this replica holds it now."""
        try:
            return await asyncio.wait_for(self._take(), self._terms.give_up / 2)
        except (ApiError, TimeoutError) as error:
            logger.info("the lease: %s", error or "no answer in time")
            return False

    async def _take(self) -> bool:
        try:
            lease = await self._api.get_lease(self._namespace, NAME)
        except GoneError:
            return self._note(await self._api.create_lease(self._namespace, self._body({})))
        self._note(lease)
        if self._holder != self.identity and not self._expired(lease):
            return False
        try:
            return self._note(await self._api.replace_lease(self._namespace, NAME, self._body(lease)))
        except ConflictError:
            return False  # another replica was faster

    def _note(self, lease: Json) -> bool:
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen:
            self._seen, self._seen_at = version, time.monotonic()
        self._holder = (lease.get("spec") or {}).get("holderIdentity") or ""
        return self._holder == self.identity

    def _expired(self, lease: Json) -> bool:
        duration = (lease.get("spec") or {}).get("leaseDurationSeconds") or 0
        return not self._holder or time.monotonic() - self._seen_at > duration

    def _body(self, lease: Json, holder: str | None = None) -> Json:
        """The lease as it is to be; its transitions count changes of hands."""
        now, spec = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), lease.get("spec") or {}
        holder = self.identity if holder is None else holder
        if spec.get("holderIdentity") != holder:
            changed = spec.get("leaseTransitions", 0) + (1 if holder and spec else 0)
            spec = {**spec, "acquireTime": now, "leaseTransitions": changed}
        spec = {**spec, "holderIdentity": holder, "renewTime": now, "leaseDurationSeconds": round(self._terms.duration)}
        meta = {"name": NAME} | {key: value for key, value in (lease.get("metadata") or {}).items() if key == "resourceVersion"}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}

    async def _hand_back(self) -> None:
        """Another replica need not wait for the lease to expire."""
        if self._holder != self.identity:
            return
        with suppress(ApiError, TimeoutError):
            lease = await asyncio.wait_for(self._api.get_lease(self._namespace, NAME), 2.0)
            if self._note(lease):
                await asyncio.wait_for(self._api.replace_lease(self._namespace, NAME, self._body(lease, holder="")), 2.0)
