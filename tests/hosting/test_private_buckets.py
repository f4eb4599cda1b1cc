"""``serve`` and ``view`` of a bucket that nobody else may read, on a real server with real refusals."""

from __future__ import annotations

import html
import json
import signal
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest

import precast
from buckets import Place, forget_credentials, upload
from command_line import Run
from fault_proxy import Plan
from fault_proxy import running as proxy
from precast.errors import AccessDeniedError, MissingExtraError, ObjectNotFoundError, StorageError, UsageError
from precast.hosting import stored, view
from precast.hosting.server import ServeOptions
from precast.precomputed.collection import Collection, CollectionLayer
from precast.storage import Attributes, CloudStore, LocalStore, StoreOptions, opening
from processes import running
from raw_http import Answer, Connection, ask
from s3_server import Keys, S3Server

PAGE = "https://viewer.example.org"
PORT = ServeOptions(port=0)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection: labels in shards with meshes and properties, an image in single chunks, gzipped."""
    root = tmp_path_factory.mktemp("datasets") / "out"
    labels = np.zeros((40, 60, 70), np.uint32)
    labels[5:30, 5:40, 5:35] = 7
    labels[10:25, 45:55, 40:60] = 9
    precast.convert(labels, root / "labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    precast.mesh(root / "labels")
    image = np.random.default_rng(0).integers(1, 255, (40, 60, 70)).astype(np.uint8)
    options = precast.ConvertOptions(resolution=8, kind="image", unsharded=True, chunk_size="32")
    precast.convert(image, root / "em", options)
    layers = (CollectionLayer(name="em", kind="image"), CollectionLayer(name="labels", kind="segmentation"))
    (root / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    return root


def sign_in(patch: pytest.MonkeyPatch, server: S3Server, keys: Keys, endpoint: str = "") -> None:
    patch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    patch.setenv("AWS_REGION", server.region)
    patch.setenv("AWS_ENDPOINT_URL", endpoint or server.endpoint)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, s3: S3Server) -> None:
    forget_credentials(monkeypatch, tmp_path)
    sign_in(monkeypatch, s3, s3.keys)


@pytest.fixture(scope="module")
def place(s3: S3Server, out: Path) -> Iterator[str]:
    """The address of the collection in a bucket without a policy and without CORS rules."""
    with pytest.MonkeyPatch.context() as patch:
        sign_in(patch, s3, s3.keys)
        url = f"s3://{s3.new_bucket()}/lab/p"
        upload(out, CloudStore(url))
    yield url
    # as private at the end as it was at the beginning
    assert raw(s3, f"{url}/em/info").status == 403


def raw(server: S3Server, url: str) -> Answer:
    """Ask for an object as a browser does, without credentials."""
    return server.anonymously("GET", urllib.parse.quote(url.removeprefix("s3:/")), {"Origin": PAGE})


def without_time(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "etag")}
    return answer.status, headers, answer.body


ASKED: tuple[tuple[str, dict[str, str]], ...] = (
    ("GET", {}),
    ("GET", {"Accept-Encoding": "gzip", "Origin": PAGE}),
    ("HEAD", {"Accept-Encoding": "gzip"}),
    ("GET", {"Range": "bytes=3-17", "Accept-Encoding": "gzip"}),
    ("GET", {"Range": "bytes=-5"}),
    ("GET", {"Range": "bytes=100000000-"}),
    ("HEAD", {"Range": "bytes=3-17"}),
    ("OPTIONS", {"Origin": PAGE, "Access-Control-Request-Headers": "range"}),
    ("POST", {}),
    ("GET", {"Host": "evil.example"}),
)


def test_every_object_is_answered_as_from_the_disk_that_it_comes_from(s3: S3Server, out: Path, place: str) -> None:
    keys = [stat.key for stat in LocalStore(out).list()]
    assert {".shard", ".npy"} <= {Path(key).suffix for key in keys}
    assert len(keys) > 20
    with precast.serve([out, place], PORT) as server:
        assert [one.name for one in server.datasets] == ["out/em", "out/labels", "p/em", "p/labels"]
        statuses = set()
        for key in [*keys, "em/8_8_8/absent", "absent/info", "labels/mesh", "labels/.hidden", "em/../labels/info"]:
            for method, headers in ASKED:
                native = ask(server.port, method, f"/out/{key}", headers)
                passed_on = ask(server.port, method, f"/p/{key}", headers)
                assert without_time(passed_on) == without_time(native), (method, key, headers)
                assert ("etag" in passed_on.headers) is ("etag" in native.headers)
                statuses.add((method, passed_on.status))
        assert {("GET", code) for code in (200, 206, 404, 416, 421)} <= statuses
        assert {("HEAD", 200), ("OPTIONS", 204), ("POST", 405)} <= statuses
        # in the meantime others are refused
        assert raw(s3, f"{place}/em/info").status == 403
        # and readers read voxels and meshes
        volume = precast.open(f"{server.url}p/labels")
        assert (volume.scales[0][...] == precast.open(out / "labels").scales[0][...]).all()
        near, far = precast.open(out / "labels").meshes[9].read(0), volume.meshes[9].read(0)
        assert (far.vertices == near.vertices).all()
        assert [one for one in precast.check(f"{server.url}p").findings if one.severity == "error"] == []


def test_the_list_names_the_bucket_and_only_of_what_is_in_one(out: Path, place: str) -> None:
    with precast.serve([out / "em", place], PORT) as server:
        listed = json.loads(ask(server.port, "GET", "/").body)["datasets"]
        assert [one.get("source") for one in listed] == [None, f"{place}/em", f"{place}/labels"]
        assert [one["ready"] for one in listed] == [True] * 3
        page = ask(server.port, "GET", "/", {"Accept": "text/html"}).body.decode()
        assert html.escape(f"{place}/em") in page
        assert [(one.code, one.where) for one in server.findings] == [("PH103", place)]
        assert (server.datasets[0].path, server.datasets[1].path) == (out / "em", None)


def test_a_secret_path_is_in_front_of_buckets_too(place: str) -> None:
    with precast.serve(place, ServeOptions(port=0, private=True)) as server:
        path = urllib.parse.urlsplit(server.datasets[0].url).path
        assert ask(server.port, "GET", f"{path}/info").status == 200
        for other in ("/p/em/info", "/p/precast.json", path.replace("/p/em", "x/p/em/info")):
            assert ask(server.port, "GET", other).status == 404
        assert ask(server.port, "GET", f"{path}/info", {"Host": "evil.example"}).status == 421


def test_a_dataset_appears_when_it_is_complete(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "COMPLETE_S", 0)
    store = CloudStore(f"s3://{bucket}/em")
    store.write("8_8_8/0-8_0-8_0-8", b"chunk", Attributes())
    with precast.serve(store.url, PORT) as server:
        assert [one.code for one in server.findings] == ["PH101", "PH103"]
        assert [one.ready for one in server.datasets] == [False]
        assert ask(server.port, "GET", "/em/8_8_8/0-8_0-8_0-8").status == 404
        store.write("info", b"{}", Attributes())
        assert ask(server.port, "GET", "/em/8_8_8/0-8_0-8_0-8").body == b"chunk"
        assert server.datasets[0].ready
        store.delete("info")
        assert ask(server.port, "GET", "/em/8_8_8/0-8_0-8_0-8").status == 404


def may_read(bucket: str, keys: Keys) -> list[dict[str, object]]:
    who = {"AWS": [keys.access_key]}
    return [
        {"Effect": "Allow", "Principal": who, "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"},
        {"Effect": "Allow", "Principal": who, "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"},
    ]


def test_rights_that_are_taken_away_are_told_and_the_server_goes_on(
    s3: S3Server, bucket: str, out: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    upload(out / "labels", CloudStore(f"s3://{bucket}/labels"))
    somebody = s3.new_user()
    s3.allow(bucket, *may_read(bucket, somebody))
    sign_in(monkeypatch, s3, somebody)
    keys = [stat.key for stat in LocalStore(out / "labels").list()]
    with precast.serve([f"s3://{bucket}/labels", out / "em"], PORT) as server:
        assert {ask(server.port, "GET", f"/labels/{key}").status for key in keys} == {200}
        assert capfd.readouterr().err == ""
        s3.allow(bucket)
        answers = [ask(server.port, "GET", f"/labels/{key}", {"Range": "bytes=0-3"}) for key in [*keys, "8_8_8/absent"]]
        assert {answer.status for answer in answers} == {502}
        assert {answer.origins for answer in answers} == {"*"}
        assert b"reading is refused (AccessDenied)" in answers[0].body
        assert ask(server.port, "GET", "/em/info").status == 200
        told = capfd.readouterr().err
        assert told.startswith(f"error: s3://{bucket}/labels/{keys[0]}: reading is refused (AccessDenied)\n")
        assert told.splitlines()[1].startswith("hint: the credentials need s3:GetObject")
        assert len(told.splitlines()) == 2, "said once"
        assert somebody.secret_key not in told + "".join(answer.body.decode() for answer in answers)
        s3.allow(bucket, *may_read(bucket, somebody))
        assert {ask(server.port, "GET", f"/labels/{key}").status for key in keys} == {200}
        assert ask(server.port, "GET", "/labels/8_8_8/absent").status == 404


def test_keys_that_are_no_longer_known(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    somebody = s3.new_user()
    s3.put(bucket, "em/info", b"{}")
    s3.allow(bucket, *may_read(bucket, somebody))
    sign_in(monkeypatch, s3, somebody)
    with precast.serve(f"s3://{bucket}/em", PORT) as server:
        assert ask(server.port, "GET", "/em/info").body == b"{}"
        assert s3.ask("PATCH", f"/delete-user?access={somebody.access_key}").status == 200
        answer = ask(server.port, "GET", "/em/info")
        assert answer.status == 502
        assert b"the store does not know the access key" in answer.body
        listed = json.loads(ask(server.port, "GET", "/").body)["datasets"]
        assert [one["ready"] for one in listed] == [False]
    told = capfd.readouterr().err
    assert told.count("error: ") == 1
    assert somebody.secret_key not in told


def test_a_store_that_cannot_be_reached_for_a_while(
    s3: S3Server, place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Answers that were cut are gone on with; what the store refuses is an error of the moment."""
    with proxy(s3.port) as between:
        sign_in(monkeypatch, s3, s3.keys, between.url)
        with precast.serve(f"{place}/labels", PORT) as server:
            good = ask(server.port, "GET", "/labels/label_table.npy").body
            between.use(Plan(cut_answer=0.25, error_500=0.3))
            for _ in range(12):
                assert ask(server.port, "GET", "/labels/label_table.npy").body == good
            between.use(Plan(deny_from=0))
            assert ask(server.port, "GET", "/labels/label_table.npy").status == 502
            between.use(Plan())
            assert ask(server.port, "GET", "/labels/label_table.npy").body == good
        assert between.counts["cut_answer"] > 0
        assert between.counts["error_500"] > 0
    assert "Traceback" not in capfd.readouterr().err


