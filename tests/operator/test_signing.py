"""Keys: which there should be, how they are stored, and what a signature is about."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kubebpf.agent.cluster.objects import RefusedError
from kubebpf.agent.cluster.trace import Trace, TraceName, Uid
from kubebpf.agent.cluster.trust import Trust
from kubebpf.compiler.artifact.statement import Grant, statement
from kubebpf.operator.api import GoneError
from kubebpf.operator.config import Config
from kubebpf.operator.signing import Key, Signature, Signer, due, read_keys

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
GRANT = Grant("uid-1", 3, "sha256:" + "ab" * 32, "shop", unsafe=False)


class Stored:
    """The Secret and the ConfigMap of an API server."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] | None = None
        self.config_map: dict[str, Any] | None = None

    async def get_secret(self, namespace: str, name: str) -> dict[str, Any]:
        if self.secret is None:
            raise GoneError("404")
        return self.secret

    async def create_secret(self, namespace: str, body: dict[str, Any]) -> None:
        self.secret = body

    async def replace_secret(self, namespace: str, body: dict[str, Any]) -> None:
        self.secret = body

    async def get_config_map(self, namespace: str, name: str) -> dict[str, Any]:
        if self.config_map is None:
            raise GoneError("404")
        return self.config_map

    async def create_config_map(self, namespace: str, body: dict[str, Any]) -> None:
        self.config_map = body

    async def replace_config_map(self, namespace: str, name: str, body: dict[str, Any]) -> None:
        self.config_map = body

    def request(self, method: str, path: str) -> dict[str, Any]:
        assert self.config_map is not None and method == "GET"
        return self.config_map


def trace(signed: Signature | None, **changed: Any) -> Trace:
    name = TraceName("BpfTrace", changed.pop("namespace", "shop"), "t", Uid(changed.pop("uid", "uid-1")))
    base = Trace(name, 3, signature=signed.value if signed else "", signing_key=signed.key if signed else "")
    return replace(base, **changed)


def test_a_key_is_made_when_there_is_none_or_the_newest_is_old() -> None:
    (first,) = due([], NOW, DAY, HOUR)
    assert due([first], NOW + DAY / 2, DAY, HOUR) == [first]
    old, second = due([first], NOW + DAY, DAY, HOUR)
    assert old == first and second.made == NOW + DAY
    assert due([first, second], NOW + DAY + HOUR / 2, DAY, HOUR) == [first, second]
    assert due([first, second], NOW + DAY + HOUR, DAY, HOUR) == [second], "the successor has signed for long enough"


def signer_of(stored: Stored, **config: Any) -> Signer:
    signer = Signer(stored, Config("ns", **config))  # type: ignore[arg-type]
    asyncio.run(signer.refresh())
    return signer


def test_keys_are_stored_and_found_again() -> None:
    stored = Stored()
    first = signer_of(stored)
    again = signer_of(stored)
    assert first.key == again.key and first.sign(GRANT) == again.sign(GRANT)
    assert [key.id for key in read_keys(stored.secret or {})] == [first.key]
    assert list((stored.config_map or {})["data"]) == [f"{first.key}.pub"]
    private = base64.b64decode(next(iter((stored.secret or {})["data"].values())))
    assert base64.b64encode(private).decode() not in str(stored.config_map)


def test_an_old_key_is_replaced_and_trusted_until_its_successor_has_served() -> None:
    stored = Stored()
    first = signer_of(stored)
    signed = first.sign(GRANT)
    second = signer_of(stored, key_lifetime=timedelta(0), key_overlap=HOUR)
    assert second.key != first.key and second.verifies(GRANT, signed)
    Trust(stored, "ns").check(trace(signed), GRANT.digest)  # type: ignore[arg-type]
    third = signer_of(stored, key_lifetime=DAY, key_overlap=timedelta(0))
    assert third.key == second.key and not third.verifies(GRANT, signed)
    with pytest.raises(RefusedError, match="not among those that are trusted"):
        Trust(stored, "ns").check(trace(signed), GRANT.digest)  # type: ignore[arg-type]


def test_a_deleted_secret_distrusts_every_key() -> None:
    stored = Stored()
    signed = signer_of(stored).sign(GRANT)
    stored.secret = None
    assert not signer_of(stored).verifies(GRANT, signed)


@pytest.mark.parametrize(
    "changed",
    [
        {"uid": "uid-2"},
        {"generation": 4},
        {"namespace": "bank"},
        {"unsafe_granted": True},
        {"signature": "AAAA"},
        {"signature": "%"},
    ],
)
def test_a_signature_is_about_one_object_of_one_trace(changed: dict[str, Any]) -> None:
    stored = Stored()
    signer = signer_of(stored)
    trust, signed = Trust(stored, "ns"), signer.sign(GRANT)  # type: ignore[arg-type]
    trust.check(trace(signed), GRANT.digest)
    with pytest.raises(RefusedError) as refused:
        trust.check(trace(signed, **changed), GRANT.digest)
    assert refused.value.reason == "SignatureInvalid"
    with pytest.raises(RefusedError):
        trust.check(trace(signed), "sha256:" + "cd" * 32)
    with pytest.raises(RefusedError) as missing:
        trust.check(trace(None), GRANT.digest)
    assert missing.value.reason == "SignatureMissing"
    assert not signer.verifies(replace(GRANT, uid="uid-2"), signed)
    assert not signer.verifies(GRANT, Signature(signed.key, "AAAA"))


def test_keys_of_a_folder_are_trusted_instead(tmp_path: Path) -> None:
    ours, theirs = Key.make(NOW), Stored()
    (tmp_path / "a.pub").write_text(base64.b64encode(ours.public).decode() + "\n")
    (tmp_path / "b.pub").write_text("no key")
    signed = Signature(ours.id, base64.b64encode(ours.private.sign(statement(GRANT))).decode())
    trust = Trust(theirs, "ns", tmp_path)  # type: ignore[arg-type]
    trust.check(trace(signed), GRANT.digest)
    with pytest.raises(RefusedError):
        trust.check(trace(signer_of(theirs).sign(GRANT)), GRANT.digest)
