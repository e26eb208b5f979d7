"""Tests that fork have a process of their own: a child of one whose threads have computed may wait for these for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ALONE = Path(__file__).parent / "alone"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(path.stem for path in ALONE.glob("*.py")))
def test_alone(name):
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", str(ALONE / f"{name}.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=ALONE.parent.parent)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
