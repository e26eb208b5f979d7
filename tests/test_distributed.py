"""Several processes that train together come to what one comes to."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ecgsynth.checkpoints import read_checkpoint, write_checkpoint
from ecgsynth.generators import load_generator
from ecgsynth.splits import Split

SETTINGS = ["--steps", "30", "--set", "batch=64", "--set", "precision=float32", "--set", "hidden=32", "--set", "depth=1"]


def free_port():
    """Find a port below those that systems hand out, so that no other test is given it before the processes take it."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


def begin(folder, output, *options, processes=1, others=None, patch=("", "")):
    """Begin a training in so many processes, as torchrun does; the others may have another output, and each code of its own."""
    begun, port = [], free_port()
    for rank in range(processes):
        told = {"WORLD_SIZE": str(processes), "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environment = os.environ | {"OMP_NUM_THREADS": "1", **(told if processes > 1 else {})}
        code = f"{patch[rank > 0]}; from ecgsynth.cli import main; main()".removeprefix("; ")
        command = [sys.executable, "-c", code, "train", str(folder), "-o", str(others if others and rank else output), *options]
        begun.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return begun


def end(begun):
    """Wait for processes; gives how each ended and what it said."""
    try:
        said = [process.communicate(timeout=200) for process in begun]
    finally:
        for process in begun:
            process.kill()  # one that waits for another for ever
    return [process.returncode for process in begun], said


def train(*arguments, **how):
    return end(begin(*arguments, **how))


@pytest.fixture(scope="module")
def folder(split: Split, tmp_path_factory):
    few = Split(split.train, split.val.take(np.arange(1)), split.test, scheme="beats", seed=0)
    where = tmp_path_factory.mktemp("shared") / "split"
    few.save(where)
    return where


def losses(path):
    lines = path.with_name(path.name + ".csv").read_text().splitlines()
    return np.array([float(line.split(",")[1]) for line in lines[1:]])


@pytest.mark.parametrize("name", ["flow", "ddpm", "vae"])
def test_two_processes_learn_what_one_learns(folder, tmp_path, name):
    settings = SETTINGS[:4] if name == "vae" else SETTINGS
    for processes in (1, 2):
        ended, said = train(folder, tmp_path / f"of{processes}.safetensors", "-g", name, *settings, processes=processes)
        assert ended == [0] * processes, said
        assert all(not out for out, _ in said[1:])  # the first alone tells of it
    one, two = (losses(tmp_path / f"of{processes}.safetensors") for processes in (1, 2))
    assert len(one) == len(two) == 30
    assert np.abs(one - two).max() < 1e-4 * np.abs(one).max()
    first, second = (load_generator(tmp_path / f"of{processes}.safetensors")._arrays() for processes in (1, 2))
    far = max(float(np.abs(first[key].astype(np.float64) - second[key]).max()) for key in first)
    assert far < 0.01
    ended, _ = train(folder, tmp_path / "other.safetensors", "-g", name, *settings, "--seed", "1")
    other = load_generator(tmp_path / "other.safetensors")._arrays()  # a control: another seed comes to something else
    assert max(float(np.abs(first[key].astype(np.float64) - other[key]).max()) for key in first) > 0.05


def test_torchrun_begins_them_and_says_how_they_ended(folder, tmp_path):
    def run(*options):
        begin = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [*begin, "-m", "ecgsynth", "train", str(folder), "-o", str(tmp_path / "shared.safetensors"), "-g", "flow", *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=200, env=environment)

    done = run(*SETTINGS)
    assert done.returncode == 0, done.stderr
    assert train(folder, tmp_path / "alone.safetensors", "-g", "flow", *SETTINGS)[0] == [0]
    together, alone = (losses(tmp_path / f"{name}.safetensors") for name in ("shared", "alone"))
    assert np.abs(together - alone).max() < 1e-4 * np.abs(alone).max()
    refused = run(*SETTINGS)  # as the model is there
    assert refused.returncode == 1
    assert "shared.safetensors exists" in refused.stderr


def test_all_stop_after_the_same_step_or_say_that_one_was_lost(folder, tmp_path):
    """SIGTERM to all, and once more, as torchrun and Slurm may each send it; then SIGKILL to one."""
    model, curve = tmp_path / "model.safetensors", tmp_path / "model.safetensors.csv.part"

    def begun(*options):
        processes = begin(folder, model, "-g", "flow", "--steps", "100000", *SETTINGS[2:], *options, processes=2)
        deadline = time.monotonic() + 120
        while not (curve.exists() and curve.stat().st_size > 500) and time.monotonic() < deadline:
            time.sleep(0.05)
        return processes

    stopped = begun()
    for process in (*stopped, stopped[0]):
        process.send_signal(signal.SIGTERM)
    ended, said = end(stopped)
    assert ended == [130, 130], said
    assert "stopped early: the best weights so far are kept" in said[0][1]
    load_generator(model)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.safetensors",
        "model.safetensors.checkpoint",
        "model.safetensors.csv",
    ]

    lost = begun("--resume")
    lost[1].kill()
    ended, said = end(lost)
    assert ended == [1, -signal.SIGKILL]
    lines = [line for line in said[0][1].splitlines() if not line.startswith("note: ")]
    assert lines == ["ecgsynth: a process of this training was lost; --resume goes on from the last checkpoint, if one was written"]
    assert (tmp_path / "model.safetensors.checkpoint").is_file()


