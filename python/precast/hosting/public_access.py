"""What a bucket must be told so that everybody can read below a prefix, with browsers too; merged into what it is told.

Rules and statements of others stay as they are. Nothing here talks to a store.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from precast.errors import UsageError
from precast.precomputed.objects import EXPOSED_HEADERS
from precast.precomputed.server_lines import READ_METHODS, S3_CORS

__all__ = ["RULE_ID", "SettingChange", "insert_rule", "is_enough", "merge_cors", "merge_policy"]

RULE_ID = "precast-public-read"
SID = "PrecastPublicRead"
ANYBODY = "*"
SHOWN_ALREADY = ("content-length",)
"""Headers that browsers show to every page, exposed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """One setting of a bucket as it is and as it would be.

    Attributes
    ----------
    name
        ``CORS``, ``policy`` or ``access level``.
    before, after
        The setting as JSON; ``before`` is None if there is none.
    of
        What it is a setting of.
    """

    name: str
    before: Any
    after: Any
    of: str = "the bucket"

    def __str__(self) -> str:
        """Return what changes, as lines with ``+`` and ``-``."""
        before = [] if self.before is None else json.dumps(self.before, indent=2).splitlines()
        after = json.dumps(self.after, indent=2).splitlines()
        return "\n".join(list(difflib.unified_diff(before, after, n=10_000, lineterm=""))[3:])


# ---- S3: CORS


def merge_cors(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the CORS rules of a bucket with one by which viewers on any page can read; None if they can already.

    A store uses the first rule that fits. One for all origins that does not let viewers read would hide a later one:
    ours is put before it, and shows the headers that it shows. Rules for single origins keep their place before ours;
    where one of those does not show what viewers need, viewers on pages of that origin cannot read, which is for its
    owner to change.

    Examples
    --------
    >>> [rule["AllowedMethods"] for rule in merge_cors([])]
    [['GET', 'HEAD']]
    >>> merge_cors(merge_cors([])) is None
    True
    """
    others = [dict(rule) for rule in rules if rule.get("ID") != RULE_ID]
    general = [number for number, rule in enumerate(others) if _is_general(rule)]
    met = [next((rule for rule in rules if _is_general(rule, method)), None) for method in READ_METHODS]
    if all(rule is not None and is_enough(rule) for rule in met):
        return None
    ours = {"ID": RULE_ID, **S3_CORS["CORSRules"][0]}
    shown = [*ours["ExposeHeaders"], *(one for number in general for one in others[number].get("ExposeHeaders", ()))]
    ours["ExposeHeaders"] = list({name.lower(): name for name in reversed(shown)}.values())[::-1]
    place = general[0] if general else len(others)
    return [*others[:place], ours, *others[place:]]


def _is_general(rule: Mapping[str, Any], method: str = "") -> bool:
    methods = rule.get("AllowedMethods", ())
    return ANYBODY in rule.get("AllowedOrigins", ()) and any(
        one in methods for one in ([method] if method else READ_METHODS)
    )


def is_enough(rule: Mapping[str, Any]) -> bool:
    """Tell whether a rule for all origins lets viewers ask for ranges, and see what they need of the answers."""
    allowed = [name.lower() for name in rule.get("AllowedHeaders", ())]
    shown = {name.lower() for name in rule.get("ExposeHeaders", ())}
    needed = {name.lower() for name in EXPOSED_HEADERS} - set(SHOWN_ALREADY)
    return any(_covers(name, "range") for name in allowed) and ("*" in shown or needed <= shown)


def insert_rule(
    rules: Sequence[Mapping[str, Any]],
    meant: Sequence[Mapping[str, Any]],
    ours: Callable[[list[str]], dict[str, Any]],
) -> list[dict[str, Any]] | None:
    """Put a rule of ours where :func:`merge_cors` would, among rules in the words of another store.

    Parameters
    ----------
    rules
        The rules that there are.
    meant
        The same in the words of S3.
    ours
        Given the names of headers that it has to show, the rule.

    Returns
    -------
    list or None
        None if viewers on any page can read already.
    """
    merged = merge_cors(meant)
    if merged is None:
        return None
    place = next(number for number, rule in enumerate(merged) if rule.get("ID") == RULE_ID)
    there = [dict(rule) for rule in rules]
    return [*there[:place], ours(merged[place]["ExposeHeaders"]), *there[place:]]


# ---- S3: policy


def _covers(pattern: str, text: str) -> bool:
    """Tell whether a pattern with ``*`` and ``?`` fits a text."""
    parts = (".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def statement(bucket: str, prefix: str, partition: str = "aws") -> dict[str, Any]:
    """Return the statement by which everybody may read below a prefix, nothing else."""
    mark = hashlib.sha256(prefix.encode()).hexdigest()[:8]
    path = f"{bucket}/{_literal(prefix)}" if prefix else bucket
    return {
        "Sid": f"{SID}{mark}",
        "Effect": "Allow",
        "Principal": ANYBODY,
        "Action": "s3:GetObject",
        "Resource": f"arn:{partition}:s3:::{path}/*",
    }


def _literal(prefix: str) -> str:
    for sign in "*?$":
        if sign in prefix:
            raise UsageError(
                f"a policy cannot be limited to the prefix {prefix!r}: {sign!r} stands for other text in it",
                hint="publish to a prefix without * ? $",
            )
    return prefix


def merge_policy(
    policy: Mapping[str, Any] | None, bucket: str, prefix: str, partition: str = "aws"
) -> dict[str, Any] | None:
    """Return the policy of a bucket with a statement by which everybody may read below a prefix; None if it is there.

    Raises
    ------
    UsageError
        If the statement of that name is not what precast writes.

    Examples
    --------
    >>> merge_policy(None, "lab", "p")["Statement"][0]["Resource"]
    'arn:aws:s3:::lab/p/*'
    >>> merge_policy(merge_policy(None, "lab", ""), "lab", "p") is None
    True
    """
    ours = statement(bucket, prefix, partition)
    there = _several((policy or {}).get("Statement"))
    if any(_allows(one, ours["Resource"].removesuffix("*")) for one in there):
        return None
    if any(isinstance(one, Mapping) and one.get("Sid") == ours["Sid"] for one in there):
        raise UsageError(
            f"the policy of s3://{bucket} has a statement {ours['Sid']!r} that somebody has changed",
            hint="take it out of the policy, or give it another Sid, and run the same command again",
        )
    head = {"Version": "2012-10-17"} if policy is None else dict(policy)
    return head | {"Statement": [*there, ours]}


def _allows(one: Any, base: str) -> bool:
    """Tell whether a statement lets everybody read everything whose name begins so."""
    if not isinstance(one, Mapping) or one.get("Effect") != "Allow" or one.get("Condition"):
        return False
    principal = one.get("Principal")
    anybody = principal == ANYBODY or (isinstance(principal, Mapping) and ANYBODY in _several(principal.get("AWS")))
    actions = (str(action).lower() for action in _several(one.get("Action")))
    return (
        anybody
        and any(_covers(action, "s3:getobject") for action in actions)
        and any(str(name).endswith("*") and _covers(str(name), base) for name in _several(one.get("Resource")))
    )
