"""A GAN with a flow for its teacher: who learns when, and from whom."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from ecgsynth.distillation import FLOW_STEPS
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.flow import PATHS
from ecgsynth.generators.flow_gan import FlowGan
from ecgsynth.training import Recipe
from ecgsynth.vectors import to_vectors

make = partial(FlowGan, steps=10, teaching=0.3, hidden=16, depth=1, critic_width=2, batch=16, sampling_steps=2, precision="float32")


@pytest.fixture
def trainer(split):
    return trainer_of(make(), split)


def trainer_of(model, split):
    """What `fit` sets up, before the first step."""
    steps = model.fit_steps(split.train)
    next(steps)
    steps.close()
    space, codes = model._space, model._space.encode(to_vectors(split.train))
    columns = torch.from_numpy(model._prepare(split.train, codes, model._cells_of(split.train)))
    recipe = Recipe(model.steps, None, model.batch, model.rate, model.ema, model.class_power)
    torch.manual_seed(0)
    trainer = model._trainer(columns, torch.zeros(len(columns), dtype=torch.long), recipe)
    assert trainer._codes.shape[1] == space.size
    return trainer


def weights(network) -> Tensor:
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def test_the_flow_learns_first_and_the_generator_begins_as_the_flow_is(trainer):
    critic = weights(trainer.critic)
    for step in range(1, 4):
        assert not trainer._taught
        taught = weights(trainer._teacher.average)
        assert trainer.advance().critic_loss is None
        assert trainer._teacher.step == step * FLOW_STEPS
        assert not torch.equal(weights(trainer._teacher.average), taught)
        assert torch.equal(weights(trainer.critic), critic)
        flow = weights(trainer._teacher.average.strong)
        assert torch.equal(weights(trainer.generator), flow)  # so a training stopped here leaves more than noise
        assert torch.equal(weights(trainer.average), flow)
    assert trainer._taught
    assert not trainer.ready
    assert trainer.advance().critic_loss is not None
    assert trainer.ready
    assert torch.equal(weights(trainer._teacher.average.strong), flow)  # the flow no longer changes, the players do
    assert not torch.equal(weights(trainer.generator), flow)
    assert trainer.drawn == (3 * FLOW_STEPS + 1) * 16
    assert not torch.equal(weights(trainer.critic), critic)


def resumed(stopped_at, steps, more, split, path):
    """A trainer stopped at a step of its budget, and the same gone on with to the end of another budget."""
    trainers = []
    for budget in (steps, more):
        model = make(steps=budget, own_rate=1e-12)
        original = model._trainer
        model._trainer = lambda *parts, original=original: trainers.append(original(*parts)) or trainers[-1]
        training = model.fit_steps(split.train, checkpoint=path)
        for _ in range(stopped_at if budget == steps else 10**9):
            if next(training, None) is None:
                break
        training.close()
    return trainers


def test_a_training_that_goes_on_with_a_smaller_budget_still_begins_as_the_flow_is(split, tmp_path):
    _, trainer = resumed(4, 20, 6, split, tmp_path / "c")
    flow = weights(trainer._teacher.average.strong)
    torch.testing.assert_close(weights(trainer.generator), flow, atol=1e-6, rtol=0)


def test_a_training_that_goes_on_with_a_larger_budget_leaves_the_flow_as_it_is(split, tmp_path):
    before, after = resumed(5, 10, 20, split, tmp_path / "c")
    assert before.ready
    assert after.step == 20
    assert torch.equal(weights(after._teacher.average.strong), weights(before._teacher.average.strong))


def test_a_lesson_is_noise_and_what_the_flow_makes_of_it(trainer):
    for _ in range(3):
        trainer.advance()
    noise, modes, beats = trainer._lesson(7)
    assert torch.equal(trainer._lesson(7)[2], beats)
    assert not torch.equal(trainer._lesson(8)[0], noise)
    assert abs(noise.mean()) < 0.1
    assert noise.std().item() == pytest.approx(1, abs=0.1)
    flow = trainer._teacher.average
    with torch.no_grad():
        followed = PATHS["straight"].follow(lambda x, time: flow(x, time, modes, x.new_zeros(len(x), 0)), noise, 2, torch.Generator())
    torch.testing.assert_close(beats, followed)


def test_every_step_of_the_generator_brings_one_new_lesson_up_to_a_limit(trainer, monkeypatch):
    monkeypatch.setattr("ecgsynth.distillation._MOST_LESSONS", 5)
    for step in range(1, 11):
        trainer.advance()
        assert set(trainer._lessons) <= set(range(min(max(0, step - 3), 5)))
    assert trainer.share == 1
    assert len(trainer._lessons) > 3  # of 5, heard 8 at a time


def test_in_half_precision_every_weight_of_the_generator_learns(split):
    trainer = trainer_of(make(precision="bfloat16"), split)
    for _ in range(3):
        trainer.advance()
    before = {name: value.clone() for name, value in trainer.generator.named_parameters()}
    trainer.advance()
    unchanged = [name for name, value in trainer.generator.named_parameters() if torch.equal(value, before[name])]
    assert not unchanged


def test_a_generator_that_must_be_like_the_flow_becomes_so(split):
    distances = []
    for likeness in (0.0, 50.0):
        trainer = trainer_of(make(steps=150, teaching=0.2, likeness=likeness, penalty=0.0, own_rate=2e-3), split)
        while trainer.share < 1:
            trainer.advance()
        noise, modes, beats = trainer._lesson(10_000)  # not heard before
        with torch.no_grad():
            distances.append(mse_loss(trainer.generator(noise, modes), beats).item())
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize(
    "bad", [{"style": 2}, {"path": "diffusion"}, {"teaching": 1.0}, {"teaching": 0.0}, {"likeness": -1}, {"own_rate": 0}]
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(EcgsynthError):
        make(**bad)
