"""The commands that make datasets and check them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ecgsynth.beats import Beats
from ecgsynth.cli import main
from ecgsynth.gate import Gate
from ecgsynth.generators import GENERATORS


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    (folder / "recipe.toml").write_text('model = "mitdb"\nformats = ["parquet", "csv"]\n[counts]\nN = 30\nV = 10\n')
    result = run("build", folder / "recipe.toml", "-o", folder / "set", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"] == {"N": 30, "V": 10}
    return folder / "set"


def test_a_dataset_is_verified_and_its_beats_are_made_again(dataset, tmp_path):
    result = run("verify", dataset)
    assert result.exit_code == 0
    assert "files are as they were" in result.stdout
    assert "20 beats made again are the same" in result.stdout
    again = run("build", dataset.parent / "recipe.toml", "-o", dataset)
    assert again.exit_code == 0
    assert "is there already" in again.stdout
    result = run("sample", "--dataset", dataset, "--index", 7, "-o", tmp_path / "beat.npz", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    made = Beats.load(tmp_path / "beat.npz")
    assert (len(made), made.classes[0], made.samples[0]) == (1, told["label"], told["number"])
    again = run("sample", "--model", "mitdb", "--count", f"{told['label']}=1", "--first", told["number"], "-o", tmp_path / "same.npz")
    assert again.exit_code == 0
    assert (Beats.load(tmp_path / "same.npz").signals == made.signals).all()


def test_a_changed_dataset_is_told_by_the_exit_code(dataset, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    with open(copy / "csv" / "train.csv", "a") as file:
        file.write("\n")
    result = run("verify", copy)
    assert result.exit_code == 1
    assert result.stdout == "csv/train.csv is not as it was\n"
    assert not json.loads(run("verify", copy, "--json").stdout)["holds"]


def test_options_make_what_the_recipe_of_the_same_words_makes(dataset, tmp_path):
    options = ("--model", "mitdb", "--count", "N=30", "--count", "V=10", "--format", "parquet", "--format", "csv")
    assert run("build", *options, "-o", tmp_path / "set").exit_code == 0
    assert (tmp_path / "set" / "SHA256SUMS").read_text() == (dataset / "SHA256SUMS").read_text()
    more = ("--split", "train=0.5", "--split", "val=0.5", "--lead", "V5", "--rr-before", "0.6,1.2", "--seed", 2, "--mark", "--name", "few")
    assert run("build", "--model", "mitdb", "--count", "N=10", *more, "--format", "npz", "-o", tmp_path / "few").exit_code == 0
    half = Beats.load(tmp_path / "few" / "npz" / "val.npz")
    assert (len(half), set(half.leads)) == (5, {"V5"})
    assert ((half.rr_before > 0.6) & (half.rr_before < 1.2)).all()


def test_a_gate_is_learnt_and_asked(split, tmp_path):
    split.save(tmp_path / "split")
    GENERATORS["gaussian"]().fit(split.train).save(tmp_path / "model.safetensors")
    result = run("gate", tmp_path / "split", "-o", tmp_path / "gate.safetensors", "--steps", 100)
    assert result.exit_code == 0, result.output
    assert "% of the test side pass" in result.stdout
    assert Gate.load(tmp_path / "gate.safetensors").data_sha256 == split.train.digest()
    building = ("build", "--model", tmp_path / "model.safetensors", "--count", "N=20", "--format", "csv", "-o", tmp_path / "set")
    without = run(*building)
    assert without.exit_code == 1
    assert "`ecgsynth gate SPLIT" in without.stderr
    assert run(*building, "--gate", tmp_path / "gate.safetensors").exit_code == 0
    assert run(*building[:-1], tmp_path / "ungated", "--no-gate").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "-o", "set"), "give a recipe, or say by options"),
        (("build", "recipe.toml", "--model", "mitdb", "-o", "set"), "give a recipe, or say by options"),
        (("build", "recipe.toml", "-o", "set"), "no recipe at recipe.toml"),
        (("build", "--model", "mitdb", "--count", "N", "-o", "set"), "write NAME=NUMBER"),
        (("build", "--model", "mitdb", "--count", "N=many", "-o", "set"), "is no number of beats"),
        (("build", "--model", "mitdb", "--count", "N=5", "--rr-before", "1", "-o", "set"), "a quota cannot be read"),
        (("build", "--model", "mitdb", "--count", "N=5", "--mark", "--no-gate", "-o", "set"), "does not go together"),
        (("build", "--model", "mitdb", "--count", "N=5", "--gate", "some", "--no-gate", "-o", "set"), "does not go together"),
        (("build", "--model", "mitdb", "--count", "N=2.7", "-o", "set"), "is no number of beats"),
        (("build", "recipe.toml", "--seed", "0", "-o", "set"), "give a recipe, or say by options"),
        (("sample", "--dataset", "set", "--index", "3", "--count", "N=5", "-o", "beat.npz"), "leave out --count"),
        (("build", "--count", "N=5", "-o", "set"), "which model"),
        (("verify", "nothing"), "no dataset in nothing"),
        (("sample", "--index", "3", "-o", "beat.npz"), "--dataset and --index go together"),
        (("gate", "nothing", "-o", "gate.safetensors"), "no split in nothing"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code not in (0, None)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())
