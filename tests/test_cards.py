"""What is said of a dataset, for people and for machines."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ecgsynth.build import build
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.cli import main
from ecgsynth.errors import EcgsynthError
from ecgsynth.evaluation import evaluate
from ecgsynth.generators import GENERATORS, class_counts
from ecgsynth.recipe import Quota, Recipe, load_recipe
from ecgsynth.source import Source


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "set"
    quotas = [Quota("N", 60), Quota("V", 30)]
    build(Recipe("mitdb", quotas, splits={"train": 0.5, "test": 0.5}, name="Some beats", date="2026-01-31"), folder)
    return folder


def refuse_ragged_tables(card: str) -> None:
    """Each row of a table has as many cells as its head, and a rule stands below that."""
    tables = re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE)
    assert tables
    for table in tables:
        rows = table.strip().split("\n")
        assert set(rows[1]) <= {"|", "-"}
        assert len({row.rstrip().count("|") for row in rows}) == 1, table


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.removeprefix("---\n").partition("\n---\n")[0])


def test_the_card_counts_what_is_there(dataset):
    card = (dataset / "README.md").read_text()
    assert "| train | 30 | 15 | 45 |" in card
    assert "| test | 30 | 15 | 45 |" in card
    assert "doi:10.13026/C2F305" in card
    assert "Not for diagnosis" in card
    assert (dataset / "MODEL.md").read_text().startswith("# mitdb")
    assert front_matter(card)["configs"][0]["data_files"][0] == {"split": "train", "path": "parquet/train-*.parquet"}
    assert "\n# Some beats\n" in card
    refuse_ragged_tables(card)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the validator's own libraries
def test_croissant_is_valid_and_gives_the_rows(dataset):
    import mlcroissant

    described = mlcroissant.Dataset(jsonld=dataset / "croissant.json")
    assert not described.metadata.issues.errors
    assert not described.metadata.issues.warnings
    rows = list(described.records("train"))
    assert len(rows) == 45
    assert len(rows[0]["train/signal"]) == 256
    assert {row["train/class"] for row in rows} == {b"N", b"V"}
    listed = {entry["@id"]: entry for entry in json.loads((dataset / "croissant.json").read_text())["distribution"]}
    sums = dict(reversed(line.split("  ")) for line in (dataset / "SHA256SUMS").read_text().splitlines())
    assert listed["npz/train.npz"]["sha256"] == sums["npz/train.npz"]


def test_a_build_shows_what_an_evaluation_of_its_model_found(split, tmp_path):
    model = GENERATORS["gaussian"]().fit(split.train)
    model.save(tmp_path / "model.safetensors")
    classifier = BeatClassifier(steps=20)
    judged = {"train": split.train, "test": split.test, "val": split.val, "classifiers": ("cnn",), "families": ("privacy",)}
    made = model.sample(class_counts(split.train, total=400))
    evaluate(synthetic=made, classifier=classifier, seeds=(0,), **judged).save(tmp_path / "run")
    recipe = Recipe(str(tmp_path / "model.safetensors"), [Quota("N", 20)], gate="none", run=str(tmp_path / "run"), formats=["csv"])
    assert Source.of(recipe).notes == []
    assert "nothing says what this model gives away" in Source.of(replace(recipe, run="")).notes[0]
    assert Source.of(Recipe("mitdb", [Quota("N", 5)])).notes == []
    build(recipe, tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    assert "| utility | synthetic | fresh real beats | copies |" in card
    assert "macro-F1 of TSTR, cnn" in card
    assert "default policy of `ecgsynth audit`" in card
    assert "No gate was asked" in card
    refuse_ragged_tables(card)
    assert "The model" in (tmp_path / "set" / "MODEL.md").read_text()
    GENERATORS["gaussian"]().fit(split.val).save(tmp_path / "other.safetensors")
    other = Recipe(str(tmp_path / "other.safetensors"), [Quota("N", 20)], gate="none", run=str(tmp_path / "run"))
    with pytest.raises(EcgsynthError, match="beats of another model"):
        build(other, tmp_path / "set2")


def test_others_read_the_dataset(dataset):
    """Pandas, polars, DuckDB, Hugging Face datasets and wfdb, each in a line."""
    import datasets
    import duckdb
    import pandas as pd
    import polars as pl
    import wfdb

    frame = pd.read_parquet(dataset / "parquet")
    assert frame.groupby("class").size().to_dict() == {"N": 60, "V": 30}
    assert len(frame["signal"][0]) == 256
    table = pl.read_parquet(str(dataset / "parquet" / "*.parquet"))
    assert dict(table.group_by("class").len().iter_rows()) == {"N": 60, "V": 30}
    assert table.schema["signal"] == pl.Array(pl.Float32, 256)
    counted = duckdb.sql(f"select class, count(*) from '{dataset}/parquet/*.parquet' group by class").fetchall()
    assert dict(counted) == {"N": 60, "V": 30}
    loaded = datasets.load_dataset(str(dataset), cache_dir=str(dataset.parent / "cache"))
    assert {name: len(part) for name, part in loaded.items()} == {"train": 45, "test": 45}
    assert len(loaded["train"][0]["signal"]) == 256
    names = (dataset / "wfdb" / "RECORDS").read_text().split()
    total = 0
    for name in names:
        record, annotation = wfdb.rdrecord(str(dataset / "wfdb" / name)), wfdb.rdann(str(dataset / "wfdb" / name), "atr")
        assert record.sig_name == [record.sig_name[0]]
        assert record.units == ["mV"]
        assert set(annotation.symbol) <= {"N", "V"}
        total += len(annotation.sample)
    assert total == 90


@pytest.mark.parametrize("name", ["Beats: part 2", "[a", "# hash", "null", "a 'b' \"c\"", "<b>"])
def test_any_name_is_a_name_to_readers_of_the_card(name, tmp_path):
    recipe = Recipe("mitdb-gan", [Quota("N", 3)], formats=["parquet"], name=name, licence="Other: see text", splits={"no": 1.0})
    build(recipe, tmp_path / "set")
    found = front_matter((tmp_path / "set" / "README.md").read_text())
    assert (found["pretty_name"], found["license"]) == (name, "other: see text")
    assert found["configs"][0]["data_files"][0]["split"] == "no"
    assert json.loads((tmp_path / "set" / "croissant.json").read_text())["license"] == "Other: see text"


def test_a_label_in_several_quotas_is_counted_together(tmp_path):
    build(Recipe("mitdb-gan", [Quota("N", 5), Quota("S", 3), Quota("N", 4, rr_before=(0.5, 1.5))], formats=["csv"]), tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    assert "| train | 9 | 3 | 12 |" in card
    assert "12 synthetic ECG heartbeats" in card
    assert "N 9, S 3" in json.loads((tmp_path / "set" / "croissant.json").read_text())["description"]


def test_a_model_of_ones_own_is_not_taken_for_the_one_that_comes_along(split, gate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    GENERATORS["gaussian"]().fit(split.train).save("mitdb")
    gate.save("gate.safetensors")
    build(Recipe("mitdb", [Quota("N", 5)], gate_file="gate.safetensors", most_rejected=0.99, formats=["csv"]), "set")
    card = Path("set/README.md").read_text()
    assert "learnt from records that are public" not in card
    assert "PhysioNet" not in card
    assert "MIT-BIH" not in card
    assert "gaussian" in Path("set/MODEL.md").read_text()
    assert "from the beats that the model learnt from" in card
    GENERATORS["gaussian"]().fit(split.val).save("other")
    build(Recipe("other", [Quota("N", 5)], gate_file="gate.safetensors", most_rejected=0.99, formats=["csv"]), "set2")
    assert "from other real beats than those that the model learnt from" in Path("set2/README.md").read_text()


def test_a_licence_is_given_by_whom_the_beats_are(split, tmp_path, dataset):
    """The models that come along are ours to give; a model of somebody's own beats is not."""
    assert Source.of(Recipe("mitdb", [Quota("N", 5)])).recipe.licence == "CC-BY-4.0"
    assert Source.of(Recipe("mitdb", [Quota("N", 5)], licence="MIT")).recipe.licence == "MIT"
    assert front_matter((dataset / "README.md").read_text())["license"] == "cc-by-4.0"
    GENERATORS["gaussian"]().fit(split.train).save(tmp_path / "own.safetensors")
    asked = ["build", "--model", str(tmp_path / "own.safetensors"), "--count", "N=5", "--no-gate", "--format", "csv", "-o"]
    said = CliRunner().invoke(main, [*asked, str(tmp_path / "none")])
    assert said.exit_code == 0, said.output
    assert "note: no licence is given yet: `licence` in the recipe, or --licence" in said.stderr.splitlines()
    card, machines = ((tmp_path / "none" / name).read_text() for name in ("README.md", "croissant.json"))
    assert "CC-BY" not in card + machines
    assert front_matter(card)["license"] == "unknown"
    assert "This dataset: no licence is given yet." in card
    assert json.loads(machines)["license"] == "no licence is given yet"
    assert load_recipe(tmp_path / "none" / "recipe.toml").licence == ""
    said = CliRunner().invoke(main, [*asked, str(tmp_path / "given"), "--licence", "CC-BY-4.0"])
    assert said.exit_code == 0, said.output
    assert "no licence" not in said.stderr
    assert front_matter((tmp_path / "given" / "README.md").read_text())["license"] == "cc-by-4.0"