# ---- at the start


def test_errors_at_the_start_say_what_to_do(
    s3: S3Server, place: str, out: Path, bucket: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = s3.new_user()
    cases: list[tuple[Keys, list[object], int, str, str]] = [
        (s3.keys, ["s3://there-is-none/p"], 3, "error: there is no bucket s3://there-is-none", "check its name"),
        (nobody, [place], 3, "reading is refused (AccessDenied)", "the credentials need s3:GetObject"),
        (Keys("nobody", "x" * 20), [place], 3, "the store does not know the access key", "hint: "),
        (Keys(s3.access_key, "x" * 20), [place], 3, "the secret key does not belong to the access key", "hint: "),
        (s3.keys, [place, "--anonymous"], 3, "without credentials is refused", "leave out --anonymous"),
        (s3.keys, [place, "--profile", "lab"], 2, "lab", "profiles that there are"),
        (s3.keys, [out, "--endpoint", s3.endpoint], 2, "is in no bucket", "s3://bucket/path"),
        (s3.keys, [f"{s3.endpoint}/x"], 2, "only directories and buckets can be served", "precast view shows"),
    ]
    for keys, arguments, code, error, hint in cases:
        sign_in(monkeypatch, s3, keys)
        done = run("serve", *arguments, "--port", "0")
        assert (done.code, done.out) == (code, ""), done.err
        assert error in done.err
        assert hint in done.err
        assert "Traceback" not in done.err
        assert keys.secret_key not in done.err
    monkeypatch.setattr(opening, "has_cloud_client", lambda: False)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with pytest.raises(MissingExtraError, match=r"serving https://b\.s3"):
        precast.serve("s3://b/p", PORT)


def test_the_verb_with_the_options_of_buckets(s3: S3Server, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    arguments = (place, "--port", 0, "--endpoint", s3.endpoint, "--region", s3.region)
    with running("serve", *arguments) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        port = urllib.parse.urlsplit(url).port
        assert port is not None
        assert ask(port, "GET", "/p/labels/info").status == 200
        process.send_signal(signal.SIGTERM)
        rest, told = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")
    assert told.splitlines() == [
        f"info: read with your credentials through this machine ({place})",
        *(f"  {url}p/{name}|neuroglancer-precomputed:" for name in ("em", "labels")),
        "Ctrl-C ends it.",
    ]


def test_it_ends_while_the_store_says_nothing(
    s3: S3Server, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A thread that waits for the store must not keep the program, nor take it down."""
    with proxy(s3.port) as between:
        sign_in(monkeypatch, s3, s3.keys, between.url)
        with running("serve", f"{place}/labels", "--port", 0, "--quiet") as process:
            assert process.stdout is not None
            port = urllib.parse.urlsplit(process.stdout.readline()).port
            assert port is not None
            between.use(Plan(stall=1))
            connection = Connection(port)
            connection.send("GET", "/labels/label_table.npy")
            while not between.counts["stall"]:
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=60) == ("", "")
            assert process.returncode == 0
            connection.socket.close()


# ---- the viewer


def sources(shown: precast.View) -> list[str]:
    return [layer["source"].removesuffix("/|neuroglancer-precomputed:") for layer in shown.state["layers"]]


def test_a_viewer_gets_private_data_through_this_machine(place: str, out: Path) -> None:
    with precast.view(place, out / "em") as shown, precast.view(out) as local:
        assert sources(shown) == [f"{shown.server.url}{name}" for name in ("p/em", "em", "p/labels")]
        assert [(one.code, one.where) for one in shown.findings] == [("PH103", place)]
        for source in sources(shown):
            path = f"{urllib.parse.urlsplit(source).path}/info"
            assert ask(shown.server.port, "GET", path).status == 200
            # who does not know the secret, such as another page in the browser, reads nothing
            _, secret, rest = path.split("/", 2)
            assert len(secret) >= 20
            assert ask(shown.server.port, "GET", f"/{rest}").status == 404
        assert shown.url_from("lab.example.org").count("lab.example.org") == 1 + shown.url.count("127.0.0.1") - 1
        assert local.findings == ()
        assert local.server.url.count("/") == 3, "files on a disk have no secret unless it is asked for"
    with precast.view(f"precomputed://{place}/labels") as shown:
        assert sources(shown) == [f"{shown.server.url}labels"]


def test_what_everybody_may_read_is_left_to_browsers(s3: S3Server, bucket: str, out: Path) -> None:
    client = boto3.client("s3", endpoint_url=s3.endpoint, region_name=s3.region)
    own = Place(s3.endpoint, bucket, client)
    upload(out, CloudStore(f"s3://{bucket}/p"))
    url = f"s3://{bucket}/p"
    theirs = [f"{s3.endpoint}/{bucket}/p/{name}" for name in ("em", "labels")]
    own.open_to_browsers("p")
    with precast.view(url) as shown:
        assert (sources(shown), shown.findings, shown.server.datasets) == (theirs, (), ())
    # one of two is not for everybody
    own.open_to_browsers("p/em")
    with precast.view(url) as shown:
        assert sources(shown) == [f"{shown.server.url}p/{name}" for name in ("em", "labels")]
    with precast.view(f"{url}/em", f"{url}/labels") as shown:
        assert sources(shown) == [theirs[0], f"{shown.server.url}labels"]
    # for everybody, but not from other pages
    own.open_to_browsers("p")
    client.delete_bucket_cors(Bucket=bucket)
    with precast.view(url) as shown:
        assert sources(shown) == [f"{shown.server.url}p/{name}" for name in ("em", "labels")]
    anonymous = StoreOptions(anonymous=True)
    with precast.view(f"{url}/em", store=anonymous) as shown:
        assert (sources(shown), shown.server.datasets) == (theirs[:1], ())


def test_without_credentials_nobody_is_told_of_some(
    s3: S3Server, bucket: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(out / "em", CloudStore(f"s3://{bucket}/em"))
    read = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3.allow(bucket, read)  # no CORS rules
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with precast.view(f"s3://{bucket}/em") as shown:
        assert sources(shown) == [f"{shown.server.url}em"]
        assert [one.message for one in shown.findings] == ["read through this machine"]


def test_layers_alone_are_left_out_as_on_a_disk(bucket: str, out: Path) -> None:
    store = CloudStore(f"s3://{bucket}/p")
    upload(out / "em", CloudStore(f"{store.url}/em"))
    store.write(
        "bones/info", b'{"@type": "neuroglancer_skeletons", "transform": [1,0,0,0,0,1,0,0,0,0,1,0]}', Attributes()
    )
    with precast.view(store.url) as shown:
        assert sources(shown) == [f"{shown.server.url}p/em"]
        assert {(one.code, one.where) for one in shown.findings} == {
            ("PH103", store.url),
            ("PV120", f"{store.url}/bones"),
        }
    with precast.view(f"{store.url}/bones") as shown:
        assert sources(shown) == [f"{shown.server.url}bones"]


def test_google_needs_no_rules_for_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interface that viewers use for gs:// is open to all; on S3 the bucket decides."""
    asked: list[tuple[str, str]] = []

    class Client:
        def __init__(self, **_: object) -> None:
            pass

        def request(self, method: str, url: str, headers: dict[str, str]) -> object:
            asked.append((url, headers["Origin"]))
            return type("A", (), {"status": 200, "headers": {}})()

    monkeypatch.setattr(view, "HttpClient", Client)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert view._is_public(CloudStore("gs://b/p"), "em", 9000)
    assert not view._is_public(CloudStore("s3://b/p"), "em", 9000)
    assert [url.partition("//")[2] for url, _ in asked] == [
        "storage.googleapis.com/b/p/em/info",
        "b.s3.eu-central-1.amazonaws.com/p/em/info",
    ]
    assert {page for _, page in asked} == {"http://127.0.0.1:9000"}


def test_nothing_is_left_when_it_cannot_be_shown(place: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="no bucket"):
        precast.view("s3://there-is-none/p")
    with pytest.raises(ObjectNotFoundError, match="no dataset"):
        precast.view(f"{place}/absent")
    sign_in(monkeypatch, s3, s3.new_user())
    with pytest.raises(AccessDeniedError, match="reading is refused"):
        precast.view(place)
    with pytest.raises(UsageError, match="no bucket"):
        precast.view("here", store=StoreOptions(region="x"))
