"""The keeper of a node's BpfNode: what the watch tells while it writes is not overlooked."""

from __future__ import annotations

import time
from typing import Any, cast

from kubebpf.agent.cluster.api import Api
from kubebpf.agent.cluster.bpfnode import NodeKeeper
from kubebpf.agent.cluster.watch import Changed, Listed
from kubebpf.agent.node.facts import Facts, Types
from kubebpf.agent.node.features import Feature

DIGEST = "sha256:" + "ab" * 32
NODE = {"metadata": {"name": "node-a", "uid": "u-1", "resourceVersion": "1"}}


class Uploads:
    def __init__(self) -> None:
        self.brought: list[str] = []

    def bring(self, digest: str) -> int:
        self.brought.append(digest)
        return 1

    def stop(self) -> None: ...


def test_a_question_that_comes_during_a_write_is_answered_at_once() -> None:
    uploads = Uploads()

    class Server:
        """Somebody asks as soon as the status is written, before the answer to the write is there."""

        def request(self, method: str, path: str, body: Any = None) -> Any:
            written = NODE | {"status": body["status"], "metadata": NODE["metadata"] | {"resourceVersion": "2"}}
            asked = written | {"spec": {"uploadBTF": DIGEST}, "metadata": NODE["metadata"] | {"resourceVersion": "3"}}
            keeper._take(Changed("bpfnodes", asked))
            return written

    facts = Facts("6.18", "x86_64", 2, "0.1.0", Types(DIGEST, 4), ())
    good = Feature("attribution", True)
    keeper = NodeKeeper(cast(Api, Server()), "node-a", lambda: facts, lambda: good, uploads, look_seconds=20)
    keeper.know("n-1")
    keeper._take(Listed("bpfnodes", [NODE]))
    began = time.monotonic()
    keeper._sleep(keeper._step())
    keeper._step()
    assert uploads.brought == [DIGEST]
    assert time.monotonic() - began < 10
