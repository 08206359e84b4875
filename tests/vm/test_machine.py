"""Everything of `inside`, in one start of the virtual machine: probes that this machine's kernel may not have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.foreign import write_objects

ROOT = Path(__file__).parents[2]
# What other kernels may not allow, or not tell.
OTHERS = [f"tests/kernel/test_action_helpers.py::test_{name}" for name in ("write_user", "percpu_kaddr", "debugf")]


@pytest.mark.vm
@pytest.mark.timeout(900)
def test_in_the_virtual_machine() -> None:
    # The guest sees the file system with the project, and not what is mounted elsewhere.
    foreign = ROOT / "build" / "foreign"
    write_objects(foreign)
    passed = {"KUBEBPF_IN_VM": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "KUBEBPF_FOREIGN": str(foreign)}
    if folder := os.environ.get("KUBEBPF_CONFORMANCE"):
        passed["KUBEBPF_CONFORMANCE"] = folder
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=300", "tests/vm/inside", *OTHERS]
    done = subprocess.run(
        [str(ROOT / "hack/vm.sh"), "run", *command],
        cwd=ROOT,
        env=os.environ | passed | {"VM_PASS": " ".join(passed), "VM_TIMEOUT": "800"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-20000:]
    print(done.stdout[-2000:])
