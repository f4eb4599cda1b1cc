"""What the data server sends: every kind of object, its headers, gzip, collections, what is not complete."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from imagecodecs import brotli_encode

import precast
import written_by_others as others
from precast.errors import FormatError, ObjectNotFoundError, StorageError, UsageError
from precast.precomputed.objects import EXPOSED_HEADERS, ObjectKind, kind_of
from raw_http import Connection, ask

OPTIONS = precast.ServeOptions(port=0)
LABELS = np.random.default_rng(1).integers(0, 256, 300_000, np.uint8).tobytes()
TEXT = b'{"@type": "neuroglancer_multiscale_volume"}'


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("serving") / "labels"
    return put(
        root,
        {
            "info": TEXT,
            "provenance": b"{}",
            "label_table.npy": b"\x93NUMPY",
            "8_8_8/0.shard": LABELS,
            "8_8_8/0-64_0-64_0-64.gz": gzip.compress(LABELS),
            "8_8_8/empty": b"",
            "mesh/info": b'{"@type":"neuroglancer_multilod_draco"}',
            "mesh/5": LABELS[:1000],
            "mesh/5.index": b"manifest",
            "mesh/6.gz": gzip.compress(b"fragments that somebody gzipped"),
            "mesh/7.shard.gz": gzip.compress(b"a shard that somebody gzipped"),
            "legacy/5:0": b'{"fragments": ["5:0:a"]}',
            "legacy/5:0:a.gz": gzip.compress(b"fragment"),
            "legacy/6%3A0": b'{"fragments": ["written on Windows"]}',
            "legacy/6%3A0%3Aa.gz": gzip.compress(b"on Windows"),
            "skeletons/info": b'{"@type":"neuroglancer_skeletons"}',
            "skeletons/9.gz": gzip.compress(b"skeleton"),
            "8_8_8/64-128_0-64_0-64.br": bytes(brotli_encode(LABELS)),
            "mesh/8.br": bytes(brotli_encode(b"fragments that somebody packed")),
            "mesh/9.shard.br": bytes(brotli_encode(b"a shard that somebody packed")),
            "16_16_16/-8-56/0-64/0-64.gz": gzip.compress(LABELS[:100]),
            "16_16_16/-8-56/0-64/64-80": LABELS[100:200],
        },
    )


@pytest.fixture(scope="module")
def port(dataset: Path) -> Iterator[int]:
    with precast.serve(dataset, OPTIONS) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/"
        assert [(one.name, one.url, one.ready) for one in server.datasets] == [("labels", f"{server.url}labels", True)]
        yield server.port


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("info", ObjectKind.INFO, TEXT),
        ("provenance", ObjectKind.PROVENANCE, b"{}"),
        ("label_table.npy", ObjectKind.LABEL_TABLE, b"\x93NUMPY"),
        ("8_8_8/0.shard", ObjectKind.SHARD, LABELS),
        ("8_8_8/0-64_0-64_0-64", ObjectKind.CHUNK, LABELS),
        ("8_8_8/64-128_0-64_0-64", ObjectKind.CHUNK, LABELS),
        ("8_8_8/empty", ObjectKind.CHUNK, b""),
        ("16_16_16/-8-56_0-64_0-64", ObjectKind.CHUNK, LABELS[:100]),
        ("16_16_16/-8-56_0-64_64-80", ObjectKind.CHUNK, LABELS[100:200]),
        ("mesh/info", ObjectKind.MESH_INFO, b'{"@type":"neuroglancer_multilod_draco"}'),
        ("mesh/5", ObjectKind.MESH_FRAGMENTS, LABELS[:1000]),
        ("mesh/5.index", ObjectKind.MESH_MANIFEST, b"manifest"),
        ("legacy/5:0", ObjectKind.LEGACY_MANIFEST, b'{"fragments": ["5:0:a"]}'),
        ("legacy/5:0:a", ObjectKind.LEGACY_FRAGMENT, b"fragment"),
        ("legacy/6:0", ObjectKind.LEGACY_MANIFEST, b'{"fragments": ["written on Windows"]}'),
        ("legacy/6:0:a", ObjectKind.LEGACY_FRAGMENT, b"on Windows"),
        ("legacy/5%3A0", ObjectKind.LEGACY_MANIFEST, b'{"fragments": ["5:0:a"]}'),
    ],
)
def test_every_kind_of_object_has_its_headers(port: int, path: str, kind: ObjectKind, body: bytes) -> None:
    answer = ask(port, "GET", f"/labels/{path}")
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-type"] == kind.rule.content_type
    assert answer.headers["cache-control"] == kind.rule.cache_control()
    assert (answer.headers["cache-control"] == "no-cache") is not kind.rule.immutable
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["access-control-expose-headers"].split(", ") == list(EXPOSED_HEADERS)
    assert answer.origins == "*"
    assert "content-encoding" not in answer.headers
    head = ask(port, "HEAD", f"/labels/{path}")
    differing = {"date"}
    assert {key: value for key, value in head.headers.items() if key not in differing} == {
        key: value for key, value in answer.headers.items() if key not in differing
    }
    assert (head.status, head.body) == (200, b"")


def test_the_table_tells_kinds_by_name() -> None:
    assert kind_of("a/b/0f.shard") is ObjectKind.SHARD
    assert kind_of("mesh/info") is ObjectKind.INFO
    assert kind_of("mesh/12:0") is ObjectKind.LEGACY_MANIFEST
    assert kind_of("mesh/12:0:0-64_0-64_0-64") is ObjectKind.OTHER
    assert ObjectKind.SHARD.rule.cache_control(generation=True) == "public, max-age=31536000, immutable"
    assert ObjectKind.INFO.rule.cache_control(generation=True) == "no-cache"


@pytest.mark.parametrize("path", ["8_8_8/0-64_0-64_0-64", "legacy/5:0:a", "legacy/6:0:a", "skeletons/9"])
def test_gzip_goes_out_as_it_is_to_who_takes_it(port: int, path: str) -> None:
    packed = ask(port, "GET", f"/labels/{path}", {"Accept-Encoding": "br, gzip"})
    plain = ask(port, "GET", f"/labels/{path}", {"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert zlib.decompress(packed.body, 31) == plain.body
    assert "content-encoding" not in plain.headers
    assert plain.headers["content-length"] == str(len(plain.body))
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert packed.headers["etag"] != plain.headers["etag"]
    refused = ask(port, "GET", f"/labels/{path}", {"Accept-Encoding": "gzip;q=0, *"})
    assert refused.body == plain.body
    for taken in (packed, plain):
        again = {"Accept-Encoding": taken.headers.get("content-encoding", "identity")}
        assert ask(port, "GET", f"/labels/{path}", {**again, "If-None-Match": taken.headers["etag"]}).status == 304


def test_brotli_goes_out_as_it_is_to_who_takes_it(port: int, dataset: Path) -> None:
    path, file = "/labels/8_8_8/64-128_0-64_0-64", dataset / "8_8_8" / "64-128_0-64_0-64.br"
    packed = ask(port, "GET", path, {"Accept-Encoding": "gzip, deflate, br, zstd"})
    assert packed.headers["content-encoding"] == "br"
    assert packed.body == file.read_bytes()
    assert packed.headers["content-length"] == str(len(packed.body))
    tags = {packed.headers["etag"]}
    for accepted in ("identity", "gzip", "br;q=0, *"):
        plain = ask(port, "GET", path, {"Accept-Encoding": accepted})
        assert (plain.status, plain.body) == (200, LABELS)
        assert "content-encoding" not in plain.headers
        assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        tags.add(plain.headers["etag"])
    assert len(tags) == 2
    head = ask(port, "HEAD", path, {"Accept-Encoding": "br"})
    assert (head.headers["content-encoding"], head.headers["etag"]) == ("br", packed.headers["etag"])
    again = {"Accept-Encoding": "br", "If-None-Match": packed.headers["etag"]}
    assert ask(port, "GET", path, again).status == 304
    assert ask(port, "GET", path, {**again, "Accept-Encoding": "gzip"}).status == 200
    part = ask(port, "GET", path, {"Range": "bytes=1000-1999", "Accept-Encoding": "br"})
    assert (part.status, part.body) == (206, LABELS[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(LABELS)}"
    assert "content-encoding" not in part.headers


def test_objects_are_not_known_by_the_names_of_their_files(port: int) -> None:
    for name in ("0-64_0-64_0-64.gz", "64-128_0-64_0-64.br"):
        assert ask(port, "GET", f"/labels/8_8_8/{name}").status == 404


def test_folders_of_chunks_lead_nowhere_else(port: int, dataset: Path) -> None:
    (dataset.parent / "8-9").write_bytes(b"outside")
    for path in ("8_8_8/..-.._8-9_1-2", "16_16_16/-8-56_0-64_80-96", "16_16_16/-8-56_0-64", "16_16_16/-8-56_0-64_"):
        assert ask(port, "GET", f"/labels/{path}").status == 404, path


@pytest.mark.parametrize("name", ["igneous/grey_brotli", "neuroglancer_scripts/cells_in_folders"])
def test_what_others_wrote_is_read_from_the_server(name: str) -> None:
    voxels, _ = others.VOXELS[name]
    with precast.serve(others.FOLDER / name, OPTIONS) as server:
        url = server.datasets[0].url
        np.testing.assert_array_equal(precast.open(url).scales[0][...], voxels)
        assert [finding for finding in precast.check(url).findings if finding.severity == "error"] == []


@pytest.mark.parametrize(
    "path",
    ["mesh/6", "mesh/7.shard", "mesh/8", "mesh/9.shard", "8_8_8/0.shard", "mesh/5", "label_table.npy"],
)
def test_what_is_read_by_ranges_never_has_an_encoding(port: int, path: str) -> None:
    answer = ask(port, "GET", f"/labels/{path}", {"Accept-Encoding": "gzip, br"})
    assert answer.status == 200
    assert "content-encoding" not in answer.headers
    part = ask(port, "GET", f"/labels/{path}", {"Accept-Encoding": "gzip", "Range": "bytes=2-4"})
    assert (part.status, part.body) == (206, answer.body[2:5])
    assert "content-encoding" not in part.headers


def test_ranges_of_gzipped_objects_are_of_the_inflated_bytes(port: int) -> None:
    for accepted in ("gzip", "identity"):
        headers = {"Range": "bytes=1000-1999", "Accept-Encoding": accepted}
        answer = ask(port, "GET", "/labels/8_8_8/0-64_0-64_0-64", headers)
        assert (answer.status, answer.body) == (206, LABELS[1000:2000])
        assert answer.headers["content-range"] == f"bytes 1000-1999/{len(LABELS)}"
        assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("suffix", ["gz", "br"])
def test_large_packed_objects_are_inflated_piece_by_piece(tmp_path: Path, suffix: str) -> None:
    data = np.arange(3_000_000, dtype=np.uint32).tobytes()
    if suffix == "br":
        packed = bytes(brotli_encode(data, level=1))
    else:  # several members, as parallel packers write them
        packed = gzip.compress(data[:5_000_000], 1) + gzip.compress(data[5_000_000:], 1)
    root = put(tmp_path / "large", {"info": TEXT, f"s/chunk.{suffix}": packed, f"s/cut.{suffix}": packed[:-100]})
    with precast.serve(root, OPTIONS) as server:
        whole = ask(server.port, "GET", "/large/s/chunk")
        assert whole.body == data
        assert ask(server.port, "HEAD", "/large/s/chunk").headers["content-length"] == str(len(data))
        part = ask(server.port, "GET", "/large/s/chunk", {"Range": "bytes=6000001-9000000"})
        assert (part.status, part.body) == (206, data[6000001:9000001])
        assert part.headers["content-range"] == f"bytes 6000001-9000000/{len(data)}"
        broken = ask(server.port, "GET", "/large/s/cut")
        assert (broken.status, broken.origins) == (500, "*")


def test_errors_can_be_read_from_other_origins_too(port: int) -> None:
    cases = [
        ("GET", "/labels/8_8_8/absent", {}, 404),
        ("HEAD", "/labels/8_8_8/absent", {}, 404),
        ("GET", "/other/info", {}, 404),
        ("POST", "/labels/info", {}, 405),
        ("DELETE", "/labels/info", {}, 405),
        ("GET", "/labels/8_8_8/0.shard", {"Range": "bytes=300000-"}, 416),
        ("GET", "/labels/info", {"Host": ""}, 400),
        ("GET", "/labels/info", {"Host": "evil.example"}, 421),
        ("GET", "/labels/info", {"If-Match": '"another"'}, 412),
        ("GET", "/labels/%zz", {}, 404),
    ]
    for method, path, headers, status in cases:
        answer = ask(port, method, path, headers)
        assert (answer.status, answer.origins) == (status, "*"), (method, path)
        assert answer.headers["access-control-expose-headers"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"].startswith("text/plain")
    assert ask(port, "PUT", "/labels/info").headers["allow"] == "GET, HEAD, OPTIONS"
    assert ask(port, "GET", "/labels/8_8_8/0.shard", {"Range": "bytes=300000-"}).headers["content-range"] == (
        "bytes */300000"
    )


@pytest.mark.parametrize("path", ["/labels/info", "/labels/absent", "*", "/"])
def test_preflights_are_answered(port: int, path: str) -> None:
    asked = {"Origin": "https://viewer.example", "Access-Control-Request-Headers": "range"}
    answer = ask(port, "OPTIONS", path, {**asked, "Access-Control-Request-Private-Network": "true"})
    assert (answer.status, answer.origins) == (204, "*")
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert "range" in answer.headers["access-control-allow-headers"].lower().split(", ")
    assert answer.headers["access-control-allow-private-network"] == "true"


def test_directories_are_neither_listed_nor_redirected(port: int) -> None:
    for path in ("/labels", "/labels/", "/labels/8_8_8", "/labels/8_8_8/", "/labels/info/", "/labels//info", "//"):
        for method in ("GET", "HEAD"):
            answer = ask(port, method, path)
            assert answer.status == 404, path
            assert "location" not in answer.headers


def test_queries_do_not_matter(port: int) -> None:
    assert ask(port, "GET", "/labels/info?generation=3&x=/../y").body == TEXT


def test_one_connection_serves_many_requests_in_order(port: int) -> None:
    with Connection(port) as connection:
        for at in range(50):
            connection.send("GET", "/labels/8_8_8/0.shard", {"Range": f"bytes={at * 10}-{at * 10 + 9}"})
        for at in range(50):
            assert connection.receive().body == LABELS[at * 10 : at * 10 + 10]
        assert connection.ask("GET", "/labels/absent").status == 404
        assert connection.ask("HEAD", "/labels/info").status == 200
        assert connection.ask("GET", "/labels/info").body == TEXT
        assert connection.ask("GET", "/labels/info", {"Connection": "close"}).body == TEXT
        assert connection.closed()


def test_nobody_is_told_that_an_object_is_the_same_when_it_is_not(tmp_path: Path) -> None:
    root = put(tmp_path / "labels", {"info": TEXT, "a": b"one"})
    with precast.serve(root, OPTIONS) as server:
        first = ask(server.port, "GET", "/labels/a").headers["etag"]
        assert ask(server.port, "GET", "/labels/a", {"If-None-Match": f'"x", W/{first}'}).status == 304
        assert ask(server.port, "HEAD", "/labels/a", {"If-None-Match": "*"}).status == 304
        # another file of the same length and time takes its place
        before = (root / "a").stat()
        (root / "b").write_bytes(b"two")
        os.utime(root / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
        (root / "b").replace(root / "a")
        answer = ask(server.port, "GET", "/labels/a", {"If-None-Match": first})
        assert (answer.status, answer.body) == (200, b"two")
        ranged = {"Range": "bytes=0-0", "If-Range": first}
        assert ask(server.port, "GET", "/labels/a", ranged).body == b"two"
        ranged["If-Range"] = answer.headers["etag"]
        assert ask(server.port, "GET", "/labels/a", ranged).body == b"t"


def test_a_dataset_is_not_shown_before_its_info_is_there(tmp_path: Path) -> None:
    meshes = b'{"@type": "neuroglancer_legacy_mesh"}'
    files = {"8_8_8/0.shard": b"half", "mesh/info": meshes, ".precast/x": b"work"}
    root = put(tmp_path / "labels", files)
    with precast.serve(root, OPTIONS) as server:
        assert [finding.code for finding in server.findings] == ["PH101"]
        assert not server.datasets[0].ready
        for name in files:
            answer = ask(server.port, "GET", f"/labels/{name}")
            assert (answer.status, answer.origins) == (404, "*")
        (root / "info").write_bytes(TEXT)
        assert ask(server.port, "GET", "/labels/8_8_8/0.shard").body == b"half"
        assert ask(server.port, "GET", "/labels/.precast/x").status == 404
        assert server.datasets[0].ready
        (root / "info").rename(root / "info.gz")
        assert ask(server.port, "GET", "/labels/8_8_8/0.shard").status == 200
        (root / "info.gz").rename(root / "info.br")
        assert server.datasets[0].ready
        assert ask(server.port, "GET", "/labels/8_8_8/0.shard").status == 200
        (root / "info.br").unlink()
        assert ask(server.port, "HEAD", "/labels/8_8_8/0.shard").status == 404


def test_a_collection_is_served_layer_by_layer(tmp_path: Path) -> None:
    listed = {"@type": "precast_collection", "schema": 1, "layers": []}
    listed["layers"] = [{"name": name, "kind": "image"} for name in ("em", "later")]
    out = put(
        tmp_path / "out",
        {
            "precast.json": json.dumps(listed).encode(),
            "em/info": b"em",
            "later/8_8_8/0.shard": b"half",
            "unlisted/info": b"unlisted",
            "note.txt": b"private",
        },
    )
    with precast.serve([out], OPTIONS) as server:
        assert [one.name for one in server.datasets] == ["out/em", "out/later"]
        answer = ask(server.port, "GET", "/out/precast.json")
        assert json.loads(answer.body) == listed
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-cache")
        assert ask(server.port, "GET", "/out/em/info").body == b"em"
        for path in ("later/8_8_8/0.shard", "unlisted/info", "note.txt", "em", "em/", "precast.json/"):
            assert ask(server.port, "GET", f"/out/{path}").status == 404, path
        (out / "later/info").write_bytes(b"later")
        assert ask(server.port, "GET", "/out/later/8_8_8/0.shard").body == b"half"


def test_several_places_have_names_of_their_own(tmp_path: Path) -> None:
    first = put(tmp_path / "a/labels", {"info": b"first"})
    second = put(tmp_path / "b/labels", {"info": b"second"})
    packed = gzip.compress(b'{"y": 1}')
    folder = put(tmp_path / "many", {"x/info": TEXT, "y y/info.gz": packed, "z/none": b"", "u/info": b"unreadable"})
    odd = put(tmp_path / "v", {"info": b"odd"})
    with precast.serve([first, second, first, folder, odd], OPTIONS) as server:
        assert [one.name for one in server.datasets] == ["labels", "labels-2", "many/x", "many/y y", "v-2"]
        bodies = []
        for one in server.datasets:
            path = one.url.removeprefix(server.url)
            assert " " not in path
            bodies.append(ask(server.port, "GET", f"/{path}/info").body)
        assert bodies == [b"first", b"second", TEXT, b'{"y": 1}', b"odd"]


def test_the_list_at_the_root(tmp_path: Path) -> None:
    put(tmp_path, {"<a>/info": b"", "b/note": b""})
    with precast.serve([tmp_path / "<a>", tmp_path / "b"], OPTIONS) as server:
        forwarded = {"Host": "localhost:9999"}
        answer = ask(server.port, "GET", "/", forwarded)
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body)["datasets"] == [
            {"name": "<a>", "url": "http://localhost:9999/%3Ca%3E", "ready": True},
            {"name": "b", "url": "http://localhost:9999/b", "ready": False},
        ]
        page = ask(server.port, "GET", "/", {**forwarded, "Accept": "text/html,*/*"})
        assert page.headers["content-type"].startswith("text/html")
        assert b"&lt;a&gt;" in page.body
        assert b"<a>" not in page.body
        assert ask(server.port, "HEAD", "/").body == b""
        assert ask(server.port, "POST", "/").status == 405
        assert ask(server.port, "GET", "/info").status == 404


def test_no_cache_is_heeded(dataset: Path) -> None:
    with precast.serve(dataset, precast.ServeOptions(port=0, no_cache=True)) as server:
        assert ask(server.port, "GET", "/labels/8_8_8/0.shard").headers["cache-control"] == "no-cache"


def test_paths_that_cannot_be_served(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "file": b"",
            ".precast/labels/out/info": b"",
            "bad/precast.json": json.dumps(
                {"@type": "precast_collection", "schema": 1, "layers": [{"name": "../x", "kind": "image"}]}
            ).encode(),
        },
    )
    put(tmp_path, {"worse/precast.json": b'{"layers": 5}'})
    for path, error in [
        ("absent", ObjectNotFoundError),
        ("file", UsageError),
        (".precast/labels/out", UsageError),
        ("bad", FormatError),
        ("worse", FormatError),
    ]:
        with pytest.raises(error, match=path):
            precast.serve(tmp_path / path, OPTIONS)
    with pytest.raises(UsageError, match="address"):
        precast.serve("https://data.example/labels", OPTIONS)
    with pytest.raises(UsageError, match="nothing"):
        precast.serve([], OPTIONS)


def test_a_port_that_is_taken_is_told(dataset: Path) -> None:
    with (
        precast.serve(dataset, OPTIONS) as server,
        pytest.raises(StorageError, match=f"port {server.port} .*in use") as caught,
    ):
        precast.serve(dataset, precast.ServeOptions(port=server.port))
    assert "--port 0" in caught.value.hint
    # and is free again at once when the server is closed, although a client is still connected
    with precast.serve(dataset, OPTIONS) as server:
        connection = Connection(server.port)
        assert connection.ask("GET", "/labels/info").status == 200
    with precast.serve(dataset, precast.ServeOptions(port=server.port)) as again:
        assert again.port == server.port
    assert connection.closed()
    connection.socket.close()
    server.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"port": 65536}, "--port"),
        ({"port": -1}, "--port"),
        ({"port": "9000"}, "--port"),
        ({"allow_host": "http://x"}, "--allow-host"),
        ({"allow_host": "*"}, "--allow-host"),
        ({"allow_host": "a b"}, "--allow-host"),
        ({"allow_host": "me@x"}, "--allow-host"),
    ],
)
def test_options_are_checked(options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        precast.ServeOptions(**options)  # type: ignore[arg-type]


def test_the_example_runs() -> None:
    import doctest

    import precast.hosting.server

    result = doctest.testmod(precast.hosting.server)
    assert (result.failed, result.attempted > 0) == (0, True)


def test_an_address_of_another_machine_cannot_be_bound(dataset: Path) -> None:
    with pytest.raises(StorageError, match=r"192\.0\.2\.1"):
        precast.serve(dataset, precast.ServeOptions(port=0, host="192.0.2.1"))
    with pytest.raises(UsageError, match=r"no\.such\.name\.invalid"):
        precast.serve(dataset, precast.ServeOptions(port=0, host="no.such.name.invalid"))


def test_a_converted_volume_is_read_back_through_the_server(tmp_path: Path) -> None:
    cloudvolume = pytest.importorskip("cloudvolume")
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 9, (40, 50, 60), np.uint32)
    for name in ("sharded", "unsharded"):
        options = precast.ConvertOptions(resolution="8", scales=1, kind="segmentation", unsharded=name == "unsharded")
        precast.convert(labels, tmp_path / name, options)
        with precast.serve(tmp_path / name, OPTIONS) as server:
            volume = cloudvolume.CloudVolume(server.datasets[0].url, progress=False, fill_missing=False)
            assert np.array_equal(np.asarray(volume[:])[..., 0].T, labels)
