"""What a node says of itself, against what else can be asked about this machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from kubebpf.agent.node.facts import attribution, gather, type_information
from kubebpf.agent.node.features import TRIALS, Feature, Trying, features
from kubebpf.agent.pods.cgroups import CgroupMount, find_mount
from kubebpf.agent.pods.directory import PodDirectory
from support.bpfstate import held_by

pytestmark = pytest.mark.kernel


def test_every_feature_is_tried_and_nothing_stays(tmp_path: Path) -> None:
    before = held_by(os.getpid())
    found = {feature.name: feature for feature in features(Trying(pins=Path("/sys/fs/bpf/kubebpf")))}
    assert list(found) == list(TRIALS)
    assert held_by(os.getpid()) == before
    kprobes = Path("/sys/bus/event_source/devices/kprobe").exists()
    assert found["kprobe"].supported == kprobes and (kprobes or "kprobe" in found["kprobe"].message)
    assert all(found[name].supported for name in ("programs", "btf", "ring-buffer", "perf-link", "tracepoint", "uprobe", "loop"))
    assert all(feature.supported != bool(feature.message) for feature in found.values())
    lacking = {feature.name: feature for feature in features(Trying(btf=tmp_path / "none", pins=tmp_path))}
    assert lacking["btf"].message == f"there is no {tmp_path}/none (CONFIG_DEBUG_INFO_BTF)"
    assert lacking["pinning"].message == f"{tmp_path} is in no bpffs"


def test_facts_of_this_machine() -> None:
    facts = gather(Trying())
    raw = Path("/sys/kernel/btf/vmlinux").read_bytes()
    assert facts.btf is not None and facts.btf == type_information(Path("/sys/kernel/btf/vmlinux"))
    assert (facts.btf.digest, facts.btf.size) == (f"sha256:{hashlib.sha256(raw).hexdigest()}", len(raw))
    assert (facts.kernel, facts.architecture) == (os.uname().release, os.uname().machine)
    assert type_information(Path("/nonexistent")) is None


def test_attribution_tells_a_tree_that_is_not_the_programs_own(tmp_path: Path) -> None:
    directory = PodDirectory(find_mount())
    directory.rescan()
    assert attribution(directory) == Feature("attribution", True, "no pod runs here yet")
    (tmp_path / "kubepods").mkdir()
    other = PodDirectory(CgroupMount(tmp_path, tmp_path))
    other.rescan()
    found = attribution(other)
    assert not found.supported and found.message.endswith(f"nothing below {tmp_path} has that id")
