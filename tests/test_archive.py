"""An archive of records becomes the same beats whatever cuts them, and a cut that was stopped goes on."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from ecgsynth import files
from ecgsynth.archive import cut_archive_steps
from ecgsynth.beats import Beats
from ecgsynth.cli import main
from ecgsynth.cutting import Window, extract_beats
from ecgsynth.engine import Local, OnRay
from ecgsynth.errors import EcgsynthError
from ecgsynth.records import find_records, read_record, read_records, write_record
from ecgsynth.steps import drain
from ecgsynth.stored import HEAD, StoredBeats


def same(one: Beats, other: Beats) -> bool:
    columns = [np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name.startswith(("rr", "ages"))) for name in one.columns]
    told = one.source == other.source and json.dumps(one.info) == json.dumps(other.info)
    return all(columns) and np.array_equal(one.signals, other.signals) and told


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.fixture(scope="module")
def cut(records_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut") / "beats"
    return drain(cut_archive_steps(find_records(records_folder), folder, per_part=5, engine=Local(1)))


def test_beats_are_those_that_are_cut_all_at_once(cut, records_folder):
    at_once = extract_beats(read_records(records_folder))
    assert same(at_once, StoredBeats.open(cut.folder).load())
    assert (len(cut), cut.counts(), cut.counts("symbol")) == (len(at_once), at_once.counts(), at_once.counts("symbol"))
    assert cut.digest() == at_once.digest()
    assert len(list(cut.folder.glob("*.parquet"))) == 3


@pytest.mark.timeout(180)
@pytest.mark.parametrize("engine", [Local(2), OnRay(1), OnRay(2)], ids=["two processes", "Ray with 1", "Ray with 2"])
def test_the_engine_and_the_number_of_workers_change_no_byte(cut, records_folder, tmp_path, engine):
    if isinstance(engine, OnRay):
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'ecgsynth[scale]'")
    drain(cut_archive_steps(find_records(records_folder), tmp_path / "beats", per_part=5, engine=engine))
    assert contents(tmp_path / "beats") == contents(cut.folder)


@pytest.mark.parametrize("output", ["beats", "beats.npz"])
def test_records_that_cannot_be_read_are_left_out_where_this_is_asked_for(records_folder, tmp_path, output):
    shutil.copytree(records_folder, tmp_path / "archive")
    spoilt = {"sim03": "cut short", "sim07": "no annotations"}
    os.truncate(tmp_path / "archive" / "sim03.dat", 1000)
    (tmp_path / "archive" / "sim07.atr").unlink()
    command = ["beats", str(tmp_path / "archive"), "-o", str(tmp_path / output), "--workers", "1"]
    assert CliRunner().invoke(main, command).exit_code == 1
    done = CliRunner().invoke(main, [*command, "--skip-unreadable", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["skipped"] == list(spoilt)
    for name, why in spoilt.items():
        (line,) = (line for line in done.stderr.splitlines() if name in line.split(":")[1])
        assert why in line
        for part in (tmp_path / "archive").glob(f"{name}.*"):
            part.unlink()
    found = (StoredBeats.open(tmp_path / output).load() if output == "beats" else Beats.load(tmp_path / output)).info
    assert [name for name, _ in found["skipped"]] == list(spoilt)
    rest = extract_beats(read_records(tmp_path / "archive"))
    made = StoredBeats.open(tmp_path / output).load() if output == "beats" else Beats.load(tmp_path / output)
    assert same(replace(made, info=rest.info), rest)


def test_a_part_of_which_nothing_can_be_read_is_none(records_folder, tmp_path):
    shutil.copytree(records_folder, tmp_path / "archive")
    for number in (5, 6, 7, 8):
        os.truncate(tmp_path / "archive" / f"sim{number:02}.dat", 1000)
    found = find_records(tmp_path / "archive")
    cut = drain(cut_archive_steps(found, tmp_path / "beats", per_part=4, skip=True, engine=Local(1)))
    assert [name for name, _ in cut.info["skipped"]] == ["sim05", "sim06", "sim07", "sim08"]
    assert sorted(path.name for path in (tmp_path / "beats").glob("part-*")) == ["part-000000.parquet", "part-000002.parquet"]
    with pytest.raises(EcgsynthError, match="no beat could be cut"):
        drain(cut_archive_steps(found[4:8], tmp_path / "none", skip=True, engine=Local(1)))


@pytest.fixture
def cluster():
    """Begin a cluster of one node, as `ray start` does; gives its address."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ecgsynth[scale]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:  # names of sockets in it are 100 letters at most
        told = f"start --head --block --num-cpus 2 --port {address.split(':')[1]} --temp-dir {folder} --disable-usage-stats"
        begin = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *told.split(), "--include-dashboard", "false"]
        node = subprocess.Popen(begin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield address
        node.terminate()
        node.wait(60)


@pytest.mark.timeout(180)
def test_a_command_gives_its_work_to_a_cluster_that_is_there(cluster, records_folder, tmp_path):
    where = {"here": ["--workers", "1"], "there": ["--engine", "ray", "--address", cluster, "--workers", "1"]}
    for name, told in where.items():
        command = [sys.executable, "-m", "ecgsynth", "beats", str(records_folder), "-o", str(tmp_path / name / "beats"), *told]
        for _ in range(20):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if "no cluster of Ray" not in done.stderr:  # which takes some seconds to begin
                break
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "here" / "beats") == contents(tmp_path / "there" / "beats")


