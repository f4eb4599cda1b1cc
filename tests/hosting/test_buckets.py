"""The printed scripts, run by a shell with stand-ins for the command line clients: what arrives, and as what."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precast
from precast.hosting.configurations import HostingOptions, configure_hosting
from precast.precomputed.collection import Collection, CollectionLayer
from precast.precomputed.objects import EXPOSED_HEADERS, ObjectKind
from precast.storage import LocalStore

CLIENT = '''#!{python}
"""Writes down what it is told, and takes in files as the manuals of both clients say."""

import fnmatch, json, os, pathlib, re, shutil, sys

home = pathlib.Path(os.environ["STAND_IN"])
words = sys.argv[1:]
log = home / "log"
calls = log.read_text().splitlines() if log.exists() else []
settings = [json.loads(call)["words"] for call in calls]


def value(flag):
    for at, word in enumerate(words):
        if word == flag:
            return words[at + 1]
        if word.startswith(flag + "="):
            return word.partition("=")[2]
    return None


def note(**more):
    with log.open("a") as file:
        file.write(json.dumps({{"words": words, **more}}) + "\\n")


if words[0] == "s3api" and words[1].startswith("get-bucket-"):
    put = words[1].replace("get", "put")
    sys.exit(0 if any(put in call for call in settings) else 254)
if words[:3] == ["storage", "managed-folders", "describe"]:
    sys.exit(0 if any("managed-folders" in call and "create" in call for call in settings) else 1)
copies = words[:2] == ["s3", "cp"] or words[:2] == ["storage", "rsync"]
if not copies:
    documents = [word.partition("file://")[2] or word.partition("--cors-file=")[2] for word in words]
    texts = [pathlib.Path(name).read_text() for name in documents if name]
    note(documents=[json.loads(text) for text in texts])
    sys.exit(0)

aws = words[0] == "s3"
assert "--recursive" in words
source, target = [word for word in words[2:] if word.startswith("/") or "://" in word][:2]
prefix = target.partition("://")[2].strip("/")
for folder, _, names in sorted(os.walk(source)):
    for name in sorted(names):
        path = pathlib.Path(folder) / name
        key = path.relative_to(source).as_posix()
        if aws:
            taken = True
            for flag, pattern in zip(words, words[1:]):
                if flag in ("--exclude", "--include") and fnmatch.fnmatchcase(key, pattern):
                    taken = flag == "--include"
        else:
            (given,) = [word.partition("=")[2] for word in words if word.startswith("--exclude=")]
            taken = not any(re.match(pattern, key) for pattern in given.split(","))
            taken = taken and ("--no-ignore-symlinks" in words or not path.is_symlink())
        if taken:
            kept = home / "objects" / prefix / key
            kept.parent.mkdir(parents=True, exist_ok=True)
            assert not kept.exists(), f"{{key}} is copied twice"
            shutil.copyfile(path, kept)
            note(
                key=f"{{prefix}}/{{key}}",
                headers={{
                    "type": value("--content-type"),
                    "encoding": value("--content-encoding"),
                    "cache": value("--cache-control"),
                }},
            )
'''


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection with every sort of file, in a directory whose name needs quotes."""
    out = tmp_path_factory.mktemp("our data") / "mouse"
    labels = np.zeros((40, 40, 40), np.uint32)
    labels[5:30, 5:30, 5:35] = 7
    for name, unsharded in (("cells", True), ("shards", False)):
        options = precast.ConvertOptions(resolution=8, kind="segmentation", unsharded=unsharded)
        precast.convert(labels, out / name, options)
    precast.mesh(out / "cells", precast.MeshOptions(unsharded=True))
    precast.mesh(out / "shards", precast.MeshOptions(format="legacy"))
    properties = out / "cells" / "segment_properties" / "info"
    (properties.parent / "info.gz").write_bytes(gzip.compress(properties.read_bytes()))
    properties.unlink()
    layers = tuple(CollectionLayer(name=name, kind="segmentation") for name in ("cells", "shards"))
    (out / "precast.json").write_bytes(Collection(layers=layers).to_bytes())
    for hidden in (".precast/info", "cells/.x.part", ".y.gz"):
        (out / hidden).parent.mkdir(exist_ok=True)
        (out / hidden).write_bytes(b"{}")
    return out


KINDS = {
    "precast.json": ObjectKind.COLLECTION,
    "cells/info": ObjectKind.INFO,
    "cells/provenance": ObjectKind.PROVENANCE,
    "cells/label_table.npy": ObjectKind.LABEL_TABLE,
    "cells/8_8_8/0-40_0-40_0-40": ObjectKind.CHUNK,
    "cells/mesh/info": ObjectKind.MESH_INFO,
    "cells/mesh/7": ObjectKind.MESH_FRAGMENTS,
    "cells/mesh/7.index": ObjectKind.MESH_MANIFEST,
    "cells/segment_properties/info": ObjectKind.SEGMENT_PROPERTIES,
    "shards/info": ObjectKind.INFO,
    "shards/provenance": ObjectKind.PROVENANCE,
    "shards/label_table.npy": ObjectKind.LABEL_TABLE,
    "shards/8_8_8/0.shard": ObjectKind.SHARD,
    "shards/mesh/info": ObjectKind.MESH_INFO,
    "shards/mesh/7:0": ObjectKind.LEGACY_MANIFEST,
    "shards/mesh/7.part0": ObjectKind.LEGACY_FRAGMENT,
    "shards/segment_properties/info": ObjectKind.SEGMENT_PROPERTIES,
}


