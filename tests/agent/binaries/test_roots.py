"""Files below another root: links stay inside, libraries and programs by name, one file in two overlay mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebpf.agent.binaries.files import NoFileError, files
from kubebpf.agent.binaries.roots import file_key, inside, root_key
from kubebpf.agent.session.moving import search
from kubebpf.compiler.artifact.manifest import Attach
from support.images import Shop, make_image, mounted


def test_links_never_lead_out_of_a_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/libx.so.1").write_text("x")
    (root / "etc").mkdir()
    for link, target in {
        "lib": "/usr/lib",
        "usr/lib/libx.so": "libx.so.1",
        "shadow": "/etc/passwd",
        "up": "../../../../../etc/passwd",
        "loop": "loop",
    }.items():
        (root / link).symlink_to(target)
    top = str(root)
    assert inside(top, "/lib/libx.so") == f"{top}/usr/lib/libx.so.1"
    assert inside(top, "/lib/../lib/./libx.so") == f"{top}/usr/lib/libx.so.1"
    # These are files of the machine, not of the root; and a folder is no file.
    assert [inside(top, path) for path in ("/shadow", "/up", "/loop", "/usr", "/none")] == [None] * 5


@pytest.mark.kernel
def test_names_are_those_of_the_process(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    (image / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (image / "usr/lib/x86_64-linux-gnu/libshop.so.3").write_text("")
    (image / "lib").symlink_to("usr/lib")
    (image / "usr/local/bin").mkdir(parents=True)
    (image / "usr/local/bin/till").write_text("")
    with Shop(None, image) as shop:
        pid = shop.process.pid
        below = f"/proc/{pid}/root"
        assert files("/opt/shop", pid) == [("/opt/shop", f"{below}/srv/program")]
        assert files("/opt/*", pid) == [("/opt/shop", f"{below}/srv/program")]
        assert files("libshop", pid) == [("/lib/x86_64-linux-gnu/libshop.so.3", f"{below}/usr/lib/x86_64-linux-gnu/libshop.so.3")]
        assert root_key(pid) != root_key("self")
        for absent in ("/usr/bin/env", "libc", "/us*/bin/env"):
            with pytest.raises(NoFileError):
                files(absent, pid)
    assert root_key(pid) is None


@pytest.mark.kernel
def test_a_file_of_a_shared_layer_is_one_file_until_it_is_changed(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    with mounted(image, tmp_path / "a") as a, mounted(image, tmp_path / "b") as b:
        one, other = (str(root / "srv/program") for root in (a, b))
        assert Path(one).stat().st_dev != Path(other).stat().st_dev
        assert file_key(one) == file_key(other)
        (b / "srv/program").chmod(0o700)
        assert file_key(one) != file_key(other)


@pytest.mark.kernel
def test_a_damaged_file_is_missing_and_ends_nothing(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    whole = (image / "srv/program").read_bytes()
    for name, data in {"none": b"", "text": b"#!/bin/sh\n", "cut": whole[:3000], "odd": whole[:64] + b"\xff" * 5000}.items():
        (image / "opt" / name).write_bytes(data)
    attaches = [
        Attach(number, "p", "uprobe", f"uprobe:/opt/{name}:sell", {"path": f"/opt/{name}", "function": "sell", "offset": 0})
        for number, name in enumerate(("shop", "none", "text", "cut", "odd", "absent"))
    ]
    with Shop(None, image) as shop:
        key = root_key(shop.process.pid)
        assert key is not None
        seen = search(attaches, {key: shop.process.pid}).roots[key]
    assert {number for number, _ in seen.units} == {0}
    assert seen.missing.keys() == {1, 2, 3, 4, 5}
