"""The course of a training, step by step, outlives what the training outlives."""

import os
import shutil

import pytest
from click.testing import CliRunner

from ecgsynth.cli import main
from ecgsynth.cli.curve import Curve
from ecgsynth.generators import TrainingStep
from ecgsynth.training import Trainer

TRAIN = ["-g", "vae", "--steps", "9", "--set", "batch=16", "--set", "width=4", "--set", "latent=4", "--set", "validations=1", "--resume"]


@pytest.fixture(autouse=True)
def a_checkpoint_after_every_step(monkeypatch):
    for name, value in {"_SAVE_S": 0, "_SAVE_COST": 1e9, "_SCORE_STEPS": 2, "_SCORED": 100, "_DETECTED": 60}.items():
        monkeypatch.setattr(f"ecgsynth.generators.trained.{name}", value)


@pytest.fixture(scope="module")
def folder(split, tmp_path_factory):
    where = tmp_path_factory.mktemp("curve") / "split"
    split.save(where)
    return where


def train(folder, output):
    return CliRunner().invoke(main, ["train", str(folder), "-o", str(output), *TRAIN])


def steps_of(path):
    return [int(line.partition(",")[0]) for line in path.read_text().splitlines()[1:]]


def test_no_checkpoint_is_ahead_of_what_is_on_the_disk(folder, tmp_path, monkeypatch):
    part, synced, saved = tmp_path / "m.safetensors.csv.part", [], []
    fsync, save = os.fsync, Trainer.save

    def note_what_is_there(handle):
        fsync(handle)
        if os.fstat(handle).st_ino in [path.stat().st_ino for path in tmp_path.rglob("m.safetensors.csv.part")]:
            synced[:] = steps_of(next(tmp_path.rglob("m.safetensors.csv.part")))

    def compare(self, *rest):
        saved.append((self.step, list(synced)))
        save(self, *rest)

    monkeypatch.setattr(os, "fsync", note_what_is_there)
    monkeypatch.setattr(Trainer, "save", compare)
    assert train(folder, tmp_path / "m.safetensors").exit_code == 0
    assert not part.exists()
    assert [step for step, _ in saved] == list(range(1, 10))
    assert all(there == list(range(1, step + 1)) for step, there in saved)


def test_each_number_stands_in_its_column(tmp_path):
    curve = Curve(tmp_path / "m.safetensors.csv", tmp_path / "m.checkpoint")
    curve.add(TrainingStep(1, 0.5, 1.25, 2.5, -0.5))
    curve.add(TrainingStep(2, 1.0, 0.75, 3.5, 0.25, validation_score=0.8, detection=0.6, best=True, drawn=9))
    curve.finish()
    assert (tmp_path / "m.safetensors.csv").read_text() == (
        "step,generator_loss,critic_loss,score_gap,validation_score,detection,best\n1,1.25,2.5,-0.5,,,False\n2,0.75,3.5,0.25,0.8,0.6,True\n"
    )


@pytest.mark.parametrize("name", ["m.safetensors", "m.safetensors.csv"])
def test_what_takes_the_name_of_a_model_or_its_curve_meanwhile_is_not_replaced(folder, tmp_path, monkeypatch, name):
    fit = Trainer.advance
    monkeypatch.setattr(Trainer, "advance", lambda self: (tmp_path / name).write_text("theirs") and fit(self))
    result = CliRunner().invoke(main, ["train", str(folder), "-o", str(tmp_path / "m.safetensors"), *TRAIN[:-1]])
    assert (result.exit_code, f"{tmp_path / name} exists: give another name, or --force" in result.stderr) == (1, True)
    assert (tmp_path / name).read_text() == "theirs"


def test_what_is_damaged_or_missing_is_left_out_and_named(folder, tmp_path, monkeypatch):
    """A machine that lost its power may leave lines of zeros."""

    def stop(self, *rest):
        save(self, *rest)
        if self.step == 6:
            shutil.copytree(tmp_path / "whole", tmp_path / "stopped")

    save = Trainer.save
    monkeypatch.setattr(Trainer, "save", stop)
    (tmp_path / "whole").mkdir()
    assert train(folder, tmp_path / "whole" / "m.safetensors").exit_code == 0
    part = tmp_path / "stopped" / "m.safetensors.csv.part"
    lines = part.read_bytes().splitlines(keepends=True)
    assert len(lines) == 7
    part.write_bytes(b"".join([*lines[:3], bytes(40) + b"\n", b"4,\xff\xfe\n", b"many,1.0,,,,,False\n", lines[5], lines[6][:9]]))
    resumed = train(folder, tmp_path / "stopped" / "m.safetensors")
    assert resumed.exit_code == 0, resumed.output
    lacks = f"note: {tmp_path / 'stopped' / 'm.safetensors.csv'} lacks steps 3 to 4, 6: what was written of them is lost"
    assert lacks in resumed.stderr.splitlines()
    assert steps_of(tmp_path / "stopped" / "m.safetensors.csv") == [1, 2, 5, 7, 8, 9]
    assert (tmp_path / "stopped" / "m.safetensors").read_bytes() == (tmp_path / "whole" / "m.safetensors").read_bytes()
