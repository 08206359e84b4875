"""The tests of `inside` run in the virtual machine only: test_machine.py starts it once, and pytest in it."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("KUBEBPF_IN_VM") == "1" else ["inside"]
