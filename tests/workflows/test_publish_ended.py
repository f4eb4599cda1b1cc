"""``publish``: whole at every moment, whatever ends it; going back, and removing."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from precast.errors import (
    StorageError,
    UsageError,
)
from precast.storage import LocalStore, MemoryStore
from precast.workflows.publish import (
    plan_removal,
    publish,
    remove_former_generations,
    roll_back,
)
from published_data import ONE, make_versions
from watched_store import Killed, Watched, kinds, side, view


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_versions(tmp_path_factory.mktemp("made"))


# ---- what ends in the middle


def steps(start: Watched, source: Path) -> int:
    store = start.again()
    publish(source, store, ONE)
    return len(store.operations)


@pytest.mark.parametrize(("before", "after"), [(None, "a"), ("a", "b"), ("a", "c"), ("b", "a")])
def test_killed_at_every_operation(made: dict[str, Path], before: str | None, after: str) -> None:
    start = Watched()
    if before:
        publish(made[before], start)
    start = start.again()
    old, new = (view(LocalStore(made[before])) if before else None), view(LocalStore(made[after]))
    sides = {
        name: [side(LocalStore(made[one]), name) if one else None for one in (before, after)]
        for name in ("provenance", "label_table.npy")
    }
    count = steps(start, made[after])
    assert count > 5
    for number, late in itertools.product(range(count), (False, True)):
        store = start.again()

        def read(store: Watched = store) -> None:
            seen = view(store)
            assert seen in (old, new), f"a mixture after {store.operations[-1]}"
            for name, (was, will) in sides.items():
                expected = [was] if seen == old else []
                expected += [will] if seen == new else []
                assert side(store, name) in (None, *expected), f"another {name} after {store.operations[-1]}"

        store.reader, store.end_at, store.after = read, number, late
        with pytest.raises(Killed):
            publish(made[after], store, ONE)
        store.end_at = None
        publish(made[after], store, ONE)
        assert view(store) == new
        assert [side(store, name) for name in sides] == [will for _, will in sides.values()]
        settled = len(store.operations)
        publish(made[after], store, ONE)
        assert len(store.operations) == settled


def test_killed_and_something_else_published_then(made: dict[str, Path]) -> None:
    views = {name: view(LocalStore(path)) for name, path in made.items()}
    for before in (None, "b"):
        start = Watched()
        if before:
            publish(made[before], start)
        start = start.again()
        for number in range(steps(start, made["a"])):
            store = start.again()
            store.end_at, store.after = number, True
            with pytest.raises(Killed):
                publish(made["a"], store, ONE)
            store.end_at = None

            def read(store: Watched = store, before: str | None = before) -> None:
                assert view(store) in (views[before] if before else None, views["a"], views["c"])

            store.reader = read
            publish(made["c"], store, ONE)
            assert view(store) == views["c"]
            remove_former_generations(store, ONE)
            assert view(store) == views["c"]
            # nothing that belongs to nothing is left, but what publications write about themselves
            named = set(view(store) or ())
            left = [key for key, _ in kinds(store) if not key.startswith(".")]
            assert len(left) == len(named) + 2  # provenance and label table


def test_processes_killed_at_random_moments(made: dict[str, Path], tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from precast.storage import LocalStore\n"
        "from precast.workflows.publish import publish\n"
        "left = int(sys.argv[3])\n"
        "for name in ('write', 'write_file', 'delete'):\n"
        "    def end(self, *a, real=getattr(LocalStore, name)):\n"
        "        global left\n"
        "        left -= 1\n"
        "        if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return real(self, *a)\n"
        "    setattr(LocalStore, name, end)\n"
        "publish(sys.argv[1], sys.argv[2])\n"
    )
    target = tmp_path / "www"
    publish(made["a"], target)
    old, new = view(LocalStore(target)), view(LocalStore(made["b"]))
    kills, seeded = 0, random.Random(7)
    for _ in range(3):
        moment = str(seeded.randint(2, 12))
        ended = subprocess.run([sys.executable, "-c", program, made["b"], target, moment], check=False)
        kills += ended.returncode == -signal.SIGKILL
        assert view(LocalStore(target)) in (old, new)
    assert kills > 1
    publish(made["b"], target)
    assert view(LocalStore(target)) == new
    assert not list((target / ".published").glob(".parts-*"))


def test_what_was_sent_before_an_end_is_not_sent_again(made: dict[str, Path]) -> None:
    store = Watched()
    store.end_at, store.after = steps(Watched(), made["b"]) // 2, True
    with pytest.raises(Killed):
        publish(made["b"], store, ONE)
    sent = {key for _, key in store.operations if not key.startswith(".")}
    assert sent
    store.end_at = None
    begun = len(store.operations)
    publish(made["b"], store, ONE)
    assert sent.isdisjoint(key for _, key in store.operations[begun:])


# ---- going back, and removing


def test_going_back_and_forward(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    publish(made["b"], store)
    first, second = (view(LocalStore(made[name])) for name in "ab")
    assert roll_back(store).datasets[0].name == ""
    assert view(store) == first
    assert side(store, "provenance") == (made["a"] / "provenance").read_bytes()
    assert side(store, "label_table.npy") == (made["a"] / "label_table.npy").read_bytes()
    assert store.read("info") == (made["a"] / "info").read_bytes()
    roll_back(store)
    assert view(store) == second
    roll_back(store)
    # publishing it again sends nothing, because it is still there
    assert publish(made["b"], store).datasets[0].sent_objects == 0
    assert view(store) == second


def test_going_back_killed_at_every_operation(made: dict[str, Path]) -> None:
    start = Watched()
    publish(made["a"], start)
    publish(made["b"], start)
    views = [view(LocalStore(made[name])) for name in "ab"]
    start = start.again()
    trial = start.again()
    roll_back(trial)
    for number in range(len(trial.operations)):
        store = start.again()
        store.reader = lambda store=store: None if view(store) in views else pytest.fail("a mixture")  # type: ignore[misc]
        store.end_at, store.after = number, True
        with pytest.raises(Killed):
            roll_back(store)
        store.end_at = None
        publish(made["a"], store)
        assert view(store) == views[0]
        assert side(store, "provenance") == (made["a"] / "provenance").read_bytes()


def test_nothing_to_go_back_to(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    with pytest.raises(UsageError, match="no former generation"):
        roll_back(store)
    publish(made["b"], store)
    remove_former_generations(store)
    with pytest.raises(UsageError, match="no former generation"):
        roll_back(store)


def test_going_back_is_refused_where_something_is_missing(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    publish(made["b"], store)
    second = view(store)
    MemoryStore.delete(store, next(key for key, _ in kinds(store) if key.endswith(".shard")))
    with pytest.raises(StorageError, match="not all there"):
        roll_back(store)
    assert view(store) == second


def test_removing_former_generations(made: dict[str, Path]) -> None:
    store = Watched()
    publish(made["a"], store)
    assert plan_removal(store) == ()
    publish(made["b"], store)
    plan = plan_removal(store)
    assert plan == remove_former_generations(store)
    assert plan[0].objects == len([key for key in view(LocalStore(made["a"])) or {} if key != "info"])
    assert view(store) == view(LocalStore(made["b"]))
    assert not any(key.endswith(".shard") for key, _ in kinds(store))
    assert plan_removal(store) == ()


def test_removing_killed_at_every_operation(made: dict[str, Path]) -> None:
    start = Watched()
    publish(made["a"], start)
    publish(made["c"], start)
    start = start.again()
    trial = start.again()
    remove_former_generations(trial)
    expected = trial.contents()
    for number, late in itertools.product(range(len(trial.operations)), (False, True)):
        store = start.again()
        store.end_at, store.after = number, late
        with pytest.raises(Killed):
            remove_former_generations(store, ONE)
        store.end_at = None
        assert view(store) == view(LocalStore(made["c"]))
        if number % 2:
            remove_former_generations(store)
        else:
            publish(made["c"], store)
            remove_former_generations(store)
        assert store.contents() == expected