def test_the_cards_of_beats_that_were_learnt_from_nobody_say_so(split, gate, tmp_path):
    model = GENERATORS["ecgsyn"]().fit(split.train)
    model.save(tmp_path / "model.safetensors")
    gate.save(tmp_path / "gate.safetensors")
    recipe = Recipe(str(tmp_path / "model.safetensors"), [Quota("N", 5)], gate="none", formats=["csv"])
    assert Source.of(recipe).notes == []
    build(recipe, tmp_path / "set")
    cards = [(tmp_path / "set" / name).read_text() for name in ("README.md", "MODEL.md")]
    assert all("learnt from nobody" in card and "A model learnt from people" not in card for card in cards)
    assert "| Learnt | N, S, V, F, Q |" in cards[1]
    asked = replace(recipe, gate="mark", gate_file=str(tmp_path / "gate.safetensors"))
    assert Source.of(asked).notes == ["the gate saw real beats, of which the model knows none"]
    build(asked, tmp_path / "gated")
    written = "".join(path.read_text() for path in (tmp_path / "gated").glob("*.*") if path.suffix != ".toml")
    assert "But the gate saw real beats" in written
    assert split.train.digest() not in written
    assert "least likelihood" not in written
    GENERATORS["gaussian"]().fit(split.train).save(tmp_path / "gaussian.safetensors")  # a control
    build(replace(recipe, model=str(tmp_path / "gaussian.safetensors")), tmp_path / "learnt")
    assert all("A model learnt from people" in (tmp_path / "learnt" / name).read_text() for name in ("README.md", "MODEL.md"))


