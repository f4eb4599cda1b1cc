"""``publish --public`` on servers: who can read then, who cannot, and what of others stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

import precast
from buckets import forget_credentials
from command_line import Run
from precast.errors import AccessDeniedError
from precast.storage import CloudStore, StoreOptions, s3_api
from precast.workflows.publish import public
from s3_server import Keys, S3Server
from scripted_server import scripted

PAGE = "https://viewer.example.org"
THEIR_RULE = {"AllowedOrigins": ["https://lab.example.org"], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels in shards and an image in single chunks."""
    root = tmp_path_factory.mktemp("datasets") / "out"
    labels = np.zeros((24, 24, 24), np.uint32)
    labels[3:20, 3:20, 3:20] = 7
    precast.convert(labels, root / "labels", precast.ConvertOptions(resolution=8, kind="segmentation"))
    image = np.random.default_rng(0).integers(1, 255, (24, 24, 24)).astype(np.uint8)
    options = precast.ConvertOptions(resolution=8, kind="image", unsharded=True, chunk_size="16")
    precast.convert(image, root / "em", options)
    return root


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setattr(public, "PAUSES_S", ())


Use = Callable[..., None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Put a server and somebody's keys into the environment."""

    def one(server: S3Server, keys: Keys | None = None) -> None:
        keys = keys or server.keys
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
        monkeypatch.setenv("AWS_REGION", server.region)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)

    return one


def client(server: S3Server) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
    )


def test_everybody_reads_below_the_prefix_and_nothing_else(
    s3: S3Server, bucket: str, datasets: Path, use: Use, run: Run
) -> None:
    use(s3)
    s3.put(bucket, "secret", b"x")
    s3.put(bucket, "p/labels-2/info", b"x")
    done = run("publish", datasets / "labels", f"s3://{bucket}/p/labels", "--public", "--yes")
    assert done.code == 0, done.err
    for key in ("info", "provenance"):
        answer = s3.anonymously("GET", f"/{bucket}/p/labels/{key}", {"Origin": PAGE})
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] in ("*", PAGE)
        assert "content-range" in answer.headers["access-control-expose-headers"].lower()
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    answer = s3.anonymously("OPTIONS", f"/{bucket}/p/labels/info", asked)
    assert answer.status in (200, 204)
    assert "range" in answer.headers["access-control-allow-headers"].lower()
    for target in ("/secret", "/p/labels-2/info", "?list-type=2", "/p/labels?list-type=2", "?policy"):
        assert s3.anonymously("GET", f"/{bucket}{target}").status == 403, target
    assert s3.anonymously("PUT", f"/{bucket}/p/labels/new", body=b"x").status == 403
    # the link leads to where the data are
    assert done.out.startswith("https://neuroglancer-demo.appspot.com/#!")
    assert f"{s3.endpoint}/{bucket}/p/labels/" in done.out
    assert s3.secret_key not in done.out + done.err

    # again: nothing is changed
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("set_cors", "set_policy"):
            patch.setattr(s3_api.S3Bucket, name, lambda *_, name=name: calls.append(name))
        done = run("publish", datasets / "labels", f"s3://{bucket}/p/labels", "--public", "--yes", "--json")
    assert done.code == 0
    assert not calls
    result = json.loads(done.out)["result"]
    assert result["public"]["changes"] == []
    assert result["url"] == f"{s3.endpoint}/{bucket}/p/labels"
    # and what is public already is looked at without --public
    assert run("publish", datasets / "labels", f"s3://{bucket}/p/labels").out.startswith("https://neuro")


