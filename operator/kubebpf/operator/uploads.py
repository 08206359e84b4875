"""Types of kernels, asked of one node each and joined from the pieces that its agent makes: BpfNode.spec.uploadBTF, BtfChunks.

    uploads.want("uid", frozenset({"sha256:1f…"}))       # that trace has no use for others any more
    await uploads.run()                                  # asks, joins, keeps (views.py), takes the question back

Which node was asked stands in the cluster, so a restart asks nobody else; what is wanted follows from the traces.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Callable, Iterable
from itertools import chain

from kubebpf.operator.api import Api, ApiError, GoneError
from kubebpf.operator.model import BpfNode, Json, NodeName, is_int
from kubebpf.operator.store import Store
from kubebpf.operator.views import PACKED_LIMIT, Views

logger = logging.getLogger(__name__)

MOST_CHUNKS = 64  # as in the CRD
SOON, LATER = 1.0, 30.0  # seconds between two looks for pieces: at first, and when they do not come
YOUNG = 90.0  # seconds that count as "at first"
TURN = 20.0  # seconds after which another node is asked
LAG = 5.0  # seconds that the watch may take to show what was written
SETTLED = 15.0  # seconds after which all traces have been looked at, and what no one wants need not be asked any more


class BadChunksError(Exception):
    """The pieces do not fit together; the text says why."""


def chunk_name(digest: str, index: int) -> str:
    """The name of a piece."""
    return f"btf-{digest.removeprefix('sha256:')[:32]}-{index}"


def join(digest: str, pieces: Iterable[Json]) -> bytes:
    """The upload whose pieces these are, in order. What is in it is not looked at.

    Raises:
        BadChunksError: one of them is about something else, or no base64, or all are too long.
    """
    found = []
    for index, piece in enumerate(pieces):
        spec = piece.get("spec") or {}
        if (spec.get("digest"), spec.get("index"), spec.get("encoding")) != (digest, index, "xz"):
            raise BadChunksError(f"piece {index} is about something else")
        try:
            found.append(base64.b64decode(str(spec.get("data", "")), validate=True))
        except (binascii.Error, ValueError):
            raise BadChunksError(f"piece {index} is no base64") from None
        if sum(map(len, found)) > PACKED_LIMIT:
            raise BadChunksError(f"the pieces have more than {PACKED_LIMIT} bytes")
    return b"".join(found)


class Uploads:
    """What is wanted, and who was asked.

    Args:
        ready: called with the uid of a trace for which types have come.
    """

    def __init__(self, api: Api, namespace: str, store: Store, views: Views, ready: Callable[[str], None]) -> None:
        self._api, self._namespace, self._store, self._views, self._ready = api, namespace, store, views, ready
        self._wanted: dict[str, frozenset[str]] = {}
        self._since: dict[str, float] = {}
        self._turns: dict[str, tuple[str, float]] = {}  # which node, and since when
        self._said: dict[str, tuple[str, float]] = {}  # what was written last, by node, and when: the watch lags behind
        self._cleaned: set[str] = set()
        self._more = asyncio.Event()
        self._began = float("inf")

    def want(self, uid: str, digests: frozenset[str]) -> None:
        """The trace of that uid waits for these types, and no others."""
        before = self._wanted.pop(uid, frozenset())
        if digests:
            self._wanted[uid] = digests
        if digests - before:
            self._more.set()

    async def run(self) -> None:
        """Work for ever, as long as this replica leads."""
        self._began = time.monotonic()
        self._said.clear()
        while True:
            try:
                wait = await self._round()
            except (ApiError, OSError) as error:
                logger.warning("types of kernels: %s; trying again", error)
                wait = 5.0
            try:
                await asyncio.wait_for(self._more.wait(), wait)
                self._more.clear()
            except TimeoutError:
                pass

    async def _round(self) -> float | None:
        """One look; the seconds until the next, None when there is nothing to look for."""
        now = time.monotonic()
        missing = {digest for digest in chain.from_iterable(self._wanted.values()) if not self._views.has(digest)}
        self._since = {digest: self._since.get(digest, now) for digest in missing}
        for digest in sorted(missing):
            if await self._fetch(digest):
                missing.discard(digest)
                self._tell(digest)
        await self._ask({digest for digest in missing if not self._views.spoilt(digest)})
        if not missing:
            return None if now > self._began + SETTLED else SETTLED
        return SOON if any(now - self._since[digest] < YOUNG for digest in missing) else LATER

    def _tell(self, digest: str) -> None:
        for uid, wanted in list(self._wanted.items()):
            if digest in wanted:
                self._wanted[uid] = wanted - {digest}
                self._ready(uid)

    # -- pieces

    async def _fetch(self, digest: str) -> bool:
        """Whether all pieces were there; they are kept then."""
        if why := self._views.spoilt(digest):
            await self._clean(digest, why)
            return False
        self._cleaned.discard(digest)
        try:
            pieces = await self._pieces(digest)
            if pieces is None:
                return False
            packed = join(digest, pieces)
        except BadChunksError as error:
            self._views.reject(digest, str(error))
            await self._clean(digest, str(error))
            return False
        await asyncio.to_thread(self._views.keep, digest, packed)
        logger.info("the types of the kernel %s have come, %d bytes", digest, len(packed))
        return True

    async def _pieces(self, digest: str) -> list[Json] | None:
        """All pieces, or None when one is not there yet."""
        try:
            first = await self._api.get_chunk(self._namespace, chunk_name(digest, 0))
            total = (first.get("spec") or {}).get("total")
            if not is_int(total) or not 1 <= total <= MOST_CHUNKS:
                raise BadChunksError("the first piece does not say how many there are")
            rest = [await self._api.get_chunk(self._namespace, chunk_name(digest, index)) for index in range(1, total)]
        except GoneError:
            return None
        return [first, *rest]

    async def _clean(self, digest: str, why: str) -> None:
        """Remove pieces that are no good, once: their makers may make better ones when it is time to ask again."""
        if digest in self._cleaned:
            return
        self._cleaned.add(digest)
        logger.warning("the pieces of %s are removed: %s", digest, why)
        prefix = chunk_name(digest, 0).removesuffix("0")
        for name in await self._api.list_chunks(self._namespace):
            if name.startswith(prefix):
                await self._api.delete_chunk(self._namespace, name)

    async def collect(self) -> None:
        """Remove the pieces of kernels that no node has any more."""
        kept = {chunk_name(node.btf, 0).removesuffix("0") for node in self._store.all_bpf_nodes().values() if node.btf}
        for name in await self._api.list_chunks(self._namespace):
            if name.rpartition("-")[0] + "-" not in kept:
                logger.info("removing %s: no node has that kernel", name)
                await self._api.delete_chunk(self._namespace, name)

    # -- questions

    async def _ask(self, missing: set[str]) -> None:
        """Have exactly the nodes asked whose turn it is."""
        nodes, now = self._store.all_bpf_nodes(), time.monotonic()
        self._turns = {digest: turn for digest, turn in self._turns.items() if digest in missing}
        chosen = {digest: self._chosen(digest, nodes.values(), now) for digest in sorted(missing)}
        wanted = {name: digest for digest, name in chosen.items() if name}
        settled = now > self._began + SETTLED
        for name, node in sorted(nodes.items()):
            should = wanted.get(name, "")
            said, at = self._said.get(name, (node.asked, now))
            asked = said if now - at < LAG else node.asked
            if asked != should and (should or settled):
                await self._say(name, should)

    def _chosen(self, digest: str, nodes: Iterable[BpfNode], now: float) -> str | None:
        """The node whose turn it is: after a restart the one that is asked already, after a while the next one."""
        having = sorted((node.name, node.asked) for node in nodes if node.btf == digest)
        names = [name for name, _ in having]
        if not names:
            return None
        chosen, since = self._turns.get(digest, ("", now))
        if chosen not in names:
            chosen, since = next((name for name, asked in having if asked == digest), names[0]), now
        elif now - since > TURN:
            chosen, since = names[(names.index(NodeName(chosen)) + 1) % len(names)], now
        self._turns[digest] = chosen, since
        return chosen

    async def _say(self, node: str, digest: str) -> None:
        try:
            await self._api.ask_bpf_node(node, digest)
        except GoneError:
            return
        self._said[node] = digest, time.monotonic()
        logger.info("%s is asked for %s", node, digest or "nothing any more")
