"""``publish --public`` on Google: against a server that keeps settings as Google documents them."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from buckets import forget_credentials
from precast.errors import AccessDeniedError, StorageError
from precast.hosting.public_access import merge_google_cors, merge_google_policy
from precast.storage import CloudStore, StoreOptions
from precast.workflows.publish import public
from scripted_server import Script, scripted

OTHERS = {"origin": ["https://lab.example"], "method": ["PUT"], "responseHeader": ["X"], "maxAgeSeconds": 1}
HIDING = {"origin": ["*"], "method": ["GET"], "responseHeader": ["X-Own"], "maxAgeSeconds": 1}
EDITOR = {"role": "roles/storage.objectAdmin", "members": ["user:a@example.org"]}
NEEDED = {"content-range", "content-encoding", "range"}


class Google:
    """The settings of the bucket ``lab``, and what was asked of them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.cors: list[Any] = [OTHERS]
        self.access: dict[str, Any] = {
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "inherited",
        }
        self.generation = 7
        self.policies: dict[str, dict[str, Any]] = {"": {"version": 1, "etag": "B0", "bindings": [EDITOR]}}
        self.refused: set[str] = set()
        script.answers[None] = self.answer

    def answer(self, handler: Any) -> tuple[int, dict[str, str], bytes]:
        path, _, query = handler.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        body = json.loads(self.script.bodies[-1] or b"null")
        status, value = self.act(handler.command, path, asked, body)
        text = json.dumps(value if status < 300 else {"error": {"code": status, "message": str(value)}})
        return status, {"Content-Type": "application/json"}, text.encode()

    def act(  # noqa: PLR0911  # one return per answer
        self, method: str, path: str, asked: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        inside = path.removeprefix("/storage/v1/b/lab")
        if inside == path:
            return 404, "The specified bucket does not exist."
        if f"{method} {inside}" in self.refused:
            return 403, "caller does not have access"
        if inside == "" and method == "GET":
            return 200, {"cors": self.cors, "iamConfiguration": self.access, "metageneration": str(self.generation)}
        if inside == "" and method == "PATCH":
            if asked.get("ifMetagenerationMatch") != str(self.generation):
                return 412, "conditionNotMet"
            assert set(body) == {"cors"}
            self.cors, self.generation = body["cors"], self.generation + 1
            return 200, {"metageneration": str(self.generation)}
        if inside == "/managedFolders":
            if body["name"] in self.policies:
                return 409, "conflict"
            self.policies[body["name"]] = {"version": 1, "etag": "F0", "bindings": []}
            return 200, {}
        found = re.fullmatch(r"(?:/managedFolders/([^/]+))?/iam", inside)
        assert found, path
        name = urllib.parse.unquote(found[1] or "")
        if name not in self.policies:
            return 404, "no such managed folder"
        if method == "PUT":
            if body.get("etag") not in (None, self.policies[name]["etag"]):
                return 412, "etag"
            self.policies[name] = {**body, "etag": self.policies[name]["etag"] + "+"}
        return 200, self.policies[name]


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Google]:
    forget_credentials(monkeypatch, tmp_path)
    with scripted() as script:
        yield Google(script)


def store(google: Google, prefix: str = "p/labels") -> CloudStore:
    return CloudStore(f"gs://lab/{prefix}", StoreOptions(endpoint=google.script.url))


def changes(google: Google) -> list[str]:
    return [method for method, _, _ in google.script.seen if method != "GET"]


def test_a_prefix_becomes_a_folder_that_everybody_reads(google: Google) -> None:
    plan = public.plan_public(store(google))
    assert [change.name for change in plan.changes] == ["CORS", "policy of the managed folder"]
    assert "allUsers" in public.plan_text(plan)
    assert changes(google) == []
    assert public.make_public(store(google), plan)
    assert google.cors[0] == OTHERS
    ours = google.cors[1]
    assert ours["origin"] == ["*"]
    assert {name.lower() for name in ours["responseHeader"]} >= NEEDED
    reader = {"role": "roles/storage.objectViewer", "members": ["allUsers"]}
    assert google.policies["p/labels/"]["bindings"] == [reader]
    assert google.policies[""]["bindings"] == [EDITOR]
    # again there is nothing to do
    before = len(changes(google))
    again = public.plan_public(store(google))
    assert not again.changes
    assert not public.make_public(store(google), again)
    assert len(changes(google)) == before


def test_a_whole_bucket_keeps_what_others_are_allowed(google: Google) -> None:
    plan = public.plan_public(store(google, ""))
    public.make_public(store(google, ""), plan)
    assert google.policies[""]["bindings"][0] == EDITOR
    assert google.policies[""]["version"] == 3
    assert list(google.policies) == [""]
    # everything in it is public then, and a folder needs nothing of its own
    assert not public.plan_public(store(google)).changes


