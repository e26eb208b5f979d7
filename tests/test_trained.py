"""What all trained generators share: budget, validation, checkpoints, and beats that depend on nothing but their address."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, Request, TrainingStep, load_generator
from ecgsynth.generators.trained import TrainedGenerator, _stream
from ecgsynth.objectives import OBJECTIVES

QUICK = {
    "cgan": {"steps": 6, "width": 4, "critic_width": 4, "latent": 4, "batch": 16, "validations": 2},
    "wgan-gp": {"steps": 6, "width": 4, "critic_width": 4, "latent": 4, "batch": 16, "validations": 2, "critic_steps": 2},
    "flow": {"steps": 6, "hidden": 16, "depth": 1, "batch": 16, "sampling_steps": 2, "validations": 2},
    "vae": {"steps": 6, "width": 4, "latent": 4, "batch": 16, "validations": 2},
}
QUICK["flow-gan"] = QUICK["flow"] | {"teaching": 0.4, "critic_width": 2}
every_kind = pytest.mark.parametrize("name", QUICK)


def make(name, **changes):
    return GENERATORS[name](**(QUICK[name] | changes))


@pytest.fixture(autouse=True)
def brief_validation(monkeypatch):
    monkeypatch.setattr("ecgsynth.generators.trained._SCORE_STEPS", 3)
    monkeypatch.setattr("ecgsynth.generators.trained._SCORED", 1000)


def test_noise_comes_of_a_whole_state_and_not_of_a_seed_of_32_bits():
    """Of 65,000 such seeds two would be the same, and so would their blocks of beats."""
    for seed in (0, 1):
        known = np.random.MT19937()
        key = np.random.default_rng(seed).integers(2**32, size=624).astype(np.uint32)
        known.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": 624}}
        drawn = torch.rand(2000, generator=_stream(np.random.default_rng(seed)))
        np.testing.assert_array_equal(drawn.numpy(), (known.random_raw(2000) % 2**24 / 2**24).astype(np.float32))


@every_kind
def test_same_seed_same_model_and_another_seed_another(name, split):
    prints = [make(name, seed=seed).fit(split.train).fingerprint() for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


@every_kind
def test_a_resumed_training_equals_one_that_was_not_stopped(name, split, tmp_path):
    whole = make(name).fit(split.train, split.val)
    stopped = make(name).fit_steps(split.train, split.val, tmp_path / "checkpoint")
    for _ in range(4):
        next(stopped)
    stopped.close()
    resumed = make(name)
    steps = [step.step for step in resumed.fit_steps(split.train, split.val, tmp_path / "checkpoint")]
    assert steps == [5, 6]
    assert resumed.fingerprint() == whole.fingerprint()
    assert [step.step for step in resumed.history_] == [1, 2, 3, 4, 5, 6]
    assert [step.step for step in resumed.history_ if step.validation_score is not None] == [3, 6]


def test_a_training_that_goes_on_with_a_larger_budget_tells_of_all_its_steps(split, tmp_path):
    stopped = make("cgan", steps=12).fit_steps(split.train, split.val, tmp_path / "checkpoint")
    for _ in range(11):
        next(stopped)
    stopped.close()
    longer = make("cgan", steps=24)
    for _ in longer.fit_steps(split.train, split.val, tmp_path / "checkpoint"):
        pass
    assert [step.step for step in longer.history_] == list(range(1, 25))


def test_samplings_that_overlap_leave_threads_as_they_were(split):
    model, whole = make("flow").fit(split.train), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, second = (model.sample_steps(Request({"N": 10, "V": 10}, seed=seed, first=0)) for seed in (0, 1))
        next(first), next(second)
        assert torch.get_num_threads() == 2
        assert in_new_thread(torch.get_num_threads) == 1
        first.close()
        assert in_new_thread(torch.get_num_threads) == 1
        second.close()
        assert torch.get_num_threads() == in_new_thread(torch.get_num_threads) == 2
    finally:
        torch.set_num_threads(whole)


def in_new_thread(call):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_validation_beats_must_have_their_peak_at_the_same_place(split):
    with pytest.raises(EcgsynthError, match="place of the R peak"):
        make("cgan").fit(split.train, replace(split.val, r_sample=50))


def test_a_checkpoint_of_something_else_is_refused(split, tmp_path):
    (tmp_path / "c").write_bytes(b"nonsense")
    with pytest.raises(EcgsynthError, match="delete it to begin anew"):
        list(make("cgan").fit_steps(split.train, checkpoint=tmp_path / "c"))
    stopped = make("cgan").fit_steps(split.train, checkpoint=tmp_path / "d")
    next(stopped)
    stopped.close()
    with pytest.raises(EcgsynthError, match="other beats or settings"):
        list(make("cgan").fit_steps(split.val, checkpoint=tmp_path / "d"))
    with pytest.raises(EcgsynthError, match="other beats or settings"):
        list(make("cgan", seed=1).fit_steps(split.train, checkpoint=tmp_path / "d"))
    with pytest.raises(EcgsynthError, match="other beats or settings"):
        list(make("cgan").fit_steps(split.train, checkpoint=tmp_path / "d", by="symbol"))


@pytest.mark.parametrize("change", ["signals", "rr_before", "patients", "samples", "validation", "version", "nothing"])
def test_a_checkpoint_is_of_all_that_is_known_of_the_beats_of_both_sides_and_of_a_version(split, tmp_path, monkeypatch, change):
    stopped = make("flow").fit_steps(split.train, split.val, tmp_path / "c")
    for _ in range(2):
        next(stopped)
    stopped.close()
    sides = {"train": split.train, "validation": split.val}
    if change == "version":
        monkeypatch.setattr("ecgsynth.__version__", "0.0.9")
    elif change != "nothing":
        side = "validation" if change == "validation" else "train"
        name = "rr_after" if change == "validation" else change
        values = getattr(sides[side], name).copy()
        values[0] = "somebody else" if name == "patients" else values[0] + 1e-6 if name == "signals" else 1
        assert not np.array_equal(values, getattr(sides[side], name))
        sides[side] = replace(sides[side], **{name: values})
    resumed = make("flow").fit_steps(**sides, checkpoint=tmp_path / "c")
    if change == "nothing":
        assert [step.step for step in resumed] == [3, 4, 5, 6]
    else:
        with pytest.raises(
            EcgsynthError, match=r"c is of a training with other beats or settings, or another version: use those, or delete"
        ):
            next(resumed)


@pytest.mark.parametrize(("last", "kept_step"), [(0.5, 4), (0.895, 6)])
def test_validation_keeps_the_last_of_the_best_weights(split, monkeypatch, last, kept_step):
    scores = iter([0.2, 0.9, last])
    monkeypatch.setattr(TrainedGenerator, "_validate", lambda *_: {"validation_score": next(scores), "detection": 0.7})
    generator = make("cgan", validations=3)
    weights = {}
    for step in generator.fit_steps(split.train, split.val):
        weights[step.step] = generator._network.state_dict()["network.out.weight"].half().numpy().copy()
    measured = [step for step in generator.history_ if step.validation_score is not None]
    assert [step.best for step in measured] == [True, True, kept_step == 6]
    assert {step.detection for step in measured} == {0.7}
    kept = generator._arrays()["network.network.out.weight"]
    assert np.array_equal(kept, weights[kept_step])
    assert not np.array_equal(kept, weights[10 - kept_step])


@every_kind
def test_every_step_says_how_it_goes(name, split):
    steps = list(make(name).fit_steps(split.train, split.val))
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1].share == 1
    assert all(np.isfinite(step.generator_loss) for step in steps)
    has_critic = {"flow": 0, "vae": 0, "flow-gan": 4}.get(name, 6)  # the first steps of flow-gan are the flow's
    assert [step.critic_loss is None for step in steps] == [True] * (6 - has_critic) + [False] * has_critic
    assert 0.5 < steps[-1].detection <= 1


def test_what_is_shown_of_a_step_are_its_numbers():
    step = TrainingStep(7, 0.5, 1.2344, 0.5678, -0.127, validation_score=0.8126, detection=0.734, best=True)
    assert step.losses_text() == "critic 0.568  generator 1.234  real-generated -0.13"
    assert step.scores_text() == "  validation 0.813 (kept)  detection 0.73"
    plain = TrainingStep(8, 0.5, 1.2344, validation_score=0.2)
    assert (plain.losses_text(), plain.scores_text()) == ("loss 1.234", "  validation 0.200")
    assert TrainingStep(9, 0.5, 1.0).scores_text() == ""


@pytest.mark.parametrize("name", ["vae", "flow-gan"])
def test_minutes_end_a_training(name, split, monkeypatch):
    clock = count(step=0.02)  # s, from one look to the next, however slow the machine
    monkeypatch.setattr("ecgsynth.training.time", SimpleNamespace(monotonic=lambda: next(clock)))
    steps = list(make(name, steps=10**9, minutes=0.02).fit_steps(split.train))
    assert steps[-1].share == 1
    assert steps[-1].step < 10**9
    assert (steps[-1].critic_loss is not None) == (name == "flow-gan")  # whose second part has had its time


@every_kind
def test_beats_of_one_label_are_learnt_without_a_classifier(name, split):
    alone = [side.take(side.classes == "N") for side in (split.train, split.val)]
    model = make(name)
    steps = list(model.fit_steps(*alone))
    assert [step.step for step in steps if step.detection is not None] == [3, 6]
    assert all(step.validation_score is None for step in steps)
    assert steps[-1].best
    assert model.sample({"N": 3}).counts() == {"N": 3}


def test_a_validation_side_without_the_labels_learnt_is_left_out(split):
    model = make("cgan").fit(split.train.take(split.train.classes == "N"), split.val.take(split.val.classes == "V"))
    assert all(step.detection is None for step in model.history_)


def test_a_loss_that_is_not_a_number_is_one_clear_error(split, monkeypatch):
    broken = OBJECTIVES["hinge"]._replace(critic=lambda real, generated: (real - generated).mean() * np.nan)
    monkeypatch.setitem(OBJECTIVES, "hinge", broken)
    with pytest.raises(EcgsynthError, match="training diverged, as it did 4 times before"):
        make("cgan", objective="hinge").fit(split.train)


@every_kind
def test_models_are_kept_in_half_precision_without_loss(name, split, tmp_path):
    model = make(name).fit(split.train)
    model.save(tmp_path / "m")
    dtypes = {array.dtype for key, array in model._arrays().items() if key.startswith("network.")}
    assert dtypes == {np.dtype("float16")}
    assert np.array_equal(load_generator(tmp_path / "m").sample({"N": 5}).signals, model.sample({"N": 5}).signals)
