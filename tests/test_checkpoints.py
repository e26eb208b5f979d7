"""Checkpoints: what was written is read, to the last bit, and what cannot be of the training is refused in one line."""

import copy
import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ecgsynth.checkpoints import read_checkpoint, write_checkpoint
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS

NEXT_TO_1 = math.nextafter(1, 2)


def test_what_was_written_is_read_to_the_last_bit(tmp_path):
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    state = {
        "weights": {"a": weight, "b.c": weight.T, "none": torch.zeros(0, 3), "one": torch.tensor(7.0), "count": torch.tensor(3)},
        "again": weight,
        "memory": {0: {"step": torch.tensor(2.0)}, 1: {}},
        "random": torch.Generator().manual_seed(1).get_state(),
        "broken": torch.tensor([math.nan, math.inf, -0.0]),
        "numbers": [1, NEXT_TO_1, math.nan, True, None, "µ", [], {}],
    }
    write_checkpoint(tmp_path / "c", state)
    found = read_checkpoint(tmp_path / "c")
    assert repr(found) == repr(state)
    assert torch.equal(found["weights"]["a"], weight)
    assert torch.equal(found["weights"]["b.c"], weight.T)
    assert torch.equal(found["random"], state["random"])
    assert found["numbers"][1] == NEXT_TO_1
    assert found["weights"]["one"].shape == ()
    with safe_open(tmp_path / "c", framework="pt") as file:
        assert len(file.keys()) == 8  # what is twice of the same memory is once in the file


@pytest.fixture(scope="module")
def stopped(split, tmp_path_factory):
    """A training with a good state to go back to and kept weights, and its checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint") / "c"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_SCORE_STEPS": 3, "_SCORED": 300, "_DETECTED": 100}.items():
            patch.setattr(f"ecgsynth.generators.trained.{name}", value)
        steps = flow_gan().fit_steps(split.train, split.val, path)
        for _ in range(6):
            next(steps)
        steps.close()
    return read_checkpoint(path)


def flow_gan():
    settings = {"hidden": 16, "depth": 1, "sampling_steps": 2, "teaching": 0.4, "critic_width": 2}
    return GENERATORS["flow-gan"](steps=8, batch=8, validations=4, **settings)


OTHER = torch.zeros(3)
SPOILT = {
    "step": lambda state: state.update(step=-1),
    "seconds": lambda state: state.update(seconds="long"),
    "slowed": lambda state: state.update(slowed=None),
    "random": lambda state: state.update(random=OTHER),
    "weights of another network": lambda state: state["generator"].update({next(iter(state["generator"])): OTHER}),
    "memory of another network": lambda state: state["critic_optimizer"]["state"][0].update(exp_avg=OTHER),
    "memory of another optimizer": lambda state: state["critic_optimizer"]["state"][0].pop("exp_avg_sq"),
    "a memory of no step": lambda state: state["critic_optimizer"]["state"][0].update(step=torch.tensor(-1.0)),
    "a memory of no parameter": lambda state: state["critic_optimizer"]["state"].update({10_000: {}}),
    "a teacher ahead of it": lambda state: state.update(step=0),
    "kept weights": lambda state: state["extra"]["kept"].update({next(iter(state["extra"]["kept"])): OTHER}),
    "a good state": lambda state: state["extra"]["good"]["generator"].popitem(),
    "best": lambda state: state["extra"].update(best="best"),
    "notes": lambda state: state["extra"].update(notes=3),
    "history": lambda state: state["extra"]["history"][0].update(share="half"),
    "a step of it": lambda state: state["extra"]["history"][0].pop("step"),
    "nothing else": lambda state: state.pop("extra"),
}


@pytest.mark.parametrize("what", [None, *SPOILT])
def test_a_checkpoint_that_cannot_be_of_the_training_is_refused(stopped, split, tmp_path, what):
    state = copy.deepcopy(stopped)
    assert state["extra"]["good"]
    assert state["extra"]["kept"]
    if what is None:
        write_checkpoint(tmp_path / "c", state)
        assert [step.step for step in flow_gan().fit_steps(split.train, split.val, tmp_path / "c")] == [7, 8]
        return
    SPOILT[what](state)
    write_checkpoint(tmp_path / "c", state)
    with pytest.raises(EcgsynthError, match="does not fit this training, or is damaged; delete it to begin anew"):
        list(flow_gan().fit_steps(split.train, split.val, tmp_path / "c"))


def test_the_settings_of_an_optimizer_are_those_of_the_training(stopped, split, tmp_path):
    state = copy.deepcopy(stopped)
    for name in ("generator_optimizer", "critic_optimizer"):
        state[name]["param_groups"][0].update(betas=[2.0, "x"], maximize=True, pace=1e9)
    models = []
    for path, told in (("a", stopped), ("b", state)):
        write_checkpoint(tmp_path / path, told)
        model = flow_gan()
        list(model.fit_steps(split.train, split.val, tmp_path / path))
        models.append(model)
    assert models[0].fingerprint() == models[1].fingerprint()


@pytest.mark.parametrize("head", ["{}", '{"items": 3}', '{"tensor": 9}', "[" * 900 + "]" * 900, json.dumps({"items": [["identity", {}]]})])
def test_a_head_that_is_none_is_refused(head, split, tmp_path):
    save_file({"0": OTHER}, tmp_path / "c", {"ecgsynth": head})
    with pytest.raises(EcgsynthError, match="delete it to begin anew"):
        list(flow_gan().fit_steps(split.train, split.val, tmp_path / "c"))
