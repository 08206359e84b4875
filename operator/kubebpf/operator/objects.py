"""Compiled objects in immutable ConfigMaps of the system namespace: there before a status names them, removed after the last one.

Within one operator nothing is collected by a race: `keep` claims a name until the status that names it has been seen, and keeping
and collecting exclude each other. An object that is missing for any other reason is compiled again, to the same bytes.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain

from kubebpf.operator.api import Api, ConflictError
from kubebpf.operator.config import Config
from kubebpf.operator.model import Json, config_map_name, parse_time

logger = logging.getLogger(__name__)

LABEL = "kubebpf.dev/digest"
FILE = "object.o"


class Objects:
    """The stored objects, as last seen."""

    def __init__(self, api: Api, config: Config) -> None:
        self._api, self._config = api, config
        self._present: set[str] = set()
        self._claims: dict[str, set[str]] = {}
        self._lock = asyncio.Lock()

    def has(self, name: str) -> bool:
        """Whether the ConfigMap was there when last seen."""
        return name in self._present

    async def keep(self, uid: str, digest: str, elf: bytes) -> str:
        """Store an object, if it is not stored yet, for the trace of that uid; the ConfigMap's name."""
        name = config_map_name(digest)
        async with self._lock:
            self._claims.setdefault(uid, set()).add(name)
            if name not in self._present:
                await self._create(name, digest, elf)
        return name

    def release(self, uid: str) -> None:
        """The trace is gone, or its status has been seen to name its objects: the claims have served."""
        self._claims.pop(uid, None)

    async def look(self) -> None:
        """See which objects are stored."""
        async with self._lock:
            self._present = {item["metadata"]["name"] for item in await self._list()}

    async def collect(self, named: Iterable[str]) -> bool:
        """Remove objects that no trace names and no trace claims; True when one is too young and wants another look.

        Args:
            named: ConfigMaps that the status of a trace names.
        """
        async with self._lock:
            items = await self._list()
            wanted = {*named, *chain.from_iterable(self._claims.values())}
            loose = [item["metadata"] for item in items if item["metadata"]["name"] not in wanted]
            old = [meta for meta in loose if self._is_old(meta)]
            for meta in old:
                logger.info("removing the object %s: no trace names it", meta["name"])
                await self._api.delete_config_map(self._config.namespace, meta["name"], meta["uid"])
            self._present = {item["metadata"]["name"] for item in items} - {meta["name"] for meta in old}
            return len(old) < len(loose)

    async def _list(self) -> list[Json]:
        return await self._api.list_config_maps(self._config.namespace, LABEL)

    def _is_old(self, meta: Json) -> bool:
        # Another operator, about to be replaced by this one, may just have made it.
        made = parse_time(meta.get("creationTimestamp"))
        return made is None or (datetime.now(UTC) - made).total_seconds() >= self._config.collect_after

    async def _create(self, name: str, digest: str, elf: bytes) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            # A label's value has at most 63 characters and no colon: the name's 40 digits are what can be selected by.
            "metadata": {
                "name": name,
                "labels": {LABEL: digest.removeprefix("sha256:")[:40], "app.kubernetes.io/managed-by": "kubebpf-operator"},
                "annotations": {LABEL: digest},
            },
            "immutable": True,
            "binaryData": {FILE: base64.b64encode(elf).decode()},
        }
        try:
            await self._api.create_config_map(self._config.namespace, body)
        except ConflictError:
            logger.debug("the object %s is stored already", name)
        self._present.add(name)
