"""``publish --public`` on Azure: on Azurite where it is installed, and what it does not know as it is documented."""

from __future__ import annotations

import base64
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import azurite
import precast
from azure_server import ACCOUNT, CONTAINER, LATER, Azure, azure_server
from buckets import forget_credentials
from command_line import Run, small_labels
from precast.errors import AccessDeniedError, MissingExtraError, StorageError
from precast.storage import CloudStore
from precast.storage.azure_api import AzureContainer
from precast.workflows.publish import public

URL = f"az://{CONTAINER}/p/labels"
KEY = base64.b64encode(b"secret" * 8).decode()
PAGE = "https://viewer.example.org"
THEIR_RULE = (
    "<CorsRule><AllowedOrigins>https://lab.example.org,https://b.example.org</AllowedOrigins>"
    "<AllowedMethods>PUT</AllowedMethods><AllowedHeaders>x-ms-*</AllowedHeaders>"
    "<ExposedHeaders /><MaxAgeInSeconds>5</MaxAgeInSeconds></CorsRule>"
)
STORED = (
    "<SignedIdentifiers><SignedIdentifier><Id>theirs</Id><AccessPolicy><Start>2026-01-01T00:00:00Z</Start>"
    "<Expiry>2030-01-01T00:00:00Z</Expiry><Permission>rl</Permission></AccessPolicy></SignedIdentifier>"
    "</SignedIdentifiers>"
)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_labels(tmp_path_factory.mktemp("datasets") / "labels")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setattr(public, "PAUSES_S", ())


# ---- Azurite


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite.azurite(tmp_path_factory.mktemp("azurite")) as address:
        yield address


def put(endpoint: str, path: str, query: str, body: str, headers: dict[str, str] | None = None) -> None:
    """Change a setting by a request that is signed here."""
    azurite.ask(endpoint, "PUT", path, query, headers, body.encode())


def test_on_azurite(emulator: str, labels: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", azurite.ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", azurite.KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", emulator)
    name = azurite.new_container(emulator)
    put(
        emulator,
        "/",
        "comp=properties&restype=service",
        f"<StorageServiceProperties><Cors>{THEIR_RULE}</Cors></StorageServiceProperties>",
    )
    put(emulator, f"/{name}", "comp=acl&restype=container", STORED)
    other = azurite.new_container(emulator)
    done = run("publish", labels, f"az://{name}/p/labels", "--public", "--yes")
    assert done.code == 0, done.err
    assert f"CORS of the whole account {azurite.ACCOUNT}" in done.err
    assert f"every blob of the container {name}" in done.err
    # everybody reads, and sees what viewers need
    request = urllib.request.Request(f"{emulator}/{name}/p/labels/info", headers={"Origin": PAGE})
    answer = urllib.request.urlopen(request, timeout=10)
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", PAGE)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{emulator}/{name}?restype=container&comp=list", timeout=10)
    assert done.out.startswith("https://neuroglancer-demo.appspot.com/#!")
    assert f"{emulator}/{name}/p/labels" in done.out
    place = f"{emulator}/{name}/p/labels"
    assert precast.check(place).findings == ()
    # what others have set is there, as it was
    told = azurite.ask(emulator, "GET", "/", "comp=properties&restype=service").read().decode()
    rules = re.findall(r"<AllowedOrigins>(.*?)</AllowedOrigins>", told)
    assert rules == ["https://lab.example.org,https://b.example.org", "*"]
    stored = azurite.ask(emulator, "GET", f"/{name}", "comp=acl&restype=container")
    assert stored.headers["x-ms-blob-public-access"] == "blob"
    text = stored.read().decode()
    assert "<Id>theirs</Id>" in text
    assert re.findall(r"<Permission>(.*?)</Permission>", text) == ["rl"]
    assert all(f"20{year}-01-01T00:00:00" in text for year in (26, 30))
    acl = azurite.ask(emulator, "GET", f"/{other}", "comp=acl&restype=container")
    assert acl.headers["x-ms-blob-public-access"] is None
    # again: nothing is changed
    done = run("publish", labels, f"az://{name}/p/labels", "--public", "--yes", "--json")
    assert done.code == 0
    assert json.loads(done.out)["result"]["public"]["changes"] == []
    # without the rule the check says which command makes one, for this account
    put(
        emulator,
        "/",
        "comp=properties&restype=service",
        "<StorageServiceProperties><Cors/></StorageServiceProperties>",
    )
    done = run("check", place)
    assert done.code == 1
    assert f"az storage cors add --account-name {azurite.ACCOUNT} --services b" in done.out + done.err


