from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgsynth.errors import EcgsynthError
from ecgsynth.recipe import Quota, Recipe, load_recipe, read_recipe

TEXT = """
model = "mitdb"
seed = 4
formats = ["parquet", "csv"]
[counts]
N = 50
S = 20
[splits]
train = 0.75
test = 0.25
[[quotas]]
label = "S"
count = 10
lead = "V5"
rr_before = [0.3, 0.5]
"""


def test_a_recipe_is_read(tmp_path):
    (tmp_path / "recipe.toml").write_text(TEXT)
    recipe = load_recipe(tmp_path / "recipe.toml")
    assert list(recipe.quotas) == [Quota("N", 50), Quota("S", 20), Quota("S", 10, lead="V5", rr_before=(0.3, 0.5))]
    assert (recipe.model, recipe.seed, list(recipe.formats), recipe.gate) == ("mitdb", 4, ["parquet", "csv"], "drop")
    assert recipe.splits == {"train": 0.75, "test": 0.25}


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" "), min_size=1, max_size=12).filter(
    str.strip
)


@given(name=WORDS, description=WORDS, seed=st.integers(0, 2**32 - 1), counts=st.lists(st.integers(1, 10**8), min_size=1, max_size=3))
def test_a_recipe_written_out_is_the_same(name, description, seed, counts, tmp_path_factory):
    quotas = [Quota("N", count, rr_after=(0.5, 1.25)) for count in counts]
    recipe = Recipe("mitdb", quotas, seed=seed, name=name, description=description, splits={"train": 0.9, "val": 0.1})
    path = tmp_path_factory.mktemp("recipes") / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(path).to_dict() == recipe.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modle": "mitdb"}, "unknown setting modle; known: counts"),
        ({"counts": {}}, "at least one beat"),
        ({"counts": {"N": 2.5}}, "a label and a whole number"),
        ({"counts": {"N": -1}}, "no negative number"),
        ({"counts": {"N": 10**11}}, "at most 1,000,000,000 beats in all"),
        ({"quotas": [{"label": "N", "count": 10**9 - 4}]}, "at most 1,000,000,000 beats in all"),
        ({"quotas": [{"label": "N", "count": 1}] * 1000}, "at most 1,000 quotas and 20 splits"),
        ({"splits": {f"s{number}": 1 / 21 for number in range(21)}}, "at most 1,000 quotas and 20 splits"),
        ({"counts": 3}, "a quota cannot be read"),
        ({"quotas": [{"label": "N"}]}, "a quota cannot be read"),
        ({"quotas": [{"label": "N", "count": 3, "leed": "V5"}]}, "a quota cannot be read"),
        ({"quotas": [{"label": "N", "count": 3, "rr_before": [0.5]}]}, "a quota cannot be read"),
        ({"quotas": [{"label": "N", "count": 3, "rr_before": [0.9, 0.5]}]}, "the smaller first"),
        ({"formats": ["hdf5"]}, "some of wfdb, parquet, csv, npz"),
        ({"formats": []}, "some of wfdb"),
        ({"formats": "csv"}, "formats cannot be 'csv'"),
        ({"gate": "maybe"}, "gate is one of drop, mark, none"),
        ({"seed": -1}, "numbered from 0"),
        ({"seed": 2**32}, "below 4,294,967,296"),
        ({"name": "a\x7fb"}, "cannot be printed"),
        ({"name": "x\nlicense: mit"}, "cannot be printed"),
        ({"name": " "}, "not empty"),
        ({"formats": [["csv"]]}, "some of wfdb"),
        ({"splits": {"train": "all"}}, "shares above 0"),
        ({"quotas": [{"label": "N", "count": 3, "rr_before": [0.5, float("inf")]}]}, "neither of them infinite"),
        ({"quotas": [{"label": "N", "count": 3, "rr_before": 0}]}, "a quota cannot be read"),
        ({"quotas": [{"label": "N", "count": 3, "lead": ""}]}, "leave it out for any"),
        ({"seed": "1"}, "seed cannot be '1'"),
        ({"splits": {"train": 0.5}}, "add up to 0.5, not to 1"),
        ({"splits": {"../up": 1.0}}, "small letters"),
        ({"splits": {"train": 1.5, "test": -0.5}}, "shares above 0"),
        ({"most_rejected": 1}, "most_rejected"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(EcgsynthError, match=message):
        read_recipe({"model": "mitdb", "counts": {"N": 5}} | change)


def test_files_that_are_no_recipes(tmp_path):
    with pytest.raises(EcgsynthError, match="no recipe at"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("model = ")
    with pytest.raises(EcgsynthError, match="is no recipe"):
        load_recipe(tmp_path / "broken.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(EcgsynthError, match="which model"):
        load_recipe(tmp_path / "empty.toml")


def test_a_date_of_toml_is_a_date(tmp_path):
    (tmp_path / "recipe.toml").write_text('model = "mitdb"\ndate = 2026-01-31\n[counts]\nN = 5\n')
    assert load_recipe(tmp_path / "recipe.toml").date == "2026-01-31"


def test_recipes_tell_apart():
    recipe = Recipe("mitdb", [Quota("N", 5)])
    assert recipe.to_dict() != replace(recipe, seed=1).to_dict()
