"""What an account of Azure must be told so that viewers can read a container of it; merged into what it is told.

Rules of others stay as they are. Nothing here talks to a store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from precast.errors import UsageError
from precast.hosting.public_access import insert_rule
from precast.precomputed.objects import ALLOWED_METHODS
from precast.precomputed.server_lines import AZURE_CORS, SECONDS

__all__ = ["azure_commands", "merge_azure_cors"]

MOST_RULES = 5
OURS: dict[str, Any] = {
    "allowed_origins": "*",
    "allowed_methods": ",".join(ALLOWED_METHODS),
    "allowed_headers": "*",
    "exposed_headers": "*",
    "max_age_in_seconds": SECONDS,
}


def merge_azure_cors(rules: Sequence[Mapping[str, Any]], account: str) -> list[dict[str, Any]] | None:
    """Return the CORS rules of an account with one by which viewers on any page can read; None if they can already.

    It is put where :func:`precast.hosting.public_access.merge_cors` would, and shows all headers.

    Raises
    ------
    UsageError
        If the account has as many rules as it may.

    Examples
    --------
    >>> merge_azure_cors(merge_azure_cors([], "lab"), "lab") is None
    True
    """
    merged = insert_rule(rules, [_meant(rule) for rule in rules], lambda _: dict(OURS))
    if merged is not None and len(merged) > MOST_RULES:
        raise UsageError(
            f"the account {account} has {len(rules)} CORS rules, as many as Azure takes, and none by which viewers on "
            "any page can read",
            hint=f"az storage cors list --account-name {account} --services b shows them: one has to go",
        )
    return merged


def _meant(rule: Mapping[str, Any]) -> dict[str, Any]:
    def items(name: str) -> list[str]:
        return [part.strip() for part in str(rule.get(name) or "").split(",") if part.strip()]

    return {
        "AllowedOrigins": items("allowed_origins"),
        "AllowedMethods": [method.upper() for method in items("allowed_methods")],
        "AllowedHeaders": items("allowed_headers"),
        "ExposeHeaders": items("exposed_headers"),
    }


def azure_commands(account: str, container: str) -> list[str]:
    """Return the commands by which everybody may read a container of Azure; there is no limit to a prefix."""
    return [
        "# pages of other origins may read; added to the rules of the whole account",
        f"az storage cors add --account-name {account} --services b {AZURE_CORS}",
        "# everybody may read every blob of the container, not only what was published",
        f"az storage container set-permission --account-name {account} --name {container} --public-access blob",
        "# if the account does not allow public access, that has no effect. To allow it:",
        f"#   az storage account update --name {account} --allow-blob-public-access true",
    ]