# ---- as documented


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch, alone: None) -> Iterator[Azure]:
    with azure_server() as server:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server.url)
        yield server


def test_rules_and_policies_of_others_stay(azure: Azure) -> None:
    azure.cors, azure.stored = f"<Cors>{THEIR_RULE}</Cors>", STORED
    store = CloudStore(URL)
    plan = public.plan_public(store)
    assert not azure.writes
    text = public.plan_text(plan)
    assert "CORS of the whole account lab, all its containers:" in text
    assert "access level of the whole container box:" in text
    assert '-"private"' in text
    assert public.make_public(store, plan)
    (_, acl, stored), (_, properties, settings) = azure.writes
    assert ("comp=acl" in acl, "comp=properties" in properties) == (True, True)
    assert azure.level == "blob"
    assert re.findall(r"<(Id|Start|Expiry|Permission)>(.*?)<", stored) == [
        ("Id", "theirs"),
        ("Start", "2026-01-01T00:00:00Z"),
        ("Expiry", "2030-01-01T00:00:00Z"),
        ("Permission", "rl"),
    ]
    # nothing but CORS is said, so all else stays
    assert set(re.findall(r"<(Logging|\w+Metrics|StaticWebsite|DeleteRetentionPolicy)", settings)) == set()
    assert re.findall(r"<(Allowed\w+|Max\w+)>(.*?)<", settings) == [
        ("AllowedOrigins", "https://lab.example.org,https://b.example.org"),
        ("AllowedMethods", "PUT"),
        ("AllowedHeaders", "x-ms-*"),
        ("MaxAgeInSeconds", "5"),
        ("AllowedOrigins", "*"),
        ("AllowedMethods", "GET,HEAD,OPTIONS"),
        ("AllowedHeaders", "*"),
        ("MaxAgeInSeconds", "3600"),
    ]
    # again: nothing is changed
    azure.seen.clear()
    plan = public.plan_public(store)
    assert plan.changes == ()
    assert not public.make_public(store, plan)
    assert not azure.writes


def test_a_container_that_can_be_listed_too_stays_so(azure: Azure) -> None:
    azure.level = "container"
    plan = public.plan_public(CloudStore(URL))
    assert [change.name for change in plan.changes] == ["CORS"]


def test_an_account_without_public_access(azure: Azure) -> None:
    azure.public_allowed = False
    store = CloudStore(URL)
    plan = public.plan_public(store)
    lift = "az storage account update --name lab --allow-blob-public-access true"
    assert (plan.blocked, plan.lift) == (("PublicAccessNotPermitted",), lift)
    with pytest.raises(AccessDeniedError, match="the data are at az://box/p/labels, but nobody else") as caught:
        public.make_public(store, plan)
    assert lift in caught.value.hint
    assert not azure.writes
    # and if that is told only when the level is changed
    azure.public_allowed = True
    plan = public.plan_public(store)
    azure.public_allowed = False
    with pytest.raises(AccessDeniedError, match="are not public: the account lab does not allow") as caught:
        public.make_public(store, plan)
    assert lift in caught.value.hint
    assert (azure.level, azure.cors) == ("", "<Cors />")