@pytest.mark.parametrize("per_part", [1, 3, 100])
def test_the_size_of_parts_changes_no_beat(cut, records_folder, tmp_path, per_part):
    other = drain(cut_archive_steps(find_records(records_folder), tmp_path / "beats", per_part=per_part, engine=Local(1)))
    assert same(other.load(), cut.load())
    assert same(other.some(200, seed=3), cut.some(200, seed=3))


def test_what_was_done_is_not_done_again_and_nothing_is_whole_before_its_end(cut, records_folder, tmp_path, monkeypatch):
    asked = {"per_part": 5, "engine": Local(1)}
    steps = cut_archive_steps(find_records(records_folder), tmp_path / "beats", **asked)
    next(steps), next(steps)
    steps.close()
    assert len(list((tmp_path / "beats").glob("*.parquet"))) == 1
    with pytest.raises(EcgsynthError, match=f"{HEAD}, which is written last, is not there"):
        StoredBeats.open(tmp_path / "beats")
    read = []
    monkeypatch.setattr("ecgsynth.records.read_record", lambda path, **how: read.append(path.name) or read_record(path, **how))
    drain(cut_archive_steps(find_records(records_folder), tmp_path / "beats", **asked))
    assert read == [path.name for path in find_records(records_folder)[5:]]
    assert contents(tmp_path / "beats") == contents(cut.folder)


def test_a_cut_that_is_killed_goes_on_to_the_same_bytes(cut, records_folder, tmp_path):
    code = """
import os, signal, sys, threading
from ecgsynth import archive, records
from ecgsynth.engine import Local
from ecgsynth.records import find_records
from ecgsynth.steps import drain
real, left = records.read_record, [int(sys.argv[3])]
def read(*args, **how):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **how)
records.read_record = read
drain(archive.cut_archive_steps(find_records(sys.argv[1]), sys.argv[2], per_part=5, engine=Local(1)))
"""
    target = tmp_path / "beats"
    command = [sys.executable, "-c", code, records_folder, target]
    ended = [subprocess.run([*command, str(left)], check=False).returncode for left in (3, 7, 6, 99)]
    assert ended == [-9, -9, -9, 0]
    assert contents(target) == contents(cut.folder)


def test_a_folder_of_anything_else_is_left_alone(cut, records_folder, tmp_path):
    def into(folder, **how):
        return drain(cut_archive_steps(find_records(records_folder), folder, engine=Local(1), **{"per_part": 5, **how}))

    (tmp_path / "mine").mkdir()
    for name in ("part-of-mine.csv", "plan.json"):
        (tmp_path / "mine" / name).write_text("{}")
        with pytest.raises(EcgsynthError, match="holds other things"):
            into(tmp_path / "mine", force=True)
    assert len(list((tmp_path / "mine").iterdir())) == 2
    with pytest.raises(EcgsynthError, match="holds beats: give another name, or --force"):
        into(cut.folder, per_part=4)
    begun = tmp_path / "begun"
    steps = cut_archive_steps(find_records(records_folder), begun, per_part=5, engine=Local(1))
    next(steps), next(steps)
    steps.close()
    with pytest.raises(EcgsynthError, match="a begun cut of other records, or cut otherwise"):
        into(begun, window=Window(band=None))
    other = into(begun, window=Window(band=None), force=True)
    assert same(other.load(), extract_beats(read_records(records_folder), band=None))


