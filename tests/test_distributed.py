"""Several processes that train together come to what one comes to."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from ecgsynth.generators import load_generator
from ecgsynth.splits import Split

SETTINGS = ["--steps", "30", "--set", "batch=64", "--set", "precision=float32", "--set", "hidden=32", "--set", "depth=1"]


def train(folder, output, *options, processes=1):
    """Train in so many processes, as torchrun begins them; gives how each ended and what the first said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = []
    for rank in range(processes):
        told = {"WORLD_SIZE": str(processes), "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environment = os.environ | {"OMP_NUM_THREADS": "1", **(told if processes > 1 else {})}
        command = [sys.executable, "-m", "ecgsynth", "train", str(folder), "-o", str(output), *options]
        begun.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=200) for process in begun]
    return [process.returncode for process in begun], said


@pytest.fixture(scope="module")
def folder(split: Split, tmp_path_factory):
    few = Split(split.train, split.val.take(np.arange(1)), split.test, scheme="beats", seed=0)
    where = tmp_path_factory.mktemp("shared") / "split"
    few.save(where)
    return where


def losses(path):
    lines = path.with_name(path.name + ".csv").read_text().splitlines()
    return np.array([float(line.split(",")[1]) for line in lines[1:]])


@pytest.mark.parametrize("name", ["flow", "vae"])
def test_two_processes_learn_what_one_learns(folder, tmp_path, name):
    settings = SETTINGS if name == "flow" else SETTINGS[:4]
    for processes in (1, 2):
        ended, said = train(folder, tmp_path / f"of{processes}", "-g", name, *settings, processes=processes)
        assert ended == [0] * processes, said
        assert all(not out for out, _ in said[1:])  # the first alone tells of it
    one, two = (losses(tmp_path / f"of{processes}") for processes in (1, 2))
    assert len(one) == len(two) == 30
    assert np.abs(one - two).max() < 1e-4 * np.abs(one).max()
    first, second = (load_generator(tmp_path / f"of{processes}")._arrays() for processes in (1, 2))
    far = max(float(np.abs(first[key].astype(np.float64) - second[key]).max()) for key in first)
    assert far < 0.01
    ended, _ = train(folder, tmp_path / "other", "-g", name, *settings, "--seed", "1")
    other = load_generator(tmp_path / "other")._arrays()  # a control: another seed comes to something else
    assert max(float(np.abs(first[key].astype(np.float64) - other[key]).max()) for key in first) > 0.05


def test_what_cannot_be_shared_is_refused_in_a_line(folder, tmp_path):
    ended, said = train(folder, tmp_path / "model", "-g", "cgan", "--steps", "3", processes=2)
    assert ended == [1, 1]
    assert "others train in one, without torchrun" in " ".join(said[0][1].split())
    assert "Traceback" not in said[0][1]
    assert not (tmp_path / "model").exists()
