"""What each image installs is enough for its part, and no more: the agent runs without LLVM, kopf and the compiler.

One wheel is built, and installed twice into fresh environments as the Dockerfile's two stages do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.binaries import REPOSITORY

PIP = ["-m", "pip", "--disable-pip-version-check", "-qq"]


def run(*argv: str | Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", timeout=240)
    assert done.returncode == 0, f"{argv}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, *PIP, "wheel", "--no-deps", "-w", folder, REPOSITORY)
    (built,) = folder.glob("kubebpf-*.whl")
    return built


def environment(wheel: Path, folder: Path, extra: str) -> Path:
    """A fresh environment with the wheel and one extra; its python."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    run(python, *PIP, "install", "-c", REPOSITORY / "constraints.txt", f"kubebpf[{extra}] @ file://{wheel}")
    return python


def has(python: Path, *modules: str) -> dict[str, bool]:
    code = f"import importlib.util as u, json; print(json.dumps([bool(u.find_spec(m)) for m in {list(modules)!r}]))"
    return dict(zip(modules, json.loads(run(python, "-c", code)), strict=True))


def test_the_wheel_is_a_namespace_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "kubebpf/__init__.py" not in names
    rooms = {name.split("/")[1] for name in names if name.startswith("kubebpf/")}
    assert rooms == {"compiler", "agent", "operator", "cli"}
    assert not [name for name in names if name.startswith(("tests/", "hack/", "charts/"))]


@pytest.mark.timeout(300)
def test_the_agent_needs_neither_llvm_nor_kopf_nor_the_compiler(wheel: Path, tmp_path: Path) -> None:
    python = environment(wheel, tmp_path / "agent", "agent")
    assert not any(has(python, "llvmlite", "kopf").values())
    # The image has of the compiler only the description of an object file, and no operator.
    (package,) = (tmp_path / "agent" / "lib").glob("python3*/site-packages/kubebpf")
    for room in [package / "operator", *(p for p in (package / "compiler").iterdir() if p.name != "artifact")]:
        run("rm", "-rf", room)
    run(python, "-c", "import kubebpf.agent, pkgutil, importlib\n" + IMPORT_ALL.format("kubebpf.agent"))
    assert "--node-name" in run(python.parent / "kubebpf", "agent", "--help")


@pytest.mark.timeout(300)
def test_the_operator_needs_no_cffi(wheel: Path, tmp_path: Path) -> None:
    python = environment(wheel, tmp_path / "operator", "operator")
    assert all(has(python, "llvmlite", "kopf").values())
    run(python, "-c", "import kubebpf.operator, pkgutil, importlib\n" + IMPORT_ALL.format("kubebpf.operator"))
    assert "--namespace" in run(python.parent / "kubebpf", "operator", "--help")


# Every module, not only the first: a forgotten dependency hides in the one that is imported late.
IMPORT_ALL = """
package = importlib.import_module("{0}")
for found in pkgutil.walk_packages(package.__path__, "{0}."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
