"""`kubebpf list` of user programs."""

from __future__ import annotations

from click.testing import CliRunner

from kubebpf.cli.listing import list_
from kubebpf.cli.problems import UserError
from support.targets import targets, x86

pytestmark = x86


def listed(*words: str) -> list[str]:
    """The lines of `list`."""
    done = CliRunner().invoke(list_, words)
    return str(done.output).splitlines()


def test_functions_and_their_parameters() -> None:
    app = targets().app
    assert listed(f"uprobe:{app}:int*") == [f"uprobe:{app}:ints"]
    assert listed("-v", f"u:{app}:pointers") == [
        f"uprobe:{app}:pointers", "    const char* s", "    struct node* n", "    int* array", "    enum color c",
    ]  # fmt: skip
    assert listed("-v", f"uretprobe:{app}:returned") == [f"uretprobe:{app}:returned", "    struct big retval"]
    assert listed(f'u:{targets().cpp}:cpp:"ns::f"') == [
        f"uprobe:{targets().cpp}:cpp:{name}" for name in ("_ZN2ns1fEcRKNS_6ObjectE", "_ZN2ns1fEi")
    ]


def test_usdt_probes_and_their_arguments() -> None:
    app = targets().app
    assert listed(f"usdt:{app}:*") == [f"usdt:{app}:app:{name}" for name in ("places", "forms", "floating", "guarded")]
    assert listed("-v", f"usdt:{app}:app:guarded") == [f"usdt:{app}:app:guarded", "    uint64 arg0"]


def test_all_providers_by_a_wildcard() -> None:
    app = targets().app
    assert listed(f"*:{app}:[fpi]*s") == [
        *(f"{kind}:{app}:{name}" for kind in ("uprobe", "uretprobe") for name in ("forms", "ints", "places", "pointers")),
        f"usdt:{app}:app:places", f"usdt:{app}:app:forms",
    ]  # fmt: skip


def test_nothing() -> None:
    done = CliRunner().invoke(list_, ["usdt:/no/such:*"])
    assert isinstance(done.exception, UserError)
    assert "no file, library or program /no/such" in str(done.exception)
