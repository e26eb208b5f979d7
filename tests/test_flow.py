"""Flow matching, diffusion and the VAE against what is known in closed form."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from ecgsynth.distillation import DistillingTrainer
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS
from ecgsynth.generators.flow import DDPM_STEPS, PATHS, Flow, _kept_signal
from ecgsynth.generators.vae import Decoder, Vae, divergence
from ecgsynth.vectors import to_vectors

MEAN, SPREAD = 2.0, 0.5  # of the one-dimensional beats whose flow is known


def test_the_straight_path_leads_from_noise_to_beat_at_constant_speed():
    beats, noise = torch.randn(3, 4), torch.randn(3, 4)
    for time, expected in ((0.0, noise), (1.0, beats), (0.5, (beats + noise) / 2)):
        mixed, target = PATHS["straight"].target(beats, noise, torch.full((3,), time))
        torch.testing.assert_close(mixed, expected)
        torch.testing.assert_close(target, beats - noise)


def test_following_the_exact_velocity_gives_the_distribution():
    def velocity(x, time):
        share = time[:, None]
        spread = ((1 - share) ** 2 + (share * SPREAD) ** 2).sqrt()
        change = (share * SPREAD**2 - (1 - share)) / spread**2
        return MEAN + change * (x - share * MEAN)

    random = torch.Generator().manual_seed(0)
    made = PATHS["straight"].follow(velocity, torch.randn(20_000, 1, generator=random), 16, random)
    assert made.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert made.std().item() == pytest.approx(SPREAD, abs=0.02)


def _bent(x, time):
    return torch.stack([-x[:, 1] + time, x[:, 0] * x[:, 1]], dim=1)


def test_a_velocity_is_followed_as_scipy_follows_it():
    begin = torch.tensor([[0.3, -0.2]], dtype=torch.float64)

    def slope(time, x):
        return _bent(torch.from_numpy(x)[None], torch.tensor([time], dtype=torch.float64))[0].numpy()

    oracle = solve_ivp(slope, (0, 1), begin[0].numpy(), rtol=1e-10, atol=1e-12).y[:, -1]
    follow = PATHS["straight"].follow
    errors = [np.abs(follow(_bent, begin, steps, torch.Generator()).numpy()[0] - oracle).max() for steps in (20, 40, 80)]
    assert errors[0] < 1e-3
    assert all(coarse / fine > 6 for coarse, fine in pairwise(errors))  # third order: 8


def test_a_velocity_is_asked_once_a_step():
    asked = []

    def still(x, time):
        asked.append(time[0].item())
        return torch.zeros_like(x)

    PATHS["straight"].follow(still, torch.zeros(2, 3), 7, torch.Generator())
    assert len(asked) == 7
    assert asked[0] == 0
    assert max(asked) < 1


def test_the_diffusion_ends_in_noise_and_keeps_variance():
    kept = _kept_signal()
    assert len(kept) == DDPM_STEPS
    assert kept[0].item() == pytest.approx(1 - 1e-4, rel=1e-6)
    assert kept[-1] < 1e-4
    beats, noise = torch.randn(20_000, 1), torch.randn(20_000, 1)
    mixed, target = PATHS["diffusion"].target(beats, noise, torch.full((20_000,), 0.3))
    assert mixed.std().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(target, noise)


@pytest.mark.parametrize("steps", [100, DDPM_STEPS])
def test_going_back_with_the_exact_noise_gives_the_distribution(steps):
    kept = _kept_signal()

    def noise_of(x, time):
        share = kept[(time * DDPM_STEPS).round().long()][:, None]
        variance = share * SPREAD**2 + 1 - share
        return (1 - share).sqrt() * (x - share.sqrt() * MEAN) / variance

    random = torch.Generator().manual_seed(0)
    made = PATHS["diffusion"].follow(noise_of, torch.randn(20_000, 1, generator=random), steps, random)
    assert made.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert made.std().item() == pytest.approx(SPREAD, abs=0.03)


def test_each_link_of_the_chain_is_mixed_by_its_own_share():
    times = PATHS["diffusion"].times(50_000, torch.Generator().manual_seed(0))
    mixed, _ = PATHS["diffusion"].target(torch.ones(50_000, 1), torch.zeros(50_000, 1), times)
    torch.testing.assert_close(mixed.square().unique(), _kept_signal().sort().values, rtol=1e-3, atol=1e-7)


def test_the_divergence_is_that_of_torch():
    mean, log_spread = torch.randn(7, 3), torch.randn(7, 3)
    oracle = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, log_spread.exp()), torch.distributions.Normal(torch.zeros(7, 3), torch.ones(7, 3))
    )
    torch.testing.assert_close(divergence(mean, log_spread), oracle.sum(dim=1))


def test_the_vae_draws_the_spread_that_it_has_learnt(split):
    model = Vae(steps=2, width=4, latent=2, batch=16).fit(split.train)
    network = Decoder(model._space.size, 2, len(model.cells), 4)
    with torch.no_grad():
        network.log_spread.fill_(-6.0)
        for parameter in network.mean.parameters():
            parameter.zero_()
        still = model._make(network, torch.zeros(500, dtype=torch.long), torch.Generator().manual_seed(0))
        network.log_spread.fill_(0.0)
        lively = model._make(network, torch.zeros(500, dtype=torch.long), torch.Generator().manual_seed(0))
    assert still.std().item() == pytest.approx(np.exp(-6), rel=0.1)
    assert lively.std().item() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("name", ["flow", "vae"])
def test_a_short_training_learns_the_classes(name, split):
    made = (
        GENERATORS[name](steps=800, batch=128, **({"hidden": 128, "depth": 2} if name == "flow" else {}))
        .fit(split.train)
        .sample(dict.fromkeys("NVQ", 200))
    )
    means = {label: split.train.signals[split.train.classes == label].mean(axis=0) for label in "NVQ"}
    for label in "NVQ":
        mean = made.signals[made.classes == label].mean(axis=0)
        assert min(means, key=lambda other: np.linalg.norm(mean - means[other])) == label


@pytest.mark.parametrize(
    "bad",
    [{"path": "x"}, {"precision": "x"}, {"sampling_steps": 0}, {"sampling_steps": 1001}, {"guidance": 0.5}, {"rate": 0}, {"seed": -1}],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(EcgsynthError):
        Flow(**bad)
    with pytest.raises(EcgsynthError):
        Vae(latent=0)


def test_beats_of_one_synthetic_patient_are_alike_and_no_real_one_is_stored(beats):
    settings = {"style": 2, "steps": 600, "hidden": 64, "depth": 2, "batch": 128, "sampling_steps": 12}
    model = GENERATORS["flow"](**settings).fit(beats)
    drawn = [model.of_patient(number).sample({"N": 4000}, seed=seed) for number, seed in ((1, 0), (1, 1), (2, 0))]
    assert [made.info["patient"] for made in drawn] == [1, 1, 2]
    one = [made.signals for made in drawn]
    assert not np.array_equal(one[0], one[1])
    course = [made.rr_before - made.rr_before.mean() for made in drawn]
    assert abs(np.corrcoef(course[0], course[2])[0, 1]) < 0.1  # patients share no noise
    with pytest.raises(EcgsynthError, match="numbered from 0, below"):
        model.of_patient(2**24)
    means = [signals.mean(axis=0) for signals in one]
    assert np.linalg.norm(means[0] - means[1]) < 0.25 * np.linalg.norm(means[0] - means[2])
    anew = model.sample({"N": 4000}).signals
    assert "patient" not in model.sample({"N": 1}).info
    assert one[0].std(axis=0).mean() < anew.std(axis=0).mean()
    patients = len(set(beats.patients.tolist()))
    assert not [name for name, array in model._arrays().items() if patients in array.shape]
    with pytest.raises(EcgsynthError, match="knows no patients"):
        GENERATORS["flow"](steps=1, hidden=8, depth=1).fit(beats).of_patient(0)
    with pytest.raises(EcgsynthError, match="more than 50 training patients"):
        GENERATORS["flow"](steps=1, style=50).fit(beats)


def test_guidance_leads_away_from_the_weak_network_and_leaves_the_strong_one_as_it_was(split):
    settings = {"steps": 20, "hidden": 32, "depth": 1, "batch": 64, "validations": 1}
    guided, alone = (Flow(**settings, guidance=weight).fit(split.train)._network for weight in (1.5, 1.0))
    for mine, other in zip(guided.strong.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine, other)
    point = torch.randn(5, alone.inward.in_features), torch.rand(5), torch.zeros(5, dtype=torch.long)
    strong, weak = guided.strong(*point), guided.weak(*point)
    assert not torch.allclose(strong, weak)
    torch.testing.assert_close(guided(*point), strong + 0.5 * (strong - weak))


def test_guidance_by_a_broader_normal_distribution_gives_a_narrower_one():
    def velocity(spread):
        def of(x, time):
            share = time[:, None]
            return (share * spread**2 - (1 - share)) / ((1 - share) ** 2 + (share * spread) ** 2) * x

        return of

    def guided(more):
        return lambda x, time: (1 + more) * velocity(SPREAD)(x, time) - more * velocity(2 * SPREAD)(x, time)

    random = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, 1, generator=random)
    spreads = [PATHS["straight"].follow(guided(more), noise, 32, random).std() for more in (0.0, 0.3)]
    assert spreads[0].item() == pytest.approx(SPREAD, abs=0.02)
    assert spreads[1] < 0.9 * spreads[0]


def test_the_flow_and_the_critic_of_its_pupil_see_no_beat_as_it_is(split, monkeypatch):
    seen = []
    straight = PATHS["straight"]
    monkeypatch.setitem(PATHS, "straight", straight._replace(target=lambda real, *rest: seen.append(real) or straight.target(real, *rest)))
    quick = {"steps": 1, "hidden": 16, "depth": 1, "batch": 32, "validations": 1}

    def known(of, real):
        codes = torch.from_numpy(of._space.encode(to_vectors(split.train)))
        apart = torch.cdist(real, codes, compute_mode="donot_use_mm_for_euclid_dist")
        return (apart.amin(dim=1) < 1e-4).float().mean()

    for share, expected in ((0.0, 1.0), (0.3, 0.0)):
        model = GENERATORS["flow"](blend=share, **quick).fit(split.train)
        assert known(model, seen[-1]) == pytest.approx(expected, abs=0.1)
    pupil = GENERATORS["flow-gan"](blend=0.3, **quick)
    kept = []

    class Watched(DistillingTrainer):
        def __init__(self, **parts):
            kept.append(parts["codes"])
            super().__init__(**parts)

    monkeypatch.setattr("ecgsynth.generators.flow_gan.DistillingTrainer", Watched)
    pupil.fit(split.train)
    assert known(pupil, kept[0]) < 0.1


def test_new_beats_are_of_each_mode_as_often_as_training_beats(split):
    model = Flow(steps=2, hidden=16, depth=1, batch=32, mode_size=60, sampling_steps=1, validations=1).fit(split.train)
    seen = []
    model._answer = lambda network, mixed, time, mode, style: seen.append(mode) or torch.zeros_like(mixed)
    wanted = torch.full((4000,), int(model._modes.sum(axis=1).argmax()))
    model._make(model._network, wanted, torch.Generator().manual_seed(0))
    expected = model._modes[wanted[0]] / model._modes[wanted[0]].sum()
    assert (expected > 0).sum() > 1
    assert np.abs(np.bincount(seen[0].numpy(), minlength=len(expected)) / 4000 - expected).max() < 0.05


def test_weights_in_half_precision_make_the_beats_that_they_would_make_if_rounded_at_every_call(split, monkeypatch):
    model = Flow(steps=3, hidden=32, depth=2, batch=32, sampling_steps=3, precision="bfloat16").fit(split.train)
    once = model.sample({"N": 40}, seed=2)
    monkeypatch.setattr(Flow, "_for_sampling", lambda self, network: network)
    assert np.array_equal(model.sample({"N": 40}, seed=2).signals, once.signals)
    assert all(weight.dtype == torch.float32 for weight in model._network.parameters())
