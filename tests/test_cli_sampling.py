"""What can be asked of `ecgsynth sample`, and what is answered to the rest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ecgsynth.beats import Beats
from ecgsynth.cli import main
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, class_counts
from ecgsynth.stored import StoredBeats


def sample(*arguments: object, ok: bool = True) -> Result:
    result = CliRunner().invoke(main, ["sample", *map(str, arguments)])
    assert (result.exit_code == 0) == ok, result.output
    return result


@pytest.fixture(scope="module")
def model(split, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "gaussian.safetensors"
    GENERATORS["gaussian"]().fit(split.train).save(path)
    return path


def test_no_more_are_made_at_a_time_than_can_be_numbered(split, model, tmp_path, monkeypatch):
    monkeypatch.setattr("ecgsynth.generators.requests.MOST_BEATS", 30)
    generator = GENERATORS["gaussian"]().fit(split.train)
    assert len(generator.sample({"N": 20, "V": 10})) == 30
    with pytest.raises(EcgsynthError, match=r"at most 30 beats at a time: .* \(--first\)"):
        generator.sample({"N": 20, "V": 11})
    for output in ("beats.npz", "beats"):
        assert "at most 30 beats" in sample(model, "--count", "N=31", "-o", tmp_path / output, ok=False).stderr
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_is_too_small_for_goes_into_a_folder(model, tmp_path, monkeypatch):
    monkeypatch.setattr("ecgsynth.cli.sampling._MOST_BYTES", 50 * 259 * 4)  # 256 samples, and three RR intervals
    asked = (model, "--count", "N=40", "--count", "V=11")
    refused = sample(*asked, "-o", tmp_path / "beats.npz", ok=False).stderr
    assert f"name a folder (-o {tmp_path / 'beats'}/)" in refused
    assert list(tmp_path.iterdir()) == []
    sample(*asked[:-1], "V=10", "-o", tmp_path / "beats.npz")
    assert len(Beats.load(tmp_path / "beats.npz")) == 50
    sample(*asked, "-o", tmp_path / "beats")
    assert len(StoredBeats.open(tmp_path / "beats")) == 51


def test_labels_of_a_file_that_the_model_has_not_learnt_are_left_out_and_named(split, tmp_path):
    by_lead = np.where((split.train.classes == "N") | (np.arange(len(split.train)) % 2 == 0), "MLII", "V5")
    train = replace(split.train, leads=np.where(split.train.classes == "S", "V5", by_lead))
    train.save(tmp_path / "train.npz")
    counts = train.counts()
    learnt = {label: count for label, count in counts.items() if label != "Q"}
    model = GENERATORS["gaussian"]().fit(train.take(train.classes != "Q"))
    model.save(tmp_path / "model.safetensors")
    asking = (tmp_path / "model.safetensors", "-o", tmp_path / "beats.npz", "--force")
    said = sample(*asking, "--like", tmp_path / "train.npz").stderr
    assert said == f"note: class Q ({counts['Q']:,}) left out: this model has not learnt it\n"
    assert Beats.load(tmp_path / "beats.npz").counts() == learnt
    assert "class Q" in sample(*asking, "--balance", tmp_path / "train.npz", "--total", 40).stderr
    assert Beats.load(tmp_path / "beats.npz").counts() == dict.fromkeys("NSVF", 10)
    said = sample(*asking, "--like", tmp_path / "train.npz", "--lead", "MLII").stderr
    assert f"S ({counts['S']:,}), Q ({counts['Q']:,}) left out: this model has not learnt it of lead MLII" in said
    assert "S" not in Beats.load(tmp_path / "beats.npz").counts()
    train.take(train.classes == "Q").save(tmp_path / "strange.npz")
    refused = "unknown class Q; this model has learnt N, S, V, F: leave others out"
    assert refused in sample(*asking, "--like", tmp_path / "strange.npz", ok=False).stderr
    assert refused in sample(*asking, "--count", "Q=1", ok=False).stderr
    assert "unknown lead X" in sample(*asking, "--like", tmp_path / "train.npz", "--lead", "X", ok=False).stderr
    with pytest.raises(EcgsynthError, match=refused):
        model.sample(class_counts(train))
