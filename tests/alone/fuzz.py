"""Spoilt files of every kind give a result or one clear error; and the harness that says so finds what it should."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgsynth.errors import EcgsynthError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by what Linux tells of it"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.timeout(280)
def test_nothing_is_found_in_a_part_of_the_mutations():
    """The script itself, with another seed than it has by default."""
    command = [sys.executable, SCRIPTS / "fuzz.py", "--mutations", "300", "--seed", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[1:17]]
    assert "nothing found in " in result.stdout
    assert len(rows) == 16
    assert sum(int(row[2]) for row in rows) > 30  # not all is refused
    assert sum(int(row[3]) for row in rows) > 100


@pytest.fixture
def harness(monkeypatch, tmp_path):
    """The harness, and a target of one file of a hundred bytes beside a file that nobody may open."""
    monkeypatch.syspath_prepend(SCRIPTS)
    from shared import fuzzing
    from shared.mutations import of_bytes

    (tmp_path / "inputs").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "inputs" / "file").write_bytes(bytes(range(100)))
    (tmp_path / "outside" / "bait").write_bytes(b"secret")
    monkeypatch.setattr(fuzzing, "SECONDS", 0.3)
    monkeypatch.setattr(fuzzing, "_SILENT", 10)

    def attack(read, mutations=4):
        target = fuzzing.Target(tmp_path / "inputs", {"file": of_bytes}, lambda folder, names: read((folder / "file").read_bytes()))
        found = fuzzing.attack(target, mutations, [0], tmp_path / "outside")
        assert (tmp_path / "inputs" / "file").read_bytes() == bytes(range(100))
        return found

    return attack


def sound(data: bytes) -> bool:
    return data == bytes(range(100))


def refuse(data: bytes) -> None:
    if not sound(data):
        raise EcgsynthError("it is not as it was")


def test_clear_errors_and_results_are_no_findings(harness):
    assert harness(refuse).outcomes == {"error": 4}
    assert harness(len).outcomes == {"result": 4}


def wait(data: bytes) -> None:
    if not sound(data):
        try:
            time.sleep(20)
        except Exception as error:
            raise EcgsynthError("waited") from error


def spin(data: bytes) -> None:
    while not sound(data):
        pass


def die(data: bytes) -> None:
    if not sound(data):
        os._exit(139)


def want_memory(data: bytes) -> None:
    if not sound(data):
        try:
            np.empty(1 << 32, dtype=np.uint8)
        except MemoryError as error:
            raise EcgsynthError("cannot be read") from error


def look_outside(data: bytes) -> None:
    if not sound(data):
        for place in Path("/tmp").glob("pytest-of-*/pytest-*/*/outside/bait"):
            place.read_bytes()
        Path("/etc/passwd").read_bytes()


def start(data: bytes) -> None:
    if not sound(data):
        subprocess.run(["true"], check=False)


def stumble(data: bytes) -> None:
    if not sound(data):
        raise KeyError("what")


def say_nothing(data: bytes) -> None:
    if not sound(data):
        raise EcgsynthError(" ")


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (wait, "takes more than 0.3 s"),
        (spin, "takes more than 0.3 s"),
        (die, "the process ends with 139"),
        (want_memory, "asks for more than 1024 MiB"),
        (look_outside, "trespasses: opens"),
        (start, "trespasses: subprocess.Popen"),
        (stumble, "KeyError: 'what'"),
        (say_nothing, "an error without words"),
    ],
)
def test_whatever_else_comes_is_found(harness, read, words):
    found = harness(read)
    assert len(found.findings) == 4
    assert all(words in finding for finding in found.findings)


def test_what_a_library_opens_unseen_by_python_is_found(harness, tmp_path):
    import pyarrow
    from shared.fuzzing import reading_shows

    bait = tmp_path / "outside" / "bait"
    if not reading_shows(bait.parent):
        pytest.skip("this file system keeps no access times")

    def read(data: bytes) -> None:
        if not sound(data):
            pyarrow.OSFile(str(bait)).read()

    found = harness(read)
    assert len(found.findings) == 4
    assert all("trespasses: reads bait" in finding for finding in found.findings)
    assert not harness(len).findings


def test_files_of_a_sealed_folder_become_links_that_may_not_be_followed(harness, tmp_path):
    from shared import fuzzing

    def refuse_links(folder: Path, names: list[str]) -> None:
        if (folder / "file").is_symlink():
            raise EcgsynthError("it leads out")

    sealed = fuzzing.Target(tmp_path / "inputs", {"file": lambda data, rng: data}, refuse_links, sealed=True)
    assert 0 < fuzzing.attack(sealed, 60, [0], tmp_path / "outside").outcomes["error"] < 20
    follows = replace(sealed, read=lambda folder, names: (folder / "file").read_bytes())
    found = fuzzing.attack(follows, 60, [0], tmp_path / "outside").findings
    assert found
    assert all("trespasses: opens" in finding for finding in found)
    assert (tmp_path / "inputs" / "file").read_bytes() == bytes(range(100))
    assert not (tmp_path / "inputs" / "file").is_symlink()
    assert (tmp_path / "outside" / "bait").read_bytes() == b"secret"


def test_the_same_seed_spoils_alike(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    from shared.mutations import of_bytes, of_json, of_text

    data = b'{"a": [1, 2, "three"], "b": {"c": null}}'
    for how in (of_bytes, of_text, of_json):
        first, second = ([how(data, np.random.default_rng([seed, n])) for n in range(50)] for seed in (3, 4))
        assert first == [how(data, np.random.default_rng([3, n])) for n in range(50)]
        assert first != second
        assert len(set(first)) > 20
