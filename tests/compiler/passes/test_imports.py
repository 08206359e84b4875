"""import: pieces of other files in the program, the text of each a source of its own, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebpf.compiler.complaints.render import render_all
from support.programs import anything, checked, compiled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A program's folder, which only its owner can write to."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "one.bt").write_text('import "../two.bt";\nmacro one() { two() - 1 }\nmacro broken(x) { x / 0 }\n')
    (tmp_path / "two.bt").write_text('import "lib/one.bt";\nlet @m = lruhash(7);\nmacro two() { 2 }\nbegin { print("two"); }\n')
    (tmp_path / "event.h").write_text('#include "more.h"\nstruct event { int pid; struct more more; };\n')
    (tmp_path / "more.h").write_text("struct more { long a; };\n")
    return tmp_path


def codes(text: str, base: Path | None) -> list[str]:
    return [c.code for c in checked(text, base=None if base is None else str(base)).report]


def test_imports_bring_macros_maps_and_probes(folder: Path) -> None:
    text = 'import "lib"; import "two.bt"; begin { @m[one] = 1; }'
    artifact = compiled(text, anything(), base=str(folder))
    assert [a.text for a in artifact.manifest.attaches] == ["begin", "begin"]
    assert [(m.name, m.storage, m.max_entries) for m in artifact.manifest.maps] == [("@m", "lru_hash", 7)]
    places = [a.place and Path(a.place.file).name for a in artifact.manifest.attaches]
    assert places == ["two.bt", "stdin"]


def test_a_header_finds_its_own_headers(folder: Path) -> None:
    text = 'import "event.h"; begin { print(sizeof(struct event)); }'
    assert codes(text, folder) == []


def test_a_mistake_in_an_import_is_shown_there_and_where_it_was_called(folder: Path) -> None:
    report = checked('import "lib/one.bt"; begin { print(broken(3)); }', base=str(folder)).report
    assert render_all(report).splitlines() == [
        f"{folder}/lib/one.bt:3:19-24: ERROR: unable to fold literals due to divide by zero: 3 / 0",
        "macro broken(x) { x / 0 }",
        " " * 18 + "~" * 5,
        "stdin:1:36-45: NOTE: expanded from here",
        'import "lib/one.bt"; begin { print(broken(3)); }',
        " " * 35 + "~" * 9,
    ]


def test_what_is_not_imported(folder: Path) -> None:
    assert codes('import "absent.bt"; begin { }', folder) == ["ImportNotFound"]
    assert codes('import "two.bt"; begin { }', None) == ["ImportsImpossible"]
    (folder / "x.bpf.c").write_text("int f(void) { return 1; }")
    (folder / "x.py").write_text("")
    (folder / "bad.bt").write_bytes(b"\xff\xfe")
    (folder / "config.bt").write_text("config = { max_strlen = 5 }")
    for name in ("x.py", "bad.bt"):
        assert codes(f'import "{name}"; begin {{ }}', folder) == ["ImportKind"]
    assert codes('import "config.bt"; begin { }', folder) == ["ConfigInImport"]
    assert codes('begin { import "two.bt"; }', folder) == ["ImportInBody"]


def test_what_everybody_can_write_is_not_imported(folder: Path) -> None:
    (folder / "two.bt").chmod(0o666)
    assert codes('import "two.bt"; begin { }', folder) == ["ImportUnsafe"]
    folder.chmod(0o777)
    assert codes('import "event.h"; begin { }', folder) == ["ImportUnsafe"]
