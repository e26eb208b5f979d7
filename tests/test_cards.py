"""What is said of a dataset, for people and for machines."""

import json
from pathlib import Path

import pytest

from ecgsynth.build import build
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.errors import EcgsynthError
from ecgsynth.evaluation import evaluate
from ecgsynth.generators import GENERATORS, class_counts
from ecgsynth.recipe import Quota, Recipe


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "set"
    quotas = [Quota("N", 60), Quota("V", 30)]
    build(Recipe("mitdb", quotas, splits={"train": 0.5, "test": 0.5}, name="Some beats", date="2026-01-31"), folder)
    return folder


def test_the_card_counts_what_is_there(dataset):
    card = (dataset / "README.md").read_text()
    assert "| train | 30 | 15 | 45 |" in card
    assert "| test | 30 | 15 | 45 |" in card
    assert "doi:10.13026/C2F305" in card
    assert "Not for diagnosis" in card
    assert (dataset / "MODEL.md").read_text().startswith("# mitdb")
    head, _, rest = card.removeprefix("---\n").partition("\n---\n")
    assert "path: parquet/train-*.parquet" in head
    assert rest.strip().startswith("# Some beats")
    tables = [line for line in card.splitlines() if line.startswith("|")]
    widths = {line.count("|") for line in tables}
    assert widths <= {5, 4, 10, 9, 8, 7, 6}  # no row of a table runs into another


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
    build(recipe, tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    assert "| utility | synthetic | fresh real beats | copies |" in card
    assert "macro-F1 of TSTR, cnn" in card
    assert "default policy of `ecgsynth audit`" in card
    assert "No gate was asked" in card
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