def test_rules_for_all_origins_that_hide_come_after_ours(google: Google) -> None:
    google.cors = [OTHERS, HIDING]
    plan = public.plan_public(store(google))
    public.make_public(store(google), plan)
    assert [rule["maxAgeSeconds"] for rule in google.cors] == [1, 3600, 1]
    assert "X-Own" in google.cors[1]["responseHeader"]
    assert merge_google_cors(google.cors) is None


@pytest.mark.parametrize(
    ("access", "text", "command"),
    [
        ({"publicAccessPrevention": "enforced"}, "prevention is enforced", "--no-public-access-prevention"),
        ({"uniformBucketLevelAccess": {"enabled": False}}, "uniform bucket-level", "--uniform-bucket-level-access"),
    ],
)
def test_what_forbids_public_access_stays(google: Google, access: dict[str, Any], text: str, command: str) -> None:
    google.access |= access
    plan = public.plan_public(store(google))
    assert text in public.plan_text(plan)
    with pytest.raises(AccessDeniedError, match=text) as caught:
        public.make_public(store(google), plan)
    assert command in str(caught.value.hint)
    assert list(google.policies) == [""]
    assert google.policies[""]["bindings"] == [EDITOR]
    assert {key: google.access[key] for key in access} == access


@pytest.mark.parametrize(
    ("refused", "permission"),
    [
        ("GET ", "storage.buckets.get"),
        ("PATCH ", "storage.buckets.update"),
        ("POST /managedFolders", "storage.managedFolders.create"),
        ("GET /managedFolders/p%2Flabels%2F/iam", "storage.managedFolders.getIamPolicy"),
        ("PUT /managedFolders/p%2Flabels%2F/iam", "storage.managedFolders.setIamPolicy"),
    ],
)
def test_refusals_name_the_permission(google: Google, refused: str, permission: str) -> None:
    google.refused = {refused}
    with pytest.raises(AccessDeniedError) as caught:
        public.make_public(store(google), public.plan_public(store(google)))
    assert permission in str(caught.value.hint)


def test_what_may_not_be_known_is_noted(google: Google) -> None:
    google.refused = {"GET /iam"}
    plan = public.plan_public(store(google))
    assert any("storage.buckets.getIamPolicy" in note for note in plan.notes)
    assert public.make_public(store(google), plan)


def test_changes_of_others_meanwhile_are_not_lost(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = public.plan_public(store(google))
    google.cors = [OTHERS, {**OTHERS, "maxAgeSeconds": 2}]  # before it is read again: merged
    public.make_public(store(google), plan)
    assert [rule["maxAgeSeconds"] for rule in google.cors] == [1, 2, 3600]
    google.cors = []
    real = google.act

    def act(method: str, path: str, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        answer = real(method, path, asked, body)
        if method == "GET" and path.endswith("/lab"):
            google.generation += 1  # after it was read
        return answer

    monkeypatch.setattr(google, "act", act)
    plan = public.plan_public(store(google))
    with pytest.raises(StorageError, match="were not taken"):
        public.make_public(store(google), plan)
    assert google.cors == []


def test_a_folder_that_somebody_made_meanwhile_keeps_its_members(google: Google) -> None:
    plan = public.plan_public(store(google))
    real, theirs = google.act, {"version": 1, "etag": "T", "bindings": [EDITOR]}

    def act(method: str, path: str, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "POST":
            google.policies["p/labels/"] = theirs
        return real(method, path, asked, body)

    google.act = act  # type: ignore[method-assign]
    with pytest.raises(AccessDeniedError, match="were not taken"):
        public.make_public(store(google), plan)
    assert google.policies["p/labels/"] == theirs
    google.act = real  # type: ignore[method-assign]
    public.make_public(store(google), public.plan_public(store(google)))
    assert google.policies["p/labels/"]["bindings"][0] == EDITOR
    assert len(google.policies["p/labels/"]["bindings"]) == 2


def test_no_such_bucket_and_no_credentials(google: Google, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    gone = CloudStore("gs://gone/p", StoreOptions(endpoint=google.script.url))
    with pytest.raises(StorageError, match="there is no bucket gs://gone"):
        public.plan_public(gone)
    (tmp_path / "key.json").write_text('{"private_key": "SECRET"}')
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "key.json"))
    with pytest.raises(AccessDeniedError) as caught:
        public.plan_public(CloudStore("gs://lab/p"))
    assert "SECRET" not in f"{caught.value} {caught.value.hint}"


def test_conditions_are_no_public_access() -> None:
    bound = {"role": "roles/storage.objectViewer", "members": ["allUsers"], "condition": {"expression": "false"}}
    merged = merge_google_policy({"etag": "x", "bindings": [bound]})
    assert merged is not None
    assert merged["bindings"][0] == bound
    assert merged["bindings"][1]["members"] == ["allUsers"]
    assert merged["etag"] == "x"
