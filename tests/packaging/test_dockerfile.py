"""The Dockerfile's text: two targets, unprivileged where it can be, each with its own extra only. (CI has no image builder.)"""

from __future__ import annotations

import re

from support.binaries import REPOSITORY

STAGES = {
    stage.split()[-1]: stage + body
    for stage, body in re.findall(r"^(FROM .+)\n((?:(?!^FROM ).*\n)*)", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
}


def test_it_has_the_two_targets() -> None:
    assert {"operator", "agent"} <= STAGES.keys()


def test_the_operator_is_not_root_and_has_the_compiler() -> None:
    assert "USER 65532:65532" in STAGES["operator"]
    assert "libbpf" not in STAGES["operator"]
    assert "'.[operator]'" in STAGES["build-operator"]


def test_the_agent_has_libbpf_and_no_compiler() -> None:
    assert "libbpf1" in STAGES["agent"]
    assert "'.[agent]'" in STAGES["build-agent"]
    assert "! -name artifact" in STAGES["build-agent"]


def test_everything_installed_from_the_index_is_pinned() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    assert text.count("pip install") == text.count("pip install -q -c constraints.txt") == 2
    pins = [line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", pin) for pin in pins)
