"""``publish --public`` on Google's store, as far as it is documented: what is asked for, what of others stays."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import precast
from buckets import forget_credentials
from command_line import Run, small_labels
from google_server import BUCKET, Google, google_server
from precast.errors import AccessDeniedError, StorageError
from precast.storage import CloudStore, StoreOptions, google_api
from precast.storage.cloud_errors import NotOfferedError
from precast.storage.google_api import ChangedMeanwhileError, GoogleBucket
from precast.workflows.publish import public
from s3_server import with_us
from scripted_server import scripted
from web_server import free_port

URL = f"gs://{BUCKET}/p/labels"
FOLDER = f"/storage/v1/b/{BUCKET}/managedFolders/p%2Flabels%2F/iam"
THEIR_RULE = {"origin": ["https://lab.example.org"], "method": ["PUT"], "responseHeader": ["x-lab"]}
THEIR_BINDING = {
    "role": "roles/storage.objectViewer",
    "members": ["user:a@example.org"],
    "condition": {"title": "until", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')"},
}
PAGE = "https://viewer.example.org"


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_labels(tmp_path_factory.mktemp("datasets") / "labels")


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Google]:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setattr(public, "PAUSES_S", ())
    with google_server() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


def status(google: Google, key: str) -> int:
    try:
        return int(urllib.request.urlopen(f"{google.url}/{BUCKET}/{key}", timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code


def test_everybody_reads_below_the_prefix_and_nothing_else(google: Google, labels: Path, run: Run) -> None:
    google.cors = [copy.deepcopy(THEIR_RULE)]
    google.policy["bindings"] = [copy.deepcopy(THEIR_BINDING)]
    google.objects |= {key: (b"x", {}) for key in ("secret", "p/labels-2/info")}
    planned = run("publish", labels, URL, "--public", "--dry-run")
    assert planned.code == 0, planned.err
    assert "policy of the managed folder p/labels/, which is new:" in planned.err
    assert '"allUsers"' in planned.err
    assert not google.writes

    done = run("publish", labels, URL, "--public", "--yes")
    assert done.code == 0, done.err
    rule, binding = google.cors[1], {"role": "roles/storage.objectViewer", "members": ["allUsers"]}
    written = {"version": 1, "etag": "CAE=", "bindings": [binding]}
    bucket = f"/storage/v1/b/{BUCKET}"
    assert google.writes == [
        ("PATCH", f"{bucket}?ifMetagenerationMatch=1&fields=metageneration", {"cors": [THEIR_RULE, rule]}, None),
        ("POST", f"{bucket}/managedFolders", {"name": "p/labels/"}, None),
        ("PUT", FOLDER, written, None),
    ]
    assert google.policy["bindings"] == [THEIR_BINDING]
    for key, expected in {"p/labels/info": 200, "p/labels-2/info": 403, "secret": 403}.items():
        assert status(google, key) == expected, key
    request = urllib.request.Request(f"{google.url}/{BUCKET}/p/labels/info", headers={"Origin": PAGE})
    shown = urllib.request.urlopen(request, timeout=10).headers["Access-Control-Expose-Headers"].lower()
    assert all(name in shown for name in ("content-range", "content-encoding", "etag"))
    # the check has asked as a viewer does, and the link leads there
    assert done.out.startswith("https://neuroglancer-demo.appspot.com/#!")
    assert f"{google.url}/{BUCKET}/p/labels" in done.out
    assert [str(one) for one in precast.check(f"{google.url}/{BUCKET}/p/labels").findings] == []

    # again: nothing is changed
    google.seen.clear()
    done = run("publish", labels, URL, "--public", "--yes", "--json")
    assert done.code == 0
    assert json.loads(done.out)["result"]["public"]["changes"] == []
    assert google.seen
    assert not google.writes


def test_a_folder_of_others_keeps_its_bindings(google: Google) -> None:
    """Conditions too, for which the policy has to be asked for, and written, as version 3."""
    others = [THEIR_BINDING, {"role": "roles/storage.objectViewer", "members": ["group:b@example.org"]}]
    google.folders["p/labels/"] = {"version": 3, "etag": "BwX=", "bindings": copy.deepcopy(others)}
    store = CloudStore(URL)
    assert public.make_public(store, public.plan_public(store))
    assert [one[:2] for one in google.writes[1:]] == [("PUT", FOLDER)]
    policy = google.writes[1][2]
    ours = {"role": "roles/storage.objectViewer", "members": ["group:b@example.org", "allUsers"]}
    assert policy == {"version": 3, "etag": "BwX=", "bindings": [THEIR_BINDING, ours]}


def test_others_change_it_at_the_same_time(google: Google) -> None:
    store = CloudStore(URL)
    plan = public.plan_public(store)

    def rule(bucket: Google) -> None:
        bucket.cors, bucket.metageneration = [THEIR_RULE], bucket.metageneration + 1

    def folder(bucket: Google) -> None:
        bucket.folders["p/labels/"] = {"version": 1, "etag": "BwX=", "bindings": [THEIR_BINDING]}

    def binding(bucket: Google) -> None:
        bucket.folders["p/labels/"] |= {"etag": "BwY="}

    # before the first PATCH, before its repetition (nothing), before the folder is made, before the policy is written
    google.meanwhile = [rule, lambda _: None, folder, binding]
    assert public.make_public(store, plan)
    assert google.cors is not None
    assert google.cors[0] == THEIR_RULE
    assert len(google.cors) == 2
    found = google.folders["p/labels/"]["bindings"]
    assert found == [THEIR_BINDING, {"role": "roles/storage.objectViewer", "members": ["allUsers"]}]

    google.cors = None
    google.meanwhile = [rule, lambda bucket: setattr(bucket, "metageneration", 77), rule] * 2
    with pytest.raises(StorageError, match="at the same time"):
        public.make_public(store, plan)


@pytest.mark.parametrize("holder", ["", "p/"])
def test_public_already(google: Google, holder: str) -> None:
    policy = google.policy if not holder else google.folders.setdefault(holder, {"version": 1, "etag": "x"})
    policy["bindings"] = [{"role": "roles/storage.legacyObjectReader", "members": ["allUsers"]}]
    google.uniform = bool(holder)
    plan = public.plan_public(CloudStore(URL))
    assert [change.name for change in plan.changes] == ["CORS"]
    assert not plan.blocked
    # who may not look at the policy of the bucket is not kept from changing that of the folder
    google.missing = {"storage.buckets.getIamPolicy"}
    google.uniform = True
    names = [change.name for change in public.plan_public(CloudStore(URL)).changes]
    assert names == (["CORS"] if holder else ["CORS", "policy"])


def test_a_whole_bucket(google: Google) -> None:
    google.uniform = False
    google.policy["bindings"] = [THEIR_BINDING]
    store = CloudStore(f"gs://{BUCKET}")
    plan = public.plan_public(store)
    assert "policy of the whole bucket:" in public.plan_text(plan)
    assert public.make_public(store, plan)
    assert google.policy["bindings"] == [
        THEIR_BINDING,
        {"role": "roles/storage.objectViewer", "members": ["allUsers"]},
    ]
    assert public.plan_public(store).changes == ()


def test_prevention_is_reported_and_kept(google: Google, labels: Path, run: Run) -> None:
    google.prevention = "enforced"
    done = run("publish", labels, URL, "--public", "--yes")
    assert done.code == 3
    assert "the data are at gs://lab/p/labels, but nobody else can read them: public access prevention" in done.err
    assert "gcloud storage buckets update gs://lab --no-public-access-prevention" in done.err
    assert not google.writes
    assert "p/labels/info" in google.objects


def test_a_prefix_needs_uniform_access(google: Google, labels: Path, run: Run) -> None:
    google.uniform = False
    google.prevention = "enforced"
    done = run("publish", labels, URL, "--public", "--yes")
    assert done.code == 3
    assert "uniform bucket-level access is off" in done.err
    lift = "gcloud storage buckets update gs://lab --no-public-access-prevention --uniform-bucket-level-access"
    assert lift in done.err
    assert not google.writes
    assert "p/labels/info" in google.objects


def test_an_organisation_that_forbids_it(google: Google) -> None:
    """That it does is not told before; the answer has the status of a change by somebody else, and is none."""
    google.organisation = True
    store = CloudStore(URL)
    with pytest.raises(AccessDeniedError, match="are not public") as caught:
        public.make_public(store, public.plan_public(store))
    assert "constraints/storage.publicAccessPrevention" in caught.value.hint
    assert [one[0] for one in google.writes].count("PUT") == 1


@pytest.mark.parametrize(
    ("permission", "planned"),
    [
        ("storage.buckets.get", True),
        ("storage.buckets.update", False),
        ("storage.managedFolders.create", False),
        ("storage.managedFolders.getIamPolicy", False),
        ("storage.managedFolders.setIamPolicy", False),
    ],
)
def test_each_permission_by_its_name(google: Google, permission: str, planned: bool) -> None:
    google.missing = {permission}
    store = CloudStore(URL)
    if planned:
        with pytest.raises(AccessDeniedError) as caught:
            public.plan_public(store)
    else:
        plan = public.plan_public(store)
        with pytest.raises(AccessDeniedError) as caught:
            public.make_public(store, plan)
    assert f"need {permission}" in caught.value.hint
    google.missing = set()
    public.make_public(store, public.plan_public(store))
    assert status(google, "p/labels/x") == 404


@pytest.mark.parametrize("permission", ["storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy"])
def test_permissions_for_a_whole_bucket(google: Google, permission: str) -> None:
    google.missing = {permission}
    store = CloudStore(f"gs://{BUCKET}")
    with pytest.raises(AccessDeniedError) as caught:
        public.make_public(store, public.plan_public(store))
    assert f"need {permission}" in caught.value.hint


def test_no_such_bucket_and_no_such_server(google: Google) -> None:
    with pytest.raises(StorageError, match="there is no bucket gs://other"):
        public.plan_public(CloudStore("gs://other/p"))
    with scripted() as server, pytest.raises(NotOfferedError, match="does not offer it"):
        public.plan_public(CloudStore("gs://lab/p", StoreOptions(endpoint=server.url)))


def test_on_googles_own_server_for_tests(google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it knows of all this: CORS by metageneration, and the policy of a bucket."""
    program = shutil.which("storage-testbench")
    if program is None:
        pytest.skip("needs storage-testbench, from github.com/googleapis/storage-testbench")
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(with_us([program, "--port", str(port)]), stdout=output, stderr=output)
    try:
        body = json.dumps({"name": "lab-bucket"}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/storage/v1/b?project=lab", data=body, headers=headers)
        for _ in range(200):
            try:
                urllib.request.urlopen(request, timeout=10)
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        store = CloudStore("gs://lab-bucket", StoreOptions(endpoint=url))
        bucket = GoogleBucket(store)
        bucket.set_cors([THEIR_RULE], bucket.settings()["metageneration"])
        before = bucket.policy()
        assert before is not None
        assert public.make_public(store, public.plan_public(store))
        told = json.loads(urllib.request.urlopen(f"{url}/storage/v1/b/lab-bucket", timeout=10).read())
        assert told["cors"][0] == THEIR_RULE
        assert told["cors"][1]["origin"] == ["*"]
        told = json.loads(urllib.request.urlopen(f"{url}/storage/v1/b/lab-bucket/iam", timeout=10).read())
        assert told["bindings"] == [
            *before["bindings"],
            {"role": "roles/storage.objectViewer", "members": ["allUsers"]},
        ]
        assert public.plan_public(store).changes == ()
        with pytest.raises(ChangedMeanwhileError):
            bucket.set_cors([], "1")
    finally:
        process.terminate()
        process.wait(10)


# ---- credentials


@pytest.fixture
def signed(google: Google, monkeypatch: pytest.MonkeyPatch) -> Google:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setattr(google_api, "HOST", google.url)
    return google


def test_a_token(signed: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "ya29.secret")
    GoogleBucket(CloudStore(URL)).settings()
    assert signed.seen[-1][3] == "Bearer ya29.secret"


@pytest.mark.parametrize("variable", ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"])
def test_a_service_account(signed: Google, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its key signs what a token is asked for with; the token comes with what is asked of the store."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with scripted() as tokens:
        body = json.dumps({"access_token": "ya29.mine", "expires_in": 3600, "token_type": "Bearer"}).encode()
        tokens.answers["/token"] = (200, {"Content-Type": "application/json"}, body)
        account = {"type": "service_account", "client_email": "a@lab.example.org", "project_id": "lab"}
        account |= {"private_key": key.decode(), "private_key_id": "1", "token_uri": f"{tokens.url}/token"}
        (tmp_path / "key.json").write_text(json.dumps(account))
        monkeypatch.setenv(variable, str(tmp_path / "key.json"))
        bucket = GoogleBucket(CloudStore(URL))
        bucket.settings()
        bucket.policy()
        assert [one[3] for one in signed.seen] == ["Bearer ya29.mine"] * 2
        assert len(tokens.seen) == 1
        # one that is refused
        tokens.answers["/token"] = (400, {}, b'{"error": "invalid_grant", "error_description": "secret"}')
        with pytest.raises(AccessDeniedError, match="cannot be used") as caught:
            GoogleBucket(CloudStore(URL)).settings()
    assert "gcloud auth" in caught.value.hint
    assert "secret" not in str(caught.value)


def test_without_credentials(signed: Google) -> None:
    signed.missing = {"storage.buckets.get"}
    with pytest.raises(AccessDeniedError, match="no credentials were found"):
        public.plan_public(CloudStore(URL))


def test_without_the_library(signed: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "ya29.secret")
    monkeypatch.setitem(__import__("sys").modules, "google.auth", None)
    plan = public.plan_public(CloudStore(URL))
    assert plan.url == "https://storage.googleapis.com/lab/p/labels"
    assert any("managed-folders add-iam-policy-binding gs://lab/p/labels/" in line for line in plan.commands)
    text = public.plan_text(plan)
    assert "pip install 'precast[cloud]'" in text
    assert not public.make_public(CloudStore(URL), plan)
    assert not signed.seen
