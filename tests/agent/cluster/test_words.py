"""What a session tells the next agent: the names of pods and of functions, a bounded number of them, damaged ones left aside."""

from __future__ import annotations

import json

import pytest

from kubebpf.agent.cluster.identity import TOLD, Identities
from kubebpf.agent.pods.cgroups import find_mount
from kubebpf.agent.pods.directory import PodDirectory
from kubebpf.agent.symbols.known import MOST, KnownPlaces
from kubebpf.agent.symbols.place import Place
from kubebpf.compiler.artifact.values import Cgroup, Pod


def identities() -> Identities:
    return Identities(PodDirectory(find_mount()), "node-a")


def test_names_of_pods_are_recalled() -> None:
    told = [(7, "/kubepods/x", "shop", "api-0", "uid-7", "app")]
    second = identities()
    second.recall(json.loads(json.dumps(told)))
    assert second.cgroup(7) == Cgroup(7, "node-a", "/kubepods/x", Pod("shop", "api-0", "uid-7", "app"))
    assert second.owner("pod", 7) == "api-0"
    assert second.rows() == told
    second.recall((n, "", "shop", f"api-{n}", f"uid-{n}", "app") for n in range(100, 100 + 2 * TOLD))
    assert len(second.rows()) == TOLD and second.rows()[0][0] == 100
    with pytest.raises((ValueError, TypeError)):
        second.recall([["seven"]])


def test_functions_are_recalled_where_nothing_else_is_known() -> None:
    first, second = KnownPlaces(), KnownPlaces()
    here, there = Place("middle", 19, "/bin/chain"), Place("outer", 3, "/bin/other")
    assert first.note(4711, 0x10, here) == here and first.note(4711, 0x20, None) is None
    version = first.version
    first.note(4711, 0x10, here)
    assert first.version == version
    second.recall(json.loads(json.dumps(first.rows())))
    assert second.note(4711, 0x10, None) == here
    assert second.note(4711, 0x10, there) == there  # a living process knows better
    assert second.note(4711, 0x11, None) is None
    for address in range(2 * MOST):
        second.note(1, address, here)
    assert len(second.rows()) == MOST
