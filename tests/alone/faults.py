"""Commands that are killed, find no room, or lose a worker: nothing half-made is left, and the same command makes it good."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
import kill  # noqa: E402

WRITERS = ("beats", "beats folder", "split", "train", "gate", "sample", "evaluate", "report", "build", "review make", "run")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Make what the commands are given, in a process of its own, as it changes settings."""
    folder = tmp_path_factory.mktemp("work")
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import kill, os, pathlib; os.kill(kill.prepare(pathlib.Path(sys.argv[1])), 9)"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True, capture_output=True)
    (folder / "address").unlink()
    return folder


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    for name, value in kill.BRIEF.items():
        monkeypatch.setattr(kill.trained, name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize("name", ["beats", "beats --force", "split", "train", "sample", "review make"])
def test_a_command_that_is_killed_is_made_good_by_the_same(name, work, tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    for path in work.iterdir():
        (place / path.name).symlink_to(path)
    row = kill.disturb(name, place, 4, np.random.default_rng(5))
    assert row.problems == []
    assert row.kills >= 4


def test_fetch_that_is_killed_is_made_good_by_the_same(work, tmp_path):
    (tmp_path / "records").symlink_to(work / "records")
    server = kill.serve(work / "records", tmp_path / "address")
    try:
        row = kill.disturb("fetch", tmp_path, 4, np.random.default_rng(0))
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
    assert row.problems == []
    assert row.kills >= 4


@pytest.mark.parametrize(("name", "file", "with_"), [("beats", "beats.npz", 9), ("train", "model", 9), ("train", "model", 15)])
def test_half_made_files_would_be_noticed(name, file, with_, tmp_path):
    """A control: a command that writes straight to its final name."""

    def careless():
        with open(tmp_path / "out" / file, "wb") as made:
            for _ in range(100):
                made.write(bytes(1000))
                made.flush()
                time.sleep(0.01)

    (tmp_path / "out").mkdir()
    row = kill.Row(name, seconds=0.5, kills=int(with_ == signal.SIGTERM))
    assert "half-made files" in kill.trial(row, careless, tmp_path / "out", {file: bytes(100_000)}, np.random.default_rng(0))


def test_a_folder_that_is_said_to_be_whole_and_lacks_a_file_would_be_noticed():
    state = {"set/build.json": b"1", "set/npz/train.npz": b"2", "other": b"3"}
    assert kill.whole({"other": b"3"}, state)
    assert kill.whole({"set/npz/train.npz": b"2"}, state)
    assert kill.whole({"set/build.json": b"1", "set/npz/train.npz": b"2"}, state)
    assert not kill.whole({"set/build.json": b"1"}, state)
    assert not kill.whole({"set/build.json": b"1", "set/npz/train.npz": b"3"}, state)


def no_room(call, size):
    """Call something when no file may have more bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    call()


def assert_one_line(log):
    others = ("note: ", "Could not save font_manager cache")  # the latter of another package
    lines = [line for line in log.read_text().splitlines() if not line.startswith(others)]
    assert len(lines) == 1, log.read_text()
    assert re.match(r"ecgsynth: .*(File too large|No space left on device)", lines[0])


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_cannot_be_written_to_its_end_is_one_line_and_no_file(name, work, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert kill.wait(kill.start(partial(no_room, kill.commands(work, out)[name], 2000), tmp_path / "log")) == 1
    assert_one_line(tmp_path / "log")
    left = kill.contents(out)
    assert all(len(data) < 2000 for data in left.values())
    assert [file for file in kill.final(left) if file not in ("run/settings.json", "review.html.key.json")] == []
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_and_no_file(name, work, tmp_path):
    out = tmp_path / "disk"
    out.mkdir()
    size = {"report": "16k", "review make": "16k", "gate": "16k", "evaluate": "64k", "split": "256k", "train": "64k"}.get(name, "128k")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", out], check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        assert kill.wait(kill.start(kill.commands(work, out)[name], tmp_path / "log")) == 1
        assert_one_line(tmp_path / "log")
        assert not list(out.rglob("*.ecgsynth"))
        whole = kill.final(kill.contents(out))
        assert set(whole) <= {"run/settings.json", "review.html.key.json"}
    finally:
        subprocess.run(["umount", out], check=True)


def test_a_worker_that_is_lost_is_one_line(work, tmp_path):
    judged = ("--steps", "100000", "--classifiers", "cnn", "--rows", "real,synthetic", "--families", "none", "--workers", "2")
    where = ("--split", str(work / "split"), "-o", str(tmp_path / "run"), "--no-cache")
    command = [sys.executable, "-m", "ecgsynth", "evaluate", str(work / "synthetic.npz"), *where, *judged]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    workers: list[int] = []
    while not workers and time.monotonic() < deadline:
        time.sleep(0.2)
        workers = [number for number in children_of(process.pid) if b"popen_loky" in Path(f"/proc/{number}/cmdline").read_bytes()]
    time.sleep(1)
    os.kill(workers[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.strip() == "ecgsynth: a process was ended, as by want of memory: one worker alone needs less"
    assert not (tmp_path / "run").exists()


def test_the_same_command_gives_the_same_bytes_in_another_process(tmp_path):
    """Two processes that order sets and the like differently, one of them on one core, in a folder of the same name."""
    # The other commands are done to prepare these.
    names = ("train", "report", "build", "review make", "run", "audit", "split of parts", "sample folder")
    code = f"""
import os, pathlib, sys
sys.path.insert(0, {str(SCRIPTS)!r})
import kill
work = pathlib.Path(sys.argv[1])
if sys.argv[2] == "2" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
os.kill(kill.prepare(work), 9)
(work / "all").mkdir()
for name in {names}:
    out = work / "all" / name
    out.mkdir()
    assert kill.wait(kill.start(kill.commands(work, out)[name], work / "log")) == 0, name
"""
    found = []
    for seed in ("1", "2"):
        place = tmp_path / "place"
        place.mkdir()
        environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", code, place, seed], check=True, capture_output=True, env=environment)
        found.append({name: data for name, data in kill.contents(place).items() if not name.startswith(("cache/", "log", "address"))})
        place.rename(tmp_path / seed)
    assert sorted(found[0]) == sorted(found[1])
    assert {
        "beats.npz",
        "gate.safetensors",
        "run/evaluation.json",
        "synthetic.npz",
        "all/train/model.safetensors",
        "all/report/report.html",
    } <= set(found[0])
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []


def children_of(number):
    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc")
    return [int(child) for path in Path(f"/proc/{number}/task").glob("*/children") for child in path.read_text().split()]
