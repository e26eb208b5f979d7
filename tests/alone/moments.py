"""Killed before every single change of a file: no moment leaves what the same call cannot make good, or litter.

Changes are counted by Python's audit events; nothing is computed in this process, so that children of it never wait for a thread of it.
"""

import os
import shutil
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import preload  # noqa: F401  (here once, not in every child)
import pytest

from ecgsynth.archive import cut_archive_steps
from ecgsynth.build import build_steps
from ecgsynth.cutting import Window, extract_beats
from ecgsynth.engine import Local
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.generators import GENERATORS
from ecgsynth.metrics.bootstrap import Interval
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.records import find_records, write_record
from ecgsynth.review import Judged, Review, add_to_card
from ecgsynth.simulate import simulate_records
from ecgsynth.source import Source
from ecgsynth.steps import drain
from ecgsynth.stored import StoredBeats
from ecgsynth.verify import verify_steps

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import kill

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def in_child(call, log, *, changes=None):
    """Call something in a process of its own, killed before the change that follows so many; gives its exit code."""

    def counted():
        left = changes

        def seen(event, arguments):
            nonlocal left
            if event in CHANGES or (event == "open" and arguments[2] & TO_WRITE):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = lambda handle: None  # which is for a loss of power, and takes its time
        if changes is not None:
            sys.addaudithook(seen)
        call()

    return kill.wait(kill.start(counted, log))


def tree(folder):
    """Give all that is in a folder, hidden and empty folders, too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def kill_everywhere(call, again, before, tmp_path, whole=lambda folder: None):
    """Kill `call` before each change of a file that it makes to what is `before`; `again` must then come to what `call` comes to.

    Both are given the folder; `whole` must raise where something half-made stands under a final name. Gives how often it was killed.
    """
    shutil.copytree(before, tmp_path / "undisturbed")
    assert in_child(partial(call, tmp_path / "undisturbed"), tmp_path / "log") == 0, (tmp_path / "log").read_text()
    wanted, killed = tree(tmp_path / "undisturbed"), 0
    while True:
        folder = tmp_path / f"killed-{killed}"
        shutil.copytree(before, folder)
        if in_child(partial(call, folder), tmp_path / "log", changes=killed) != -signal.SIGKILL:
            assert tree(folder) == wanted
            return killed
        killed += 1
        whole(folder)
        assert in_child(partial(again, folder), tmp_path / "log") == 0, (killed, sorted(tree(folder)), (tmp_path / "log").read_text())
        assert tree(folder) == wanted, (killed, sorted(tree(folder)))
        shutil.rmtree(folder)


def simulate(seed, folder):
    for record in simulate_records(n_patients=2, minutes=0.5, seed=seed):
        write_record(record, folder)


@pytest.fixture
def before(tmp_path):
    (tmp_path / "before").mkdir()
    return tmp_path / "before"


def cut(records, window, force, folder):
    drain(cut_archive_steps(find_records(records), folder / "beats", window=window, per_part=1, engine=Local(1), force=force))


def beats_are_whole(folder):
    """Beats that are said to be whole can all be read."""
    if (folder / "beats" / "beats.json").is_file():
        StoredBeats.open(folder / "beats").load()


@pytest.mark.parametrize("there", [None, Window(), Window(band=None)], ids=["new", "of other records", "cut otherwise"])
def test_beats_into_a_folder(there, before, tmp_path):
    records = tmp_path / "records"
    if there:  # of records that have changed by now, but not their names
        assert in_child(partial(simulate, 1, records), tmp_path / "log") == 0
        assert in_child(partial(cut, records, there, False, before), tmp_path / "log") == 0
    assert in_child(partial(simulate, 0, records), tmp_path / "log") == 0
    call = partial(cut, records, Window(), there is not None)
    assert kill_everywhere(call, call, before, tmp_path, beats_are_whole) > 15


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"

    def learn():
        GENERATORS["gaussian"]().fit(extract_beats(simulate_records(n_patients=2, minutes=1, seed=0), source="simulated")).save(path)

    assert in_child(learn, path.parent / "log") == 0
    return str(path)


def make(model, seed, folder, *, force=False, till=1.0):
    """Build a dataset, or stop when so much of it is done."""
    recipe = Recipe(model, [Quota("N", 20), Quota("V", 10)], seed=seed, formats=["npz"], gate="none")
    for step in build_steps(Source.of(recipe), folder / "set", force=force):
        if step.share >= till:
            return


def dataset_is_whole(folder):
    if (folder / "set").exists():
        assert drain(verify_steps(folder / "set", beats=0)).problems == []


@pytest.mark.parametrize("begun", [False, True], ids=["new", "where another was begun"])
def test_a_dataset(begun, model, before, tmp_path):
    if begun:
        assert in_child(partial(make, model, 1, before, till=0.9), tmp_path / "log") == 0
    call = partial(make, model, 0, force=begun)
    assert kill_everywhere(call, call, before, tmp_path, dataset_is_whole) > 30


@pytest.mark.parametrize("seed", [0, 1], ids=["the same", "another"])
def test_a_dataset_in_the_place_of_one(seed, model, before, tmp_path):
    """Its shards are made by now: what is left to do is what changes hands."""
    assert in_child(partial(make, model, seed, before), tmp_path / "log") == 0
    assert in_child(partial(make, model, 0, before, force=True, till=0.9), tmp_path / "log") == 0
    call = partial(make, model, 0, force=True)
    assert kill_everywhere(call, call, before, tmp_path, dataset_is_whole) > 20


def test_a_dataset_that_is_there_by_then(model, before, tmp_path):
    """Whoever gives the command without --force then has a dataset, and nothing beside it."""
    assert in_child(partial(make, model, 0, before), tmp_path / "log") == 0
    assert in_child(partial(make, model, 0, before, force=True, till=0.9), tmp_path / "log") == 0
    call, again = partial(make, model, 0, force=True), partial(make, model, 0)
    assert kill_everywhere(call, again, before, tmp_path, dataset_is_whole) > 20


def add(right, folder):
    """Say in the card of a dataset that so many of eight were told."""
    add_to_card(folder / "set", [Judged("ann", 8, Interval(right / 8, 0, 1), {}, {}, {}, {}, {}, 0)])


@pytest.mark.parametrize("judged", [False, True], ids=["of a first review", "of another review"])
def test_what_reviewers_found_in_a_card(judged, model, before, tmp_path):
    assert in_child(partial(make, model, 0, before), tmp_path / "log") == 0
    if judged:
        assert in_child(partial(add, 6, before), tmp_path / "log") == 0
    call = partial(add, 2)
    assert kill_everywhere(call, call, before, tmp_path) > 5


def test_the_page_of_a_review_and_its_key(before, tmp_path):
    def call(folder):
        with suppress(EcgsynthError):  # if the page is there
            Review("<html>", {"items": {}}).save(folder / "page.html", folder / "key.json")

    assert kill_everywhere(call, call, before, tmp_path) > 5


def test_a_folder_that_appears_at_once_in_the_place_of_one(before, tmp_path):
    def call(folder, content="new"):
        with atomic_path(folder / "split", force=True, marker="split.json") as temporary:
            temporary.mkdir()
            for name in ("split.json", f"{content}.npz"):
                (temporary / name).write_text(content)

    def whole(folder):
        if (folder / "split").exists():
            assert {*tree(folder / "split").values()} in ({b"old"}, {b"new"})
            assert len(tree(folder / "split")) == 2

    call(before, "old")
    assert kill_everywhere(call, call, before, tmp_path, whole) > 5
