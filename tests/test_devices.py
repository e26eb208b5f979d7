"""Training on a graphics card: what is learnt there is what the processor learns, but for rounding."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ecgsynth.cli import main
from ecgsynth.devices import CPU, find_device
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, load_generator, settings_of

needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card that torch can use")
needs_none = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics card")

TAKERS = [name for name, make in GENERATORS.items() if getattr(make, "func", make).takes_cards]
SMALL = {"batch": 64, "precision": "float32", "hidden": 32, "depth": 1, "width": 8, "critic_width": 8, "mode_size": 100}


@pytest.fixture
def two_cards(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_the_processor_is_always_there():
    assert find_device("cpu") == CPU


def test_each_process_takes_a_card_of_its_own(two_cards, monkeypatch):
    assert find_device("cuda") == find_device("auto") == torch.device("cuda", 0)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_device("cuda") == torch.device("cuda", 1)
    assert find_device("cuda:0") == torch.device("cuda", 0)  # what is named is taken
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert find_device("cuda") == torch.device("cuda", 0)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda1", "cuda:1:2", "CUDA"])
def test_other_names_are_refused(two_cards, name):
    with pytest.raises(EcgsynthError, match="known: cpu, cuda"):
        find_device(name)


def test_a_card_that_is_not_there_is_refused(two_cards):
    with pytest.raises(EcgsynthError, match="2 graphics cards, counted from 0"):
        find_device("cuda:2")


@needs_none
def test_without_a_card_the_processor_trains_and_a_card_is_refused_in_a_line(split, tmp_path):
    assert find_device("auto") == CPU
    split.save(tmp_path / "split")
    command = ["train", str(tmp_path / "split"), "-o", str(tmp_path / "model.safetensors"), "--steps", "2", "--set", "hidden=8"]
    result = CliRunner().invoke(main, [*command, "--device", "cuda"])
    assert result.exit_code == 1
    assert "no graphics card that this torch can use" in " ".join(result.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["split"]


@pytest.mark.parametrize("name", ["smote", "dp-flow", "class-mean"])
def test_generators_that_take_no_card_say_so(two_cards, split, name):
    assert name not in TAKERS
    with pytest.raises(EcgsynthError, match="not trained on a graphics card"):
        GENERATORS[name]().fit(split.train, device="cuda")


def learn(name, split, device, steps=8, **settings):
    """Train a little; gives the generator and its losses."""
    small = {key: value for key, value in SMALL.items() if key in settings_of(name)}
    generator = GENERATORS[name](**{**small, "steps": steps, **settings})
    return generator, [step.generator_loss for step in generator.fit_steps(split.train, device=device)]


@needs_card
@pytest.mark.parametrize("name", TAKERS)
def test_a_card_learns_what_the_processor_learns(name, split, tmp_path):
    _, here = learn(name, split, "cpu")
    generator, there = learn(name, split, "cuda")
    _, other = learn(name, split, "cpu", seed=1)
    assert len(here) == len(there) == 8
    apart, scale = np.abs(np.subtract(here, there)).max(), np.abs(here).max()
    assert apart < 0.01 * scale
    assert np.abs(np.subtract(here, other)).max() > 3 * apart  # a control: another seed learns otherwise
    assert generator.shape_["trained_on"] == torch.cuda.get_device_name()
    made = generator.sample({"N": 20, "V": 20}, seed=3)
    generator.save(tmp_path / "model.safetensors")
    again = load_generator(tmp_path / "model.safetensors").sample({"N": 20, "V": 20}, seed=3)
    assert np.array_equal(made.signals, again.signals)
    assert np.isfinite(made.signals).all()


@needs_card
@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_a_card_trains_in_half_precision(split, precision):
    _, losses = learn("flow", split, "cuda", steps=30, precision=precision)
    _, exact = learn("flow", split, "cpu", steps=30)
    assert 0 < np.abs(np.subtract(losses, exact)).max() < 0.05 * np.max(exact)


@needs_card
@pytest.mark.parametrize("name", ["flow", "cnn-gan", "flow-gan"])
def test_a_training_on_a_card_goes_on_where_it_stopped(name, split, tmp_path, monkeypatch):
    monkeypatch.setattr("ecgsynth.generators.trained._SCORE_STEPS", 3)
    _, whole = learn(name, split, "cuda", steps=10)
    small = {key: value for key, value in SMALL.items() if key in settings_of(name)}
    stopped = GENERATORS[name](**small, steps=10).fit_steps(split.train, split.val, tmp_path / "checkpoint", device="cuda")
    begun = [next(stopped).generator_loss for _ in range(5)]
    stopped.close()
    for device in ("cuda", "cpu"):  # and may do so elsewhere
        (tmp_path / "copy").write_bytes((tmp_path / "checkpoint").read_bytes())
        resumed = GENERATORS[name](**small, steps=10)
        rest = [step.generator_loss for step in resumed.fit_steps(split.train, split.val, tmp_path / "copy", device=device)]
        assert np.abs(np.subtract(whole, [*begun, *rest])).max() < 0.01 * np.abs(whole).max()


@needs_card
def test_too_little_memory_is_said_in_a_line(split, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ecgsynth.training.LossTrainer._update", full)
    with pytest.raises(EcgsynthError, match="too little memory"):
        learn("flow", split, "cuda")