def test_what_a_private_model_does_not_tell_its_dataset_does_not_tell(split, gate, tmp_path):
    model = GENERATORS["gaussian"]().fit(split.train)
    said = {"epsilon": 7.98, "delta": 1e-5, "unit": "beat", "sampling_rate": 0.04, "noise": 1.31, "steps": 300}
    said |= {"accountant": "opacus PRV", "beforehand": "nothing of the beats"}
    model.shape_ |= {"privacy": said, "data_sha256": ""}
    model.save(tmp_path / "private.safetensors")
    gate.save(tmp_path / "gate.safetensors")
    files = {"model": str(tmp_path / "private.safetensors"), "gate_file": str(tmp_path / "gate.safetensors")}
    recipe = Recipe(quotas=[Quota("N", 5)], most_rejected=0.99, formats=["csv"], **files)
    assert Source.of(recipe).notes == ["what the model promises does not cover the gate, which saw real beats without noise"]
    assert Source.of(replace(recipe, gate="none")).notes == []
    build(recipe, tmp_path / "set")
    written = "".join(path.read_text() for path in (tmp_path / "set").glob("*.*") if path.suffix != ".toml")
    assert split.train.digest() not in written
    assert "least likelihood" not in written
    assert "does not cover the gate" in written
    promise = next(line for line in (tmp_path / "set" / "MODEL.md").read_text().splitlines() if "Differential privacy" in line)
    assert all(f"{name} {value}" in promise for name, value in said.items())