SAVING = "from ecgsynth.generators import trained; trained._SAVE_S, trained._SAVE_COST = 0, 1e9"
THREADS = (
    "import atexit, pathlib, sys; atexit.register(lambda: "
    "print(sorted(task.read_text() for task in pathlib.Path('/proc/self/task').glob('*/comm')), file=sys.stderr))"
)
LOST = "import os; from ecgsynth.generators.keeper import Keeper; Keeper.end = lambda self: os._exit(9)"


def test_processes_that_do_not_go_on_from_the_same_checkpoint_stop(folder, tmp_path):
    """One lacks it, as on a node with a disk of its own, or has that of another step."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    kept, other = (model.with_name("model.safetensors.checkpoint") for model in (one, two))
    ended, _ = train(folder, one, "-g", "flow", *SETTINGS, patch=(f"{SAVING}; {LOST}", ""))
    assert ended == [9]
    before = kept.read_bytes()
    for theirs in (None, before):
        if theirs:
            write_checkpoint(other, read_checkpoint(kept) | {"step": 7})
        ended, said = train(folder, one, "-g", "flow", *SETTINGS, "--resume", processes=2, others=two)
        assert ended == [1, 1], said
        for step, (_, errors) in zip((30, 7 if theirs else 0), said, strict=True):
            lines = [line for line in errors.splitlines() if not line.startswith("note: ")]
            assert lines == [
                f"ecgsynth: the processes that train together differ, this one begins after step {step}: each needs the same version, "
                "settings and beats, and to go on the same checkpoint, under the same name"
            ]
        assert kept.read_bytes() == before
        assert not one.exists()


def test_a_model_has_its_name_and_the_checkpoint_goes_when_all_have_come_to_the_end(folder, tmp_path):
    model, checkpoint = tmp_path / "model.safetensors", tmp_path / "model.safetensors.checkpoint"
    ended, said = train(folder, model, "-g", "flow", *SETTINGS, processes=2, patch=(SAVING, LOST))
    assert ended == [1, 9], said
    assert "a process of this training was lost; --resume goes on from the last checkpoint" in said[0][1]
    assert (model.exists(), checkpoint.is_file()) == (False, True)
    ended, said = train(folder, model, "-g", "flow", *SETTINGS, "--resume", processes=2)
    assert ended == [0, 0], said
    assert (model.exists(), checkpoint.is_file()) == (True, False)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list threads")
def test_nothing_of_what_joined_them_is_left_at_the_end(folder, tmp_path):
    """A thread of it that outlives Python may end the process in a crash."""
    model = tmp_path / "model.safetensors"
    ended, whole = train(folder, model, "-g", "flow", *SETTINGS, processes=2, patch=(THREADS, THREADS))
    assert ended == [0, 0], whole
    ended, alone = train(folder, model, "-g", "flow", *SETTINGS, "--force", processes=2, patch=(f"{THREADS}; {SAVING}", LOST))
    assert ended == [1, 9], alone
    for _, errors in (*whole, alone[0]):
        assert "python" in errors
        assert "gloo" not in errors, errors


def test_what_cannot_be_shared_is_refused_in_a_line(folder, tmp_path):
    ended, said = train(folder, tmp_path / "model.safetensors", "-g", "cgan", "--steps", "3", processes=2)
    assert ended == [1, 1]
    assert "others train in one, without torchrun" in " ".join(said[0][1].split())
    assert "Traceback" not in said[0][1]
    assert not (tmp_path / "model.safetensors").exists()
