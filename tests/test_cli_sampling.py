"""What can be asked of `ecgsynth sample`, and what is answered to the rest."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ecgsynth.beats import Beats
from ecgsynth.cli import main
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS
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