def test_what_others_have_set_stays(s3: S3Server, bucket: str, datasets: Path, use: Use, run: Run) -> None:
    use(s3)
    user = s3.new_user()
    theirs = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": {"AWS": [user.access_key]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/private/*"],
    }
    s3.allow(bucket, theirs)
    client(s3).put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [THEIR_RULE]})
    s3.put(bucket, "private/x", b"x")
    planned = run("publish", datasets, f"s3://{bucket}/p", "--public", "--dry-run")
    assert planned.code == 0
    assert '+      "Resource": "arn:aws:s3:::' in planned.err
    assert s3.anonymously("GET", f"/{bucket}/p/labels/info").status == 403
    done = run("publish", datasets, f"s3://{bucket}/p", "--public", "--yes")
    assert done.code == 0, done.err
    policy = json.loads(client(s3).get_bucket_policy(Bucket=bucket)["Policy"])
    assert policy["Statement"][0] == theirs
    assert len(policy["Statement"]) == 2
    rules = client(s3).get_bucket_cors(Bucket=bucket)["CORSRules"]
    assert rules[0] == THEIR_RULE
    assert len(rules) == 2
    assert s3.ask("GET", f"/{bucket}/private/x", keys=user).status == 200
    assert s3.anonymously("GET", f"/{bucket}/private/x").status == 403
    # a collection without a list: every dataset is checked and linked
    for name in ("labels", "em"):
        assert f"/p/{name}/" in done.out
    assert run("check", f"{s3.endpoint}/{bucket}/p/em").code == 0


def test_who_may_not_change_the_policy_is_told_which_permission(
    s3: S3Server, bucket: str, datasets: Path, use: Use, run: Run
) -> None:
    user = s3.new_user()
    actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket", "s3:GetBucketPolicy"]
    actions += ["s3:GetBucketCORS", "s3:PutBucketCORS"]
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]

    def allow(*names: str) -> None:
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": [user.access_key]}, "Action": [name], "Resource": [resource]}
            for name in names
            for resource in resources
            if resource.endswith("/*") == name.endswith("Object")
        ]
        s3.allow(bucket, *statements)

    use(s3, user)
    allow(*actions)
    done = run("publish", datasets / "labels", f"s3://{bucket}/p", "--public", "--yes")
    assert done.code == 3
    assert "the data are at" in done.err
    assert "s3:PutBucketPolicy" in done.err
    assert s3.ask("GET", f"/{bucket}/p/info").status == 200
    assert s3.anonymously("GET", f"/{bucket}/p/info").status == 403
    # half of it is done; with the permission the same command does the rest
    allow(*actions, "s3:PutBucketPolicy")
    done = run("publish", datasets / "labels", f"s3://{bucket}/p", "--public", "--yes")
    assert done.code == 0, done.err
    assert "CORS of the bucket" not in done.err
    # what cannot be read is refused before anything is sent
    allow(*(name for name in actions if name != "s3:GetBucketCORS"))
    done = run("publish", datasets / "em", f"s3://{bucket}/q", "--public", "--yes")
    assert done.code == 3
    assert "s3:GetBucketCORS" in done.err
    assert s3.ask("GET", f"/{bucket}/q/info").status == 404
    for text in (user.secret_key, s3.secret_key):
        assert text not in done.err


def test_a_public_access_block_is_reported_and_kept(mock_s3: S3Server, datasets: Path, use: Use, run: Run) -> None:
    use(mock_s3)
    name = mock_s3.new_bucket()
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": False, "BlockPublicPolicy": True}
    block |= {"RestrictPublicBuckets": False}
    client(mock_s3).put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
    done = run("publish", datasets / "labels", f"s3://{name}/p", "--public", "--yes")
    assert done.code == 3
    assert "Block Public Access of the bucket is on (BlockPublicPolicy)" in done.err
    lift = f"aws s3api put-public-access-block --bucket {name} --public-access-block-configuration "
    lift += "BlockPublicAcls=true,IgnorePublicAcls=false,BlockPublicPolicy=false,RestrictPublicBuckets=false"
    assert lift in done.err
    assert client(mock_s3).get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"] == block
    assert client(mock_s3).get_object(Bucket=name, Key="p/info")["Body"].read()
    assert mock_s3.ask("GET", f"/{name}?policy").status == 404


class Terminal:
    def isatty(self) -> bool:
        return True


