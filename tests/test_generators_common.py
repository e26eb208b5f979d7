"""What every entry of GENERATORS must do, with settings that keep it quick."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgsynth.beats import Beats
from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, Generator, Request, class_counts, load_generator, settings_of
from ecgsynth.vectors import Shape

_GAN = {"steps": 2, "width": 4, "critic_width": 4, "latent": 4, "batch": 16, "validations": 2}
QUICK = {name: _GAN for name in GENERATORS if settings_of(name).get("latent")} | {
    "vae": {"steps": 2, "width": 4, "latent": 4, "batch": 16},
    "flow": {"steps": 2, "hidden": 16, "depth": 1, "batch": 16, "sampling_steps": 2},
    "group-flow": {"steps": 2, "hidden": 16, "depth": 1, "batch": 16, "sampling_steps": 2, "across": 2},
    "flow-gan": {"steps": 2, "hidden": 16, "depth": 1, "batch": 16, "sampling_steps": 2, "critic_width": 4},
    "dp-gan": {"steps": 4, "critic_steps": 2, "width": 4, "critic_hidden": 8, "latent": 4, "batch": 16, "epsilon": math.inf, "delta": 1e-4},
    "dp-flow": {"steps": 2, "hidden": 16, "depth": 1, "batch": 16, "sampling_steps": 2, "epsilon": math.inf, "delta": 1e-4},
    "ddpm": {"steps": 2, "hidden": 16, "depth": 1, "batch": 16, "sampling_steps": 3},
}
WANTED = {"N": 30, "V": 7, "Q": 3}


def make(name: str) -> Generator:
    return GENERATORS[name](**QUICK.get(name, {}))


@pytest.fixture(scope="module", params=list(GENERATORS))
def fitted(request, split) -> Generator:
    return make(request.param).fit(split.train)


def test_beats_come_as_asked(fitted, split):
    made = fitted.sample(WANTED, seed=1)
    assert made.counts() == WANTED
    assert made.signals.shape == (40, split.train.n_samples)
    assert made.signals.dtype == np.float32
    assert np.isfinite(made.signals).all()
    assert made.is_synthetic
    assert made.source == fitted.name
    assert (made.fs, made.r_sample) == (split.train.fs, split.train.r_sample)
    assert set(made.patients) == {""}
    assert made.info["model_sha256"] == fitted.fingerprint()


def test_the_seed_decides_and_classes_do_not_depend_on_each_other(fitted):
    one = fitted.sample(WANTED, seed=1)
    assert np.array_equal(one.signals, fitted.sample(WANTED, seed=1).signals)
    assert not np.array_equal(one.signals, fitted.sample(WANTED, seed=2).signals)
    alone = fitted.sample({"V": 7}, seed=1)
    np.testing.assert_allclose(alone.signals, one.signals[one.classes == "V"], atol=1e-5)


def test_beats_carry_their_rhythm_and_lead(fitted, split):
    made = fitted.sample({"S": 200, "N": 200}, seed=1)
    for column in (made.rr_before, made.rr_after):
        assert np.isfinite(column).all()
        assert 0.1 <= column.min() <= column.max() <= 10
    assert set(made.leads) <= set(split.train.leads)
    short = fitted.sample({"S": 5}, seed=1, rr_before=(0.2, 1.0))
    assert ((short.rr_before >= 0.2) & (short.rr_before <= 1.0)).all()
    all_of_them = fitted.sample({"S": int(short.samples.max()) + 1}, seed=1)
    assert np.array_equal(short.signals, all_of_them.signals[short.samples])


def test_a_beat_depends_on_its_address_alone(fitted, monkeypatch):
    monkeypatch.setattr(type(fitted), "block", 64)
    asked = {"N": 200, "V": 150}
    usual = fitted.sample(asked, seed=5, workers=1)
    threads = torch.get_num_threads()
    for workers, at_once in ((2, 1), (3, 2), (None, 1)):
        torch.set_num_threads(at_once)
        try:
            again = fitted.sample(dict(reversed(asked.items())), seed=5, workers=workers)
            assert torch.get_num_threads() == at_once
        finally:
            torch.set_num_threads(threads)
        assert np.array_equal(again.signals, usual.signals)
        assert np.array_equal(again.rr_before, usual.rr_before)
    for first, count in ((0, 1), (63, 2), (100, 50)):
        part = fitted.sample({"V": count}, seed=5, first=first)
        own = usual.classes == "V"
        assert np.array_equal(part.signals, usual.signals[own][first : first + count])
        assert part.samples.tolist() == list(range(first, first + count))
    assert usual.samples[usual.classes == "V"].tolist() == list(range(150))


@pytest.mark.parametrize("name", list(GENERATORS))
def test_two_leads_are_learnt_together_by_symbol(name, records):
    mirrored = [replace(r, signals=np.hstack([r.signals, -0.5 * np.roll(r.signals, 3)]), leads=("MLII", "V1")) for r in records]
    both = extract_beats(mirrored, lead="all", source="simulated")
    assert (both.n_leads, both.signals.ndim) == (2, 3)
    common = [symbol for symbol, count in both.counts("symbol").items() if count > 1]
    both = both.take(np.isin(both.symbols, common))
    model = make(name).fit(both, by="symbol")
    made = model.sample({"L": 5, "A": 5}, seed=1)
    assert made.signals.shape == (10, 2, 256)
    assert made.symbols.tolist() == ["L"] * 5 + ["A"] * 5
    assert made.counts() == {"N": 5, "S": 5}
    assert set(made.leads) == {"MLII+V1"}
    with pytest.raises(EcgsynthError, match="unknown symbol S"):
        model.sample({"S": 1})


def test_leads_with_too_few_beats_are_not_told_apart(split):
    rare = np.where(np.arange(len(split.train)) % 2 == 0, "MLII", "V5")
    rare[np.flatnonzero(split.train.classes == "F")[5:]] = "V5"
    model = GENERATORS["memorizer"]().fit(replace(split.train, leads=rare))
    assert [(cell.label, cell.lead) for cell in model.cells if cell.label == "F"] == [("F", "V5")]
    assert sum(cell.n_beats for cell in model.cells) == len(split.train)
    made = model.sample({"N": 600}, seed=0)
    assert abs((made.leads == "V5").mean() - (rare[split.train.classes == "N"] == "V5").mean()) < 0.1
    real = {beat.tobytes(): lead for beat, lead in zip(split.train.signals, rare, strict=True)}
    assert all(real[beat.tobytes()] == lead for beat, lead in zip(made.signals, made.leads, strict=True))
    assert set(model.sample({"N": 50}, lead="MLII").leads) == {"MLII"}
    with pytest.raises(EcgsynthError, match=r"unknown class F; this model has learnt .* of lead MLII"):
        model.sample({"F": 1}, lead="MLII")
    with pytest.raises(EcgsynthError, match="unknown lead X"):
        model.sample({"N": 1}, lead="X")


def test_intervals_that_never_come_are_given_up(split):
    with pytest.raises(EcgsynthError, match="have such RR intervals"):
        GENERATORS["memorizer"]().fit(split.train).sample({"N": 1}, rr_before=(9.0, 9.5))


def test_beats_fit_by_the_intervals_that_they_are_given_and_not_by_those_that_were_drawn():
    """Those drawn are brought into 0.1 to 10 s: 12 s is given as 10 s, which is not among 11 to 20 s."""
    drawn = np.log(np.array([[1, 0.05, 0.05, 1], [1, 12, 12, 1], [1, 0.8, 0.7, 1]], dtype=np.float32))
    shape = Shape(n_leads=1, n_samples=1, n_rhythm=3)

    def fit(**asked):
        return Request({"N": 1}, **asked).fits(drawn, np.arange(3), shape).tolist()

    assert fit(rr_before=(11, 20)) == fit(rr_after=(0.01, 0.09)) == [False] * 3
    assert fit(rr_before=(0.05, 0.2)) == [True, False, False]
    assert fit(rr_after=(9, 20)) == [False, True, False]
    assert fit(rr_before=(0.75, 0.9), rr_after=(0.6, 0.75)) == [False, False, True]


def test_beats_without_rhythm_cannot_be_chosen_by_it(split):
    silent = replace(split.train, rr_before=None, rr_after=None)
    model = GENERATORS["gaussian"]().fit(silent)
    with pytest.raises(EcgsynthError, match="without RR intervals"):
        model.sample({"N": 1}, rr_before=(0.5, 1.0))


@pytest.mark.parametrize("interval", [(0.0, 1.0), (1.0, 0.5), (-1.0, 1.0)])
def test_an_empty_interval_is_refused(split, interval):
    with pytest.raises(EcgsynthError, match="the smaller first"):
        GENERATORS["memorizer"]().fit(split.train).sample({"N": 1}, rr_after=interval)


def test_a_saved_model_loads_equal(fitted, tmp_path, unchanged_global_random):
    fitted.save(tmp_path / "m.safetensors")
    again = load_generator(tmp_path / "m.safetensors")
    assert (again.name, again.params, again.classes) == (fitted.name, fitted.params, fitted.classes)
    assert again.fingerprint() == fitted.fingerprint()
    assert np.array_equal(again.sample(WANTED, seed=3).signals, fitted.sample(WANTED, seed=3).signals)
    with pytest.raises(EcgsynthError, match="exists"):
        fitted.save(tmp_path / "m.safetensors")


def test_requests_that_cannot_be_met_are_refused(fitted, split):
    with pytest.raises(EcgsynthError, match="unknown class X; this model has learnt N, S, V, F, Q"):
        fitted.sample({"X": 1})
    with pytest.raises(EcgsynthError, match="at least one beat"):
        fitted.sample({"N": 0})
    with pytest.raises(EcgsynthError, match="no negative"):
        fitted.sample({"N": -1, "V": 2})
    with pytest.raises(EcgsynthError, match="numbered from 0"):
        fitted.sample({"N": 1}, seed=-1)
    with pytest.raises(EcgsynthError, match="below 4,294,967,296"):  # which would be the beats of another seed
        fitted.sample({"N": 1}, seed=2**32)
    with pytest.raises(EcgsynthError, match="numbered from 0"):
        fitted.sample({"N": 1}, first=2**45)


@pytest.mark.parametrize("name", list(GENERATORS))
def test_training_leaves_the_global_random_state_alone(name, split, unchanged_global_random):
    make(name).fit(split.train).sample(WANTED)


@pytest.mark.parametrize("name", list(GENERATORS))
def test_bad_training_beats_are_refused(name, split):
    with pytest.raises(EcgsynthError, match="synthetic"):
        make(name).fit(replace(split.train, source="cnn-gan"))
    lonely = Beats(signals=np.zeros((3, 256)), classes=np.array(["N", "N", "F"]))
    with pytest.raises(EcgsynthError, match="class F has one training beat"):
        make(name).fit(lonely)
    for value in (np.nan, np.inf, 1e20, -1e5):
        signals = split.train.signals.copy()
        signals[3, 7] = value
        broken = replace(split.train, signals=signals)
        with pytest.raises(EcgsynthError, match=r"1 of the training beats hold values that are not finite, or beyond 10,000 mV"):
            make(name).fit(broken)
        with pytest.raises(EcgsynthError, match="1 of the validation beats hold values"):
            make(name).fit(split.train, broken)


@pytest.mark.parametrize("name", list(GENERATORS))
def test_an_untrained_generator_says_so(name):
    with pytest.raises(EcgsynthError, match="not learnt anything yet"):
        make(name).sample({"N": 1})


def test_files_that_are_no_model_are_refused(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "text").write_text("no model")
    save_file({"x": np.zeros(3)}, tmp_path / "other")
    save_file({"x": np.zeros(3)}, tmp_path / "unknown", metadata={"ecgsynth": '{"generator": "os.system", "params": {}}'})
    for name in ("text", "other", "unknown"):
        with pytest.raises(EcgsynthError, match="is no model of ecgsynth"):
            load_generator(tmp_path / name)
    with pytest.raises(EcgsynthError, match="no model at"):
        load_generator(tmp_path / "nothing")


def test_only_generators_that_keep_real_beats_say_so(split):
    holding = {name for name in GENERATORS if make(name).holds_real_beats}
    assert holding == {"memorizer", "smote", "adasyn"}


def test_a_model_that_learnt_from_nobody_tells_no_hash_and_no_counts(split, tmp_path):
    """Only which labels and leads there are: other beats with the same ones give the same file."""
    assert [name for name in GENERATORS if not make(name).learns] == ["ecgsyn"]
    leads = np.where(np.arange(len(split.train)) % 3 == 0, "V5", "MLII")
    sides = [replace(split.train, leads=leads), replace(split.train, leads=leads).take(np.arange(len(leads)) % 2 == 0)]
    files = [GENERATORS["ecgsyn"]().fit(side)._serialize() for side in sides]
    assert files[0] == files[1]
    told = [GENERATORS["gaussian"]().fit(side).shape_ for side in sides]  # a control
    assert told[0]["data_sha256"] != told[1]["data_sha256"]
    assert told[0]["cells"] != told[1]["cells"]
    (tmp_path / "model.safetensors").write_bytes(files[0])
    model = load_generator(tmp_path / "model.safetensors")
    assert split.train.digest().encode() not in files[0]
    assert (model.classes, model.leads, len(set(model.counts.values()))) == (tuple(sides[0].counts()), ("MLII", "V5"), 1)
    assert class_counts(model.counts, total=50) == dict.fromkeys("NSVFQ", 10)
    made = model.sample(class_counts(split.train))
    assert made.counts() == split.train.counts()
    assert made.info["learns"] is False
    assert set(model.sample({"F": 20}, lead="V5").leads) == {"V5"}


def test_memorizer_gives_training_beats_and_class_mean_does_not(split):
    train = {beat.tobytes() for beat in split.train.signals}
    copies = GENERATORS["memorizer"]().fit(split.train).sample(WANTED)
    assert all(beat.tobytes() in train for beat in copies.signals)
    noise = GENERATORS["class-mean"]().fit(split.train).sample({"N": 4000})
    real = split.train.signals[split.train.classes == "N"]
    np.testing.assert_allclose(noise.signals.mean(axis=0), real.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(noise.signals.std(axis=0), real.std(axis=0), rtol=0.1, atol=0.01)
    hiss = np.corrcoef(noise.signals[:, 108], noise.signals[:, 112])[0, 1]
    assert abs(hiss) < 0.06  # neighbouring samples know nothing of each other


@pytest.mark.parametrize("name", ["smote", "adasyn"])
def test_one_beat_cannot_be_joined_to_another(name):
    with pytest.raises(EcgsynthError, match="base at least 2"):
        GENERATORS[name](base=1)


def test_smote_beats_lie_between_two_real_ones(split):
    real = split.train.signals[split.train.classes == "F"]
    made = GENERATORS["smote"]().fit(split.train).sample({"F": 20}, seed=1).signals
    apart = np.linalg.norm(real[:, None] - real, axis=2)
    for beat in made:
        to_real = np.linalg.norm(real - beat, axis=1)
        detour = to_real[:, None] + to_real - apart  # 0 on the line between two real beats
        assert detour.min() < 1e-2


def test_class_counts_by_power_and_total(split):
    natural = split.train.counts()
    assert class_counts(split.train) == natural
    equal = class_counts(split.train, power=0)
    assert max(equal.values()) - min(equal.values()) <= 1
    assert sum(equal.values()) == len(split.train)
    between = class_counts(split.train, power=0.5, total=1000)
    assert sum(between.values()) == 1000
    assert class_counts(split.train, power=0, total=7) == {"N": 2, "S": 2, "V": 1, "F": 1, "Q": 1}
    assert min(class_counts(split.train, total=6).values()) == 1
    with pytest.raises(EcgsynthError, match="too few for 5 classes"):
        class_counts(split.train, total=4)
    assert natural["F"] / natural["N"] < between["F"] / between["N"] < 1
