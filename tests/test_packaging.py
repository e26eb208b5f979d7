"""What is installed: the wheel and the source archive have all that is needed, and another package can add a generator."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PLUGIN = '''
from ecgsynth.generators import Generator
from ecgsynth.generators.statistics import Gaussian


class Mine(Gaussian):
    """A generator of another package."""

    name = "mine"
'''


def python(*arguments: object, path: Path, folder: Path, **environment: str) -> str:
    """Run Python with a folder before all that is installed."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=known | {"PYTHONPATH": str(path)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True)
    return folder


def installed(wheel: Path, folder: Path) -> Path:
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target"]
    subprocess.run([sys.executable, *install, folder, wheel], check=True, capture_output=True)
    return folder


def test_the_wheel_has_the_package_and_nothing_else(built):
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    tops = {name.split("/")[0] for name in names}
    assert "ecgsynth" in tops
    assert all(top == "ecgsynth" or top.endswith(".dist-info") for top in tops)
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ecgsynth").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert ours <= set(names)
    assert "ecgsynth/py.typed" in names


def test_the_wheel_works_where_it_is_installed(built, tmp_path):
    path = installed(next(built.glob("*.whl")), tmp_path / "site")
    where = python("-c", "import ecgsynth; print(ecgsynth.__file__)", path=path, folder=tmp_path)
    assert where.startswith(str(path))
    made = python(
        "-m", "ecgsynth", "build", "--model", "mitdb", "--count", "N=5", "--format", "csv", "-o", "set", path=path, folder=tmp_path
    )
    assert "Wrote set" in made
    assert (tmp_path / "set" / "csv" / "train.csv").read_text().count("\n") == 5


def test_the_source_archive_builds_the_same_wheel(built, tmp_path):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = next(tmp_path.iterdir())
    assert (unpacked / "tests" / "test_packaging.py").is_file()
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again"], cwd=unpacked, check=True)
    one, other = (zipfile.ZipFile(next(folder.glob("*.whl"))) for folder in (built, tmp_path / "again"))
    assert {name: one.read(name) for name in one.namelist()} == {name: other.read(name) for name in other.namelist()}


def test_another_package_adds_a_generator_and_a_broken_one_stops_nothing(tmp_path):
    (tmp_path / "plugged.py").write_text(PLUGIN)
    metadata = tmp_path / "plugged-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    entries = "mine = plugged:Mine\nbroken = plugged:Nothing\nflow = plugged:Mine\n"
    (metadata / "entry_points.txt").write_text(f"[ecgsynth.generators]\n{entries}")
    code = (
        "import plugged\n"  # before ecgsynth, which its own import begins
        "import ecgsynth as es\n"
        "beats = es.extract_beats(es.simulate_records(n_patients=3, minutes=1), source='simulated')\n"
        "es.GENERATORS['mine']().fit(beats).save('mine.safetensors')\n"
        "print(es.load_generator('mine.safetensors').sample({'N': 3}).source, es.GENERATORS['flow'].__name__)\n"
        "try:\n"
        "    es.GENERATORS['broken']()\n"
        "except es.EcgsynthError as error:\n"
        "    print(error)\n"
    )
    said = python("-c", code, path=tmp_path, folder=tmp_path)
    assert "mine Flow" in said
    assert "the generator broken of plugged:Nothing cannot be loaded" in said
    listed = python("-m", "ecgsynth", "train", "--list", path=tmp_path, folder=tmp_path)
    assert "\nmine " in listed
    assert "note: the generator broken of plugged:Nothing cannot be loaded" in listed
