"""Builds that are killed; nothing is computed in this process, so that children of it never wait for a thread of it."""

import os
import signal
import time

import numpy as np

from ecgsynth.build import build
from ecgsynth.recipe import Quota, Recipe


def start(folder):
    """Build in a process of its own; gives its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        build(Recipe("mitdb", [Quota("N", 60), Quota("V", 40)], seed=3, splits={"train": 0.8, "test": 0.2}), folder)
        code = 0
    finally:
        os._exit(code)


def end(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_build_that_is_killed_goes_on_and_ends_with_the_same_bytes(tmp_path):
    """SIGKILL at twenty random moments."""
    begun = time.monotonic()
    assert end(start(tmp_path / "whole")) == 0
    took = time.monotonic() - begun
    wanted = contents(tmp_path / "whole")
    rng = np.random.default_rng(0)
    killed = made = 0
    while killed < 20 or not made:
        child = start(tmp_path / "killed")
        time.sleep(rng.uniform(0, took))
        os.kill(child, signal.SIGKILL)
        killed += end(child) == -signal.SIGKILL
        if (tmp_path / "killed").exists():  # never but whole
            assert contents(tmp_path / "killed") == wanted
            made += 1
            os.rename(tmp_path / "killed", tmp_path / f"made-{made}")
        assert killed + made < 200
    assert end(start(tmp_path / "killed")) == 0
    assert contents(tmp_path / "killed") == wanted
    assert not (tmp_path / "killed.part").exists()
