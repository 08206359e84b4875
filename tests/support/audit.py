"""Which requests were made under which ServiceAccount: the API server's own audit log, against the rules of the chart.

asked = requests(cluster, "system:serviceaccount:kubebpf-system:kubebpf-agent")
unused(render(), "kubebpf-agent", asked)       -> rules that nothing needs, one a verb and resource
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# ServiceAccounts of the chart only: the garbage collector's and the tests' own requests would be most of the log.
POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts:kubebpf-system"]
  - level: None
"""


@dataclass(frozen=True, order=True)
class Asked:
    """One kind of request; `resource` with its subresource, as in RBAC rules."""

    verb: str
    group: str
    resource: str
    name: str = ""


def entries(log: Path) -> Iterator[dict[str, Any]]:
    """The entries of an audit log; a last line that is still being written is left out."""
    for line in log.read_text().splitlines() if log.exists() else ():
        if line.endswith("}"):
            yield json.loads(line)


def requests(log: Path, user: str) -> set[Asked]:
    """What a user asked for and got, or would have got: a conflict or a missing object needs the right as well."""
    mine = (entry for entry in entries(log) if entry["user"]["username"] == user and "objectRef" in entry)
    return {_asked(entry) for entry in mine if _allowed(entry)}


def _allowed(entry: dict[str, Any]) -> bool:
    return entry.get("responseStatus", {}).get("code") not in (401, 403)


def _asked(entry: dict[str, Any]) -> Asked:
    what = entry["objectRef"]
    resource = "/".join(part for part in (what["resource"], what.get("subresource")) if part)
    return Asked(entry["verb"], what.get("apiGroup", ""), resource, what.get("name", ""))


def unused(objects: Iterable[dict[str, Any]], role: str, asked: set[Asked]) -> list[str]:
    """Verbs in the ClusterRole and Role of that name that no request has needed."""
    roles = (o for o in objects if o["kind"] in ("ClusterRole", "Role") and o["metadata"]["name"] == role)
    rules = [rule for found in roles for rule in found["rules"]]
    wanted = (
        Asked(verb, group, resource, name)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    )
    return [" ".join((w.verb, w.resource, w.group, w.name)).strip() for w in wanted if not any(_needs(a, w) for a in asked)]


def _needs(asked: Asked, rule: Asked) -> bool:
    same = (asked.verb, asked.group, asked.resource) == (rule.verb, rule.group, rule.resource)
    return same and rule.name in ("", asked.name)