def test_what_is_done_is_done_if_it_is_asked_for_again(cut, records_folder, tmp_path, monkeypatch):
    shutil.copytree(cut.folder, tmp_path / "beats")
    read = []
    monkeypatch.setattr("ecgsynth.records.read_record", lambda path, **how: read.append(path.name) or read_record(path, **how))

    def again(**how):
        return drain(cut_archive_steps(find_records(records_folder), tmp_path / "beats", per_part=5, engine=Local(1), **how))

    assert same(again().load(), cut.load())
    assert read == []
    assert same(again(force=True).load(), cut.load())
    assert len(read) == len(find_records(records_folder))
    assert contents(tmp_path / "beats") == contents(cut.folder)
    (tmp_path / "beats" / "plan.json").unlink()  # which was not kept at first: nobody knows what it is of, but it is read
    assert same(StoredBeats.open(tmp_path / "beats").load(), cut.load())
    with pytest.raises(EcgsynthError, match="holds beats: give another name, or --force"):
        again()
    assert same(again(force=True).load(), cut.load())


def test_the_command_given_again_says_that_all_is_there(records_folder, tmp_path):
    target = tmp_path / "beats"
    command = ["beats", str(records_folder), "-o", str(target), "--workers", "1"]
    for more, end in ([], f"Wrote {target}"), ([], f"{target} is there already, cut alike"), (["--force"], f"Wrote {target}"):
        told = CliRunner().invoke(main, [*command, *more])
        assert told.exit_code == 0
        assert end in told.output
    assert json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout.splitlines()[-1])["made"] is False


def test_a_folder_that_another_call_has_begun_anew_gets_no_part_of_this_one(records_folder, tmp_path, monkeypatch):
    """A worker may outlive the process that began it, and come to the end of its part when the folder is of another cut."""

    def read(path, **how):
        (tmp_path / "beats" / "plan.json").write_text('{"ecgsynth": "of another call"}')
        return read_record(path, **how)

    monkeypatch.setattr("ecgsynth.records.read_record", read)
    with pytest.raises(EcgsynthError, match="was begun anew by another call"):
        drain(cut_archive_steps(find_records(records_folder), tmp_path / "beats", engine=Local(1)))
    assert [path.name for path in (tmp_path / "beats").iterdir()] == ["plan.json"]


def test_litter_that_no_lock_tells_of_is_nothing_else(records_folder, tmp_path, monkeypatch):
    """As where the file system has no locks."""
    monkeypatch.setattr(files, "_lock", lambda scratch, anyway=False: os.open(scratch, os.O_RDONLY) if anyway else None)
    (tmp_path / "beats" / ".plan.json.abcdefgh.ecgsynth").mkdir(parents=True)
    drain(cut_archive_steps(find_records(records_folder)[:1], tmp_path / "beats", engine=Local(1)))


def test_records_without_a_beat_and_unlike_records(records, tmp_path):
    bare = replace(records[0], name="bare", symbols=np.array(["+"]), samples=records[0].samples[:1])  # a change of rhythm, no beat
    two = replace(records[1], name="two", signals=np.repeat(records[1].signals, 2, axis=1), leads=("MLII", "V1"))
    for record in (bare, records[2], two):
        write_record(record, tmp_path / record.name)
    both = drain(cut_archive_steps(find_records([tmp_path / "bare", tmp_path / records[2].name]), tmp_path / "a", engine=Local(1)))
    assert set(both.load().records.tolist()) == {records[2].name}
    with pytest.raises(EcgsynthError, match="no beat could be cut"):
        drain(cut_archive_steps(find_records(tmp_path / "bare"), tmp_path / "b", engine=Local(1)))
    for per_part in (1, 9):
        unlike = find_records([tmp_path / records[2].name, tmp_path / "two"])
        with pytest.raises(EcgsynthError, match="choose one lead instead of all"):
            drain(cut_archive_steps(unlike, tmp_path / f"c{per_part}", window=Window("all"), per_part=per_part, engine=Local(1)))


def test_records_in_folders_of_folders_are_found(records, tmp_path):
    for record in records[:3]:
        write_record(record, tmp_path / "archive" / record.name[:4] / record.name)
    assert [path.name for path in find_records(tmp_path / "archive")] == [record.name for record in records[:3]]