def test_others_change_it_at_the_same_time(azure: Azure) -> None:
    store = CloudStore(URL)
    plan = public.plan_public(store)
    azure.meanwhile = [lambda one: setattr(one, "modified", LATER)]
    with pytest.raises(StorageError, match="at the same time"):
        public.make_public(store, plan)
    assert azure.level == ""
    assert public.make_public(store, plan)


@pytest.mark.parametrize(
    ("request_", "role", "planned"),
    [
        (("GET", "properties"), "Storage Account Contributor", True),
        (("PUT", "properties"), "Storage Account Contributor", False),
        (("GET", "acl"), "Storage Blob Data Owner", True),
        (("PUT", "acl"), "Storage Blob Data Owner", False),
    ],
)
def test_each_permission_by_its_name(azure: Azure, request_: tuple[str, str], role: str, planned: bool) -> None:
    azure.refused = {request_: "AuthorizationPermissionMismatch"}
    store = CloudStore(URL)
    if planned:
        with pytest.raises(AccessDeniedError) as caught:
            public.plan_public(store)
    else:
        plan = public.plan_public(store)
        with pytest.raises(AccessDeniedError) as caught:
            public.make_public(store, plan)
    assert f"need the role {role}" in caught.value.hint
    assert KEY not in str(caught.value) + caught.value.hint


def test_wrong_keys_and_no_such_container(azure: Azure) -> None:
    with pytest.raises(StorageError, match="there is no bucket az://other"):
        public.plan_public(CloudStore("az://other/p"))
    azure.refused = {("GET", "properties"): "AuthenticationFailed"}
    with pytest.raises(AccessDeniedError, match="does not accept the credentials"):
        public.plan_public(CloudStore(URL))


def _authorization(azure: Azure) -> tuple[str, str]:
    AzureContainer(CloudStore(URL)).cors()
    _, path, _, headers = azure.seen[-1]
    return headers.get("authorization", ""), path


def test_credentials(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that objects are written with."""
    assert _authorization(azure)[0].startswith("SharedKey lab:")
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=2021-08-06&sig=abc%3D")
    told, path = _authorization(azure)
    assert told == ""
    assert "sig=abc%3D" in path
    monkeypatch.delenv("AZURE_STORAGE_SAS_TOKEN")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT")
    monkeypatch.delenv("AZURE_STORAGE_ENDPOINT")
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING", f"AccountName=lab;AccountKey={KEY};BlobEndpoint={azure.url}/;"
    )
    assert _authorization(azure)[0].startswith("SharedKey lab:")


def test_signing_in_by_the_command_line_tool(azure: Azure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from azure.identity import AzureCliCredential

    (tmp_path / ".azure").mkdir()
    (tmp_path / ".azure" / "azureProfile.json").write_text("{}")
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setattr(AzureCliCredential, "get_token", _no_login)
    monkeypatch.setattr(AzureCliCredential, "get_token_info", _no_login)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "https://127.0.0.1:1/lab")
    with pytest.raises(AccessDeniedError, match="credentials cannot be used: Please run") as caught:
        AzureContainer(CloudStore(URL)).cors()
    assert "az login" in caught.value.hint
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(MissingExtraError, match="needs azure-identity"):
        AzureContainer(CloudStore(URL))


def _no_login(*_: Any, **__: Any) -> Any:
    from azure.core.exceptions import ClientAuthenticationError

    raise ClientAuthenticationError("Please run 'az login' to set up an account")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "lab")
    monkeypatch.setitem(sys.modules, "azure.storage.blob", None)
    store = CloudStore("az://box/p")
    plan = public.plan_public(store)
    assert plan.url == "https://lab.blob.core.windows.net/box/p"
    assert any("--account-name lab --name box --public-access blob" in line for line in plan.commands)
    text = public.plan_text(plan)
    assert "pip install 'precast[azure]'" in text
    assert "everybody may read every blob of the container" in text
    assert not public.make_public(store, plan)
