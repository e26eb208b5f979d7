"""A training that was stopped, or killed, ends as one that was not: weights bit for bit, whatever the generator."""

import inspect
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ecgsynth.generators import GENERATORS, settings_of
from ecgsynth.generators.private import PrivateGenerator
from ecgsynth.generators.trained import TrainedGenerator

SMALL = {
    "across": 2,
    "width": 4,
    "critic_width": 4,
    "latent": 4,
    "hidden": 16,
    "depth": 1,
    "sampling_steps": 2,
    "steps": 8,
    "batch": 8,
    "validations": 2,
}
TRAINED = [name for name in GENERATORS if isinstance(GENERATORS[name](), TrainedGenerator)]
PRIVATE = [name for name in TRAINED if isinstance(GENERATORS[name](), PrivateGenerator)]
STOPS = dict(zip(TRAINED, np.random.default_rng(0).integers(1, 8, len(TRAINED)).tolist(), strict=True))
BRIEF = {"_SCORE_STEPS": 3, "_SCORED": 300, "_DETECTED": 100}


def make(name):
    taken = settings_of(name)
    return GENERATORS[name](**{key: value for key, value in SMALL.items() if key in taken})


@pytest.fixture
def brief_validation(monkeypatch):
    for name, value in BRIEF.items():
        monkeypatch.setattr(f"ecgsynth.generators.trained.{name}", value)


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in PRIVATE])
def test_from_the_checkpoint_of_any_step_training_ends_as_without(name, split, tmp_path, monkeypatch, brief_validation):
    monkeypatch.setattr("ecgsynth.generators.trained._SAVE_S", 0.0)
    monkeypatch.setattr("ecgsynth.generators.trained._SAVE_COST", 1e9)
    path, kept = tmp_path / "checkpoint", tmp_path / "kept"
    whole = make(name)
    for step in whole.fit_steps(split.train, split.val, path):
        if step.step == STOPS[name] + 1:  # what was written after the step before is what a kill now would leave
            shutil.copy(path, kept)
    resumed = make(name)
    assert [step.step for step in resumed.fit_steps(split.train, split.val, kept)] == list(range(STOPS[name] + 1, 9))
    assert resumed.fingerprint() == whole.fingerprint()


def test_checkpoints_come_by_the_clock_and_their_cost_is_bounded(split, tmp_path, monkeypatch):
    from ecgsynth.generators import trained
    from ecgsynth.training import Trainer

    now, saves = [0.0], []
    monkeypatch.setattr(trained, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))

    def save(self, *_):
        saves.append((self.step, now[0]))
        now[0] += 0.5

    monkeypatch.setattr(Trainer, "save", save)
    model = GENERATORS["vae"](steps=40, width=4, latent=4, batch=8, validations=1)
    for _ in model.fit_steps(split.train, None, tmp_path / "checkpoint"):
        now[0] += 5.0
    assert [step for step, _ in saves] == [4, 14, 24, 34]  # after 20 s, then every 50 s: a save took half a second
    assert 0.5 * len(saves) / now[0] < 0.011


@pytest.mark.parametrize("name", PRIVATE)
def test_what_is_trained_with_differential_privacy_says_that_it_cannot_go_on(name, split, tmp_path):
    pytest.importorskip("opacus")
    from ecgsynth.errors import EcgsynthError

    (tmp_path / "checkpoint").write_text("")
    with pytest.raises(EcgsynthError, match="cannot go on where it stopped"):
        list(GENERATORS[name](delta=1e-4).fit_steps(split.train, checkpoint=tmp_path / "checkpoint"))


def test_a_training_killed_on_the_command_line_goes_on_to_the_same_model(split, tmp_path):
    """SIGKILL at random moments, checkpoints after every step; only the last bytes count, those of the curve, too."""
    split.save(tmp_path / "split")
    brief = "; ".join(f"trained.{name} = {value}" for name, value in ({**BRIEF, "_SAVE_S": 0, "_SAVE_COST": 1e9}).items())
    code = f"from ecgsynth.generators import trained; {brief}; from ecgsynth.cli import main; main()"
    settings = ("--set", "hidden=16", "--set", "depth=1", "--set", "batch=16", "--set", "validations=2", "--steps", "40", "--resume")

    def command(folder):
        return [sys.executable, "-c", code, "train", str(tmp_path / "split"), "-o", str(folder / "m.safetensors"), *settings]

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    rng, killed = np.random.default_rng(0), 0
    while killed < 2:
        process = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        begun = max((path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("m.safetensors.checkpoint")), default=0)
        while process.poll() is None and time.monotonic() < deadline:
            now = max((path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("m.safetensors.checkpoint")), default=0)
            if now != begun:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            break
        killed += 1
        assert not (tmp_path / "killed" / "m.safetensors").exists()
    assert killed
    subprocess.run(command(tmp_path / "killed"), check=False, capture_output=True)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "killed")]
    assert files[0] == files[1]
    assert sorted(files[0]) == ["m.safetensors", "m.safetensors.csv"]
    assert inspect.cleandoc(files[0]["m.safetensors.csv"].decode()).count("\n") == 40
