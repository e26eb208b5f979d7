"""Commands that are stopped, or find the disk full: what they leave, and how they go on."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from built import contents
from commands import FAST, QUICK_SCORES, call

from ecgsynth.beats import Beats


def test_a_full_disk_in_training_gives_one_line(work, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    result = call("train", work / "split", "-o", tmp_path / "m.safetensors", "--steps", 2, *FAST, ok=False)
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_was_stopped_is_not_begun_anew_by_mistake(work, tmp_path):
    (tmp_path / "m.safetensors.checkpoint").write_bytes(b"hours of work")
    result = call("train", work / "split", "-o", tmp_path / "m.safetensors", "--steps", 2, *FAST, ok=False)
    assert "--resume goes on with it" in result.stderr
    assert (tmp_path / "m.safetensors.checkpoint").read_bytes() == b"hours of work"


def test_a_full_disk_gives_one_line_and_no_file(work, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    result = call("sample", work / "model.safetensors", "-o", tmp_path / "x.npz", "--count", "V=3", ok=False)
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_leaves_an_evaluation_that_was_to_be_replaced(work, tmp_path, monkeypatch, after):
    shutil.copytree(work / "run", tmp_path / "run")
    before = contents(tmp_path / "run")
    full_after(monkeypatch, "ecgsynth.findings.sync", after)
    asked = ("--split", work / "split", "--steps", 2, "--classifiers", "cnn", "--families", "none", "--rows", "real")
    refused = call("evaluate", work / "syn.npz", *asked, "-o", tmp_path / "run", "--force", ok=False)
    assert "No space left on device" in refused.stderr
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("after", [0, 1])
def test_a_full_disk_leaves_a_page_for_review_and_its_key(work, tmp_path, monkeypatch, after):
    asked = ("review", "make", work / "syn.npz", "--real", work / "split" / "test.npz", "-n", 10, "-o", tmp_path / "page.html", "--force")
    call(*asked)
    before = contents(tmp_path)
    full_after(monkeypatch, "ecgsynth.review.page.sync", after)
    assert "No space left on device" in call(*asked, "--seed", 1, ok=False).stderr
    assert contents(tmp_path) == before
    monkeypatch.undo()
    call(*asked, "--seed", 1)
    assert all(data != before[name] for name, data in contents(tmp_path).items())


def full_after(monkeypatch, name, calls):
    """Fill the disk after so many files were brought to it."""
    done = []

    def full(path):
        done.append(path)
        if len(done) > calls:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(name, full)


@pytest.mark.parametrize("command", ["split", "sample", "build", "run"])
def test_where_a_file_system_begins_no_folder_is_made_in_its_place(work, records_folder, tmp_path, monkeypatch, command):
    where = tmp_path / "mounted"
    where.mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == where)
    of_model = ("--count", "N=5")
    arguments = {
        "split": ("split", work / "beats.npz"),
        "sample": ("sample", work / "model.safetensors", *of_model),
        "build": ("build", "-m", "mitdb", "--no-gate", *of_model),
        "run": ("run", records_folder),
    }
    refused = call(*arguments[command], "-o", where, "--force", ok=False)
    assert "is where a file system begins, whose name no other folder can take: name a folder in it" in refused.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["mounted"]


def start(*arguments):
    quick = "; ".join(f"trained.{name} = {value}" for name, value in QUICK_SCORES.items())
    code = f"import ecgsynth.cli; from ecgsynth.generators import trained; {quick}; ecgsynth.cli.main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupt(process, after):
    deadline = time.monotonic() + 120
    while not after() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=120)


def test_ctrl_c_in_training_keeps_the_best_and_resume_goes_on(work, tmp_path):
    model = tmp_path / "m.safetensors"
    arguments = ("train", work / "split", "-o", model, "--steps", 20_000, *FAST[:-2], "--set", "validations=200")
    process = start(*arguments)
    _, stderr = interrupt(process, (tmp_path / "m.safetensors.checkpoint").is_file)
    assert process.returncode == 130
    assert "stopped early" in stderr
    assert "can tell which patients" in stderr
    assert "Traceback" not in stderr
    assert model.is_file()
    done = len((tmp_path / "m.safetensors.csv").read_text().splitlines()) - 1
    call("train", work / "split", "-o", model, "--steps", done + 3, *FAST[:-2], "--set", "validations=1", "--resume")
    assert len((tmp_path / "m.safetensors.csv").read_text().splitlines()) - 1 == done + 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.safetensors", "m.safetensors.csv"]


def test_ctrl_c_in_evaluation_leaves_nothing_half_written(work, tmp_path, monkeypatch):
    from ecgsynth.classifiers import BeatClassifier

    def interrupted(self, beats):
        yield 0.5
        raise KeyboardInterrupt

    monkeypatch.setattr(BeatClassifier, "fit_steps", interrupted)
    result = call("evaluate", work / "syn.npz", "--split", work / "split", "-o", tmp_path / "run", ok=False)
    assert result.exit_code != 0
    assert not (tmp_path / "run").exists()


def test_ctrl_c_in_a_run_keeps_what_is_done_and_the_same_command_goes_on(work, records_folder, tmp_path):
    out = tmp_path / "run"
    arguments = ("run", records_folder, "-o", out, "-g", "class-mean", "--classifier-steps", 100_000)
    _, stderr = interrupt(start(*arguments), (out / "synthetic.npz").is_file)
    assert "the same command goes on" in stderr
    assert "Traceback" not in stderr
    assert not (out / "evaluation.json").exists()
    assert Beats.load(out / "synthetic.npz").is_synthetic
