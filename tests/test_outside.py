"""Folders of strangers: nothing outside of them is touched, and no text of theirs is obeyed."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from reported import make_evaluation

from ecgsynth.build import build, write_checksums
from ecgsynth.cli import main
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS
from ecgsynth.parts import part_name, write_part
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.review import add_to_card
from ecgsynth.splits import Split
from ecgsynth.steps import drain
from ecgsynth.stored import seal
from ecgsynth.verify import address_of, beats_of, verify_steps

LEADS_OUT = r"is a link that leads out of .*: nothing outside of it is read"

OPENED: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if OPENED is not None and event == "socket.connect":
        OPENED.append("socket")
    if OPENED is not None and event == "open" and isinstance(arguments[0], str | bytes):
        OPENED.append(str(Path(arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]).absolute()))


sys.addaudithook(_watch)  # which can never be taken off


@contextmanager
def opened() -> Iterator[list[str]]:
    """Take note of every file that Python opens, and of any connection."""
    global OPENED
    OPENED = []
    try:
        yield OPENED
    finally:
        OPENED = None


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("strange") / "set"
    build(Recipe("mitdb", [Quota("N", 30), Quota("V", 10)], formats=["npz", "parquet"]), folder)
    return folder


@pytest.fixture
def copy(dataset, tmp_path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def test_checksums_that_lead_out_are_not_followed(copy):
    sums = (copy / "SHA256SUMS").read_text()
    for name in ("../../etc/passwd", "/etc/passwd", "npz/../../secret", "x" * 300, "x/" * 3000):
        (copy / "SHA256SUMS").write_text(f"{sums}{'0' * 64}  {name}\n")
        with opened() as files, pytest.raises(EcgsynthError, match="names a file outside of the dataset"):
            drain(verify_steps(copy, beats=0))
        assert [file for file in files if "passwd" in file or "secret" in file] == []
    (copy / "SHA256SUMS").write_text(sums)
    with opened() as files:
        assert drain(verify_steps(copy, beats=0)).problems == []
    assert str(copy / "npz" / "train.npz") in files  # the watch sees what is opened


def test_a_recipe_of_a_stranger_names_no_model_that_is_opened(copy, tmp_path):
    model = tmp_path / "secret.safetensors"
    model.write_bytes(b"secret")
    recipe = (copy / "recipe.toml").read_text()
    (copy / "recipe.toml").write_text(recipe.replace('"mitdb"', f'"{model}"'))
    write_checksums(copy)
    with opened() as files:
        found = drain(verify_steps(copy, beats=2))
        beats_of(copy)
        address_of(copy, 3)
    assert not [file for file in files if file == str(model)]
    assert found.same == 0
    assert "--model says where that is" in found.note
    (copy / "recipe.toml").write_text(recipe)
    write_checksums(copy)
    assert drain(verify_steps(copy, beats=2)).same == 2


def make_again(copy, *more):
    """Make a beat of a dataset again by the command."""
    words = ("sample", "--dataset", copy, "--index", 3, "-o", copy.parent / "one.npz", "--force", *more)
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.mark.parametrize("where", ["http://127.0.0.1:9/secret", "{folder}/own.safetensors"])
def test_a_beat_is_made_again_by_no_model_that_a_strangers_recipe_names(copy, tmp_path, split, where):
    own = str(tmp_path / "own.safetensors")
    GENERATORS["gaussian"](components=8).fit(split.train).save(own)
    named = where.format(folder=tmp_path)
    recipe = (copy / "recipe.toml").read_text()
    (copy / "recipe.toml").write_text(recipe.replace('"mitdb"', f'"{named}"'))
    write_checksums(copy)
    with opened() as files:
        result = make_again(copy)
    assert result.exit_code == 1
    assert result.stderr == f"ecgsynth: the dataset was made by {named}; --model says where that is\n"
    assert "socket" not in files
    assert own not in files
    assert make_again(copy, "--model", "mitdb").exit_code == 0
    assert "is of another model" in make_again(copy, "--model", own).stderr


def test_a_beat_is_made_again_from_files_that_are_as_they_were(copy, tmp_path):
    assert make_again(copy).exit_code == 0
    with open(copy / "recipe.toml", "a") as file:
        file.write("\n")
    assert "recipe.toml is not as it was: `ecgsynth verify" in make_again(copy).stderr
    write_checksums(copy)
    shutil.move(copy / "parquet" / "train-00000-of-00001.parquet", tmp_path / "outside")
    (copy / "parquet" / "train-00000-of-00001.parquet").symlink_to(tmp_path / "outside")
    result = make_again(copy)
    assert result.exit_code == 1
    assert "is a link that leads out of" in result.stderr


def move_out(path: Path, folder: Path) -> None:
    """Leave a link to what was moved to another folder."""
    shutil.move(path, folder / path.name)
    path.symlink_to(folder / path.name)


@pytest.mark.parametrize("name", ["split.json", "train.npz", "val", "test/beats.json", "test/part-000000.parquet"])
def test_links_that_lead_out_of_a_split_or_a_folder_of_beats_are_refused(split, tmp_path, name):
    folder = tmp_path / "split"
    split.save(folder)
    for side in ("val", "test"):
        (folder / f"{side}.npz").unlink()
        beats = getattr(split, side)
        seal(folder / side, [write_part(folder / side / part_name(0), [beats])], source=beats.source, info=beats.info)
    (tmp_path / "link").symlink_to(folder)  # the folder itself may be anywhere, and links within it lead nowhere else
    (folder / "train.npz").rename(folder / "moved")
    (folder / "train.npz").symlink_to("moved")
    assert len(Split.load(tmp_path / "link").test) == len(split.test)
    (tmp_path / "out").mkdir()
    move_out(folder / name, tmp_path / "out")
    with opened() as files, pytest.raises(EcgsynthError, match=LEADS_OUT):
        Split.load(folder)
    assert not [file for file in files if file == str(folder / name)]


@pytest.mark.parametrize("name", ["evaluation.json", "examples-real.npz", "examples-synthetic.npz", "model.safetensors", "split"])
def test_links_that_lead_out_of_an_evaluation_are_refused(split, tmp_path, name):
    folder = tmp_path / "run"
    make_evaluation().save(folder)
    split.save(folder / "split")
    GENERATORS["class-mean"]().fit(split.train).save(folder / "model.safetensors")
    command = ["report", str(folder), "--force"]
    assert CliRunner().invoke(main, command).exit_code == 0
    (tmp_path / "out").mkdir()
    move_out(folder / name, tmp_path / "out")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert f"{name} is a link that leads out of {folder}: nothing outside of it is read" in result.stderr


def test_links_that_lead_out_of_a_dataset_are_refused(copy, tmp_path):
    secret = tmp_path / "secret"
    shutil.copy(copy / "npz" / "train.npz", secret)
    (copy / "npz" / "train.npz").unlink()
    (copy / "npz" / "train.npz").symlink_to(secret)
    for read in (lambda: drain(verify_steps(copy)), lambda: beats_of(copy), lambda: add_to_card(copy, [])):
        with opened() as files, pytest.raises(EcgsynthError, match=LEADS_OUT):
            read()
        assert str(secret) not in files
    (copy / "npz" / "train.npz").unlink()
    shutil.copy(secret, copy / "npz" / "train.npz")
    card = (copy / "README.md").read_bytes()
    (copy / "README.md").unlink()
    (copy / "README.md").symlink_to(secret)
    kept = secret.read_bytes()
    with pytest.raises(EcgsynthError, match=LEADS_OUT):
        add_to_card(copy, [])
    assert secret.read_bytes() == kept
    (copy / "README.md").unlink()
    (copy / "README.md").write_bytes(card)
    add_to_card(copy, [])


def test_what_croissant_names_is_not_read(copy, tmp_path):
    known = json.loads((copy / "croissant.json").read_text())
    known["distribution"][0]["contentUrl"] = "file:///etc/passwd"
    (copy / "croissant.json").write_text(json.dumps(known))
    write_checksums(copy)
    with opened() as files:
        assert drain(verify_steps(copy, beats=2)).same == 2
    assert "/etc/passwd" not in files


def test_a_build_writes_where_it_is_told_and_nowhere_else(tmp_path):
    (tmp_path / "in").mkdir()
    recipe = Recipe("mitdb", [Quota("N", 5)], formats=["npz"], name="../../evil", description="<script>alert(1)</script>", licence="../x")
    build(recipe, tmp_path / "in" / "set")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["set"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    for bad in ({"../x": 1.0}, {"a/b": 1.0}, {"": 1.0}):
        with pytest.raises(EcgsynthError, match="splits have names of small letters"):
            replace(recipe, splits=bad)


def test_a_terminal_obeys_no_text_of_a_file(copy, monkeypatch):
    (copy / "\x1b[2J").write_text("more")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal, whose bar of progress shows names too
    with open(copy / "SHA256SUMS", "a") as file:
        file.write(f"{'0' * 64}  [/x]\n")  # which closes what was never opened
    result = CliRunner().invoke(main, ["verify", str(copy)])
    assert result.exit_code == 1
    assert result.stdout == "?[2J is not in SHA256SUMS\n[/x] is missing\n"
    monkeypatch.delenv("FORCE_COLOR")
    (copy / "SHA256SUMS").write_text(f"{'0' * 64}  /\x1b[2J{'x' * 9000}\n")
    result = CliRunner().invoke(main, ["verify", str(copy)])
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 2100