def test_asked_first(
    s3: S3Server,
    bucket: str,
    datasets: Path,
    use: Use,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(s3)
    done = run("publish", datasets / "labels", f"s3://{bucket}/p", "--public")
    assert done.code == 2
    assert "--public asks before it changes the bucket, and nobody can answer" in done.err
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    done = run("publish", datasets / "labels", f"s3://{bucket}/p", "--public")
    assert done.code == 0
    assert "PrecastPublicRead" in done.err
    assert "nothing is sent and nothing is changed" in done.err
    assert s3.ask("GET", f"/{bucket}/p/info").status == 404
    assert s3.ask("GET", f"/{bucket}?policy").status == 404
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    assert run("publish", datasets / "labels", f"s3://{bucket}/p", "--public").code == 0
    assert s3.anonymously("GET", f"/{bucket}/p/info").status == 200


def test_an_endpoint_on_the_command_line_for_every_step(
    s3: S3Server,
    bucket: str,
    datasets: Path,
    use: Use,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(s3)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    url, there = f"s3://{bucket}/p", ("--endpoint", s3.endpoint)
    assert run("publish", datasets / "labels", url, *there).out == "", "nobody else can read it: no link"
    assert run("publish", datasets / "labels", url, *there, "--overwrite", "--delete", "--yes").code == 0
    done = run("publish", "--rollback", url, *there)
    assert done.code == 2
    assert "no former generation" in done.err
    store = precast.open_store(url, precast.StoreOptions(endpoint=s3.endpoint))
    assert precast.publish(datasets / "labels", store).datasets[0].state == "unchanged"


# ---- servers that do not have it


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed"), (200, "")])
def test_servers_without_such_settings(status: int, code: str, use: Use) -> None:
    """The last one does not look at the query, and lists the bucket."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>" if code else "<ListBucketResult/>"
    with scripted() as server:
        server.answers[None] = (status, {"Content-Type": "application/xml"}, body.encode())
        use(S3Server(0, Keys("owner", "secret")), None)
        plan = public.plan_public(CloudStore("s3://lab/p", StoreOptions(endpoint=server.url)))
    assert plan.changes == ()
    assert not plan.blocked
    assert ["CORS" in note or "policy" in note for note in plan.notes] == [True, True]


def test_a_directory_is_no_bucket(run: Run, datasets: Path) -> None:
    done = run("publish", datasets / "labels", datasets.parent / "www", "--public", "--yes")
    assert done.code == 2
    assert "--public is for buckets" in done.err


@pytest.mark.parametrize(
    ("url", "region", "expected"),
    [
        ("s3://lab/p q", "eu-west-1", "https://lab.s3.eu-west-1.amazonaws.com/p%20q"),
        ("s3://my.lab/p", "us-east-1", "https://s3.us-east-1.amazonaws.com/my.lab/p"),
        ("s3://lab", "cn-north-1", "https://lab.s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_addresses_for_everybody(url: str, region: str, expected: str) -> None:
    assert CloudStore(url, StoreOptions(region=region, anonymous=True)).public_url() == expected


def test_refused_because_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Amazon answers when the account blocks public policies."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    text = "User is not authorized because public policies are prevented by the BlockPublicPolicy setting"
    body = f"<Error><Code>AccessDenied</Code><Message>{text} in S3 Block Public Access.</Message></Error>".encode()
    with scripted() as server:
        server.answers[None] = (403, {"Content-Type": "application/xml"}, body)
        store = CloudStore("s3://lab/p", StoreOptions(endpoint=server.url, region="us-east-1"))
        with pytest.raises(AccessDeniedError) as caught:
            s3_api.S3Bucket(store).set_policy({"Statement": []})
    assert "of the account" in caught.value.hint


def test_asked_again_after_a_change(
    s3: S3Server, bucket: str, datasets: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores go by old settings for a while; the change is made here during the second pause."""
    use(s3)
    store = precast.open_store(f"s3://{bucket}/p")
    precast.publish(datasets / "labels", store)
    plan = public.plan_public(store)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            assert public.make_public(store, plan)

    monkeypatch.setattr(public, "PAUSES_S", (1.0, 2.0, 4.0))
    monkeypatch.setattr("time.sleep", pause)
    viewed = public.look(store, wait=True)
    assert pauses == [1.0, 2.0]
    assert viewed is not None
    assert viewed.ok
    assert viewed.link is not None