def run(script: str, tmp_path: Path) -> list[dict[str, Any]]:
    """Run a script and return what the stand-ins wrote down."""
    tools, home = tmp_path / "bin", tmp_path / "cloud"
    for folder in (tools, home):
        folder.mkdir(exist_ok=True)
    for name in ("aws", "gcloud"):
        (tools / name).write_text(CLIENT.format(python=sys.executable))
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "STAND_IN": str(home)}
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (home / "log").read_text().splitlines()]


@pytest.mark.parametrize("server", ["s3", "gcs"])
def test_every_object_arrives_as_what_it_is(server: str, collection: Path, tmp_path: Path) -> None:
    made = configure_hosting(server, collection, HostingOptions(bucket="my-lab/data"))
    calls = [call for call in run(made.text, tmp_path) if "key" in call]
    store = LocalStore(collection)
    assert {stat.key for stat in store.list()} == set(KINDS)
    assert {call["key"] for call in calls} == {f"my-lab/data/mouse/{key}" for key in KINDS}
    for call in calls:
        key = call["key"].removeprefix("my-lab/data/mouse/")
        rule, stat = KINDS[key].rule, store.stat(key)
        encoding = stat.encoding or None
        assert call["headers"] == {"type": rule.content_type, "encoding": encoding, "cache": rule.cache_control()}, key
        assert rule.whole or encoding is None
        data = (tmp_path / "cloud" / "objects" / call["key"]).read_bytes()
        assert (gzip.decompress(data) if stat.encoding else data) == store.read(key)
    assert any(store.stat(key).encoding == "gzip" for key in KINDS)
    # nothing is visible before all of it is there
    order = [call["key"].rpartition("/")[2] for call in calls]
    last = [name in ("info", "precast.json") for name in order]
    assert last == sorted(last)


def test_what_s3_is_told(collection: Path, tmp_path: Path) -> None:
    made = configure_hosting("s3", collection / "shards", HostingOptions(bucket="my-lab/a"))
    assert made.url == "https://my-lab.s3.amazonaws.com/a/shards"
    assert configure_hosting("s3", collection, HostingOptions(bucket="my.lab")).url == (
        "https://s3.amazonaws.com/my.lab/mouse"
    )
    assert ".gz" not in made.text.replace("'*.gz'", ""), "nothing is packed there"
    documents = {call["words"][1]: call["documents"] for call in run(made.text, tmp_path) if "documents" in call}
    (cors,) = documents["put-bucket-cors"]
    (rule,) = cors["CORSRules"]
    assert rule["AllowedOrigins"] == ["*"]
    assert rule["AllowedMethods"] == ["GET", "HEAD"]
    assert rule["ExposeHeaders"] == list(EXPOSED_HEADERS)
    (policy,) = documents["put-bucket-policy"]
    (statement,) = policy["Statement"]
    assert statement["Resource"] == "arn:aws:s3:::my-lab/a/shards/*"
    assert (statement["Effect"], statement["Action"], statement["Principal"]) == ("Allow", "s3:GetObject", "*")
    # settings that are there stay
    before = len(documents)
    (tmp_path / "cloud" / "objects").rename(tmp_path / "cloud" / "first")
    again = [call for call in run(made.text, tmp_path) if "documents" in call]
    assert len(again) == before + 1
    assert again[-1]["words"][1] == "put-public-access-block"


def test_what_gcs_is_told(collection: Path, tmp_path: Path) -> None:
    made = configure_hosting("gcs", collection, HostingOptions(bucket="my-lab/a/b"))
    assert made.url == "https://storage.googleapis.com/my-lab/a/b/mouse"
    calls = [call for call in run(made.text, tmp_path) if "documents" in call]
    (cors,) = next(call["documents"] for call in calls if call["documents"])
    assert cors[0]["origin"] == ["*"]
    assert set(EXPOSED_HEADERS) <= set(cors[0]["responseHeader"])
    words = [" ".join(call["words"]) for call in calls]
    assert any("managed-folders create gs://my-lab/a/b/mouse/" in line for line in words)
    public = [line for line in words if "allUsers" in line]
    assert public == [
        "storage managed-folders add-iam-policy-binding gs://my-lab/a/b/mouse/ "
        "--member=allUsers --role=roles/storage.objectViewer"
    ]
