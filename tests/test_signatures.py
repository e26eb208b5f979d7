"""Each preset trains as its method says: what `fit` sets up, and what a step of it goes down."""

import copy

import numpy as np
import pytest
import torch
from test_gan import SHAPE, changed, trainer, weights_of
from torch.utils._python_dispatch import TorchDispatchMode

from ecgsynth.adversarial import AdversarialTrainer
from ecgsynth.beats import concatenate
from ecgsynth.generators import GENERATORS
from ecgsynth.objectives import OBJECTIVES, gradient_penalty, zero_centred_penalty
from ecgsynth.vectors import to_vectors

LOG = {"objective": "log", "regulariser": "none", "penalty": 0.0, "penalty_every": 1, "critic_steps": 1, "unrolled": 0}
LOG |= {"optimizer": "adam", "beta": 0.5, "critic_pace": 1.0, "classify_generated": True}
CLIPPED = LOG | {"objective": "wasserstein", "critic_steps": 5, "regulariser": "clip", "penalty": 0.01, "optimizer": "rmsprop"}
PENALISED = LOG | {"objective": "wasserstein", "critic_steps": 5, "regulariser": "gradient", "penalty": 10.0, "beta": 0.0}
TRANSFORMED = PENALISED | {"critic_steps": 1, "beta": 0.9, "critic_pace": 3.0, "classify_generated": False}
MODERN = LOG | {"objective": "relativistic", "regulariser": "zero-centred", "penalty": 0.01, "penalty_every": 4, "beta": 0.0}

PRESETS = {  # rules; networks of both players and how they are told the label; beats in a row of one cell; beats judged together; rate
    "gan": (LOG, "MlpGenerator", "MlpCritic", "SeparateGenerators", "SeparateCritics", 128, 1, 5e-4),
    "cgan": (LOG, "MlpGenerator", "MlpCritic", "ToldGenerator", "ToldCritic", 1, 1, 5e-4),
    "dcgan": (LOG, "DcganGenerator", "DcganCritic", "ToldGenerator", "ToldCritic", 1, 1, 2e-4),
    "acgan": (LOG, "DcganGenerator", "DcganCritic", "ToldGenerator", "AuxiliaryCritic", 1, 1, 2e-4),
    "wgan": (CLIPPED, "MlpGenerator", "MlpCritic", "ToldGenerator", "ToldCritic", 1, 1, 5e-5),
    "wgan-gp": (PENALISED, "MlpGenerator", "MlpCritic", "ToldGenerator", "ToldCritic", 1, 1, 1e-4),
    "pacgan": (LOG, "MlpGenerator", "MlpCritic", "ToldGenerator", "ToldCritic", 2, 2, 5e-4),
    "unrolled-gan": (LOG | {"unrolled": 5}, "MlpGenerator", "MlpCritic", "ToldGenerator", "ToldCritic", 1, 1, 5e-4),
    "rcgan": (LOG, "PatchGenerator", "PatchCritic", "ToldGenerator", "ToldCritic", 1, 1, 1e-3),
    "bilstm-cnn-gan": (LOG, "PatchGenerator", "ConvCritic", "ToldGenerator", "ToldCritic", 1, 1, 2e-4),
    "tts-cgan": (TRANSFORMED, "PatchGenerator", "PatchCritic", "ToldGenerator", "AuxiliaryCritic", 1, 1, 1e-4),
    "cnn-gan": (MODERN, "ConvGenerator", "ConvCritic", "BlindGenerator", "ProjectionCritic", 1, 1, 5e-4),
}


def fitted_trainer(model, split, monkeypatch):
    made = []
    original = type(model)._trainer
    monkeypatch.setattr(type(model), "_trainer", lambda self, *parts: made.append(original(self, *parts)) or made[-1])
    model.fit(split.train)
    return made[0]


@pytest.mark.parametrize("name", PRESETS)
def test_fit_sets_up_what_the_preset_says(name, split, monkeypatch):
    rules, generator, critic, telling, judging, group, pack, rate = PRESETS[name]
    game = fitted_trainer(GENERATORS[name](steps=1), split, monkeypatch)
    assert isinstance(game, AdversarialTrainer)
    found = {key: getattr(game.rules, key) for key in rules}
    assert found == rules | {"objective": OBJECTIVES[rules["objective"]]}
    assert (type(game.generator).__name__, type(game.critic).__name__) == (telling, judging)
    parts = [{type(module).__name__ for module in player.modules()} for player in (game.generator, game.critic)]
    assert generator in parts[0]
    assert critic in parts[1]
    assert (game.recipe.group, game.critic.pack, game.recipe.rate, game.recipe.batch) == (group, pack, rate, 128)
    kind = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}[rules["optimizer"]]
    assert all(type(optimizer) is kind for optimizer in game._optimizers().values())
    _, cells = game._draw_batch()
    assert cells.unflatten(0, (-1, group)).eq(cells[::group, None]).all()


def test_the_plain_gan_has_hidden_layers_of_the_sizes_asked(split, monkeypatch):
    game = fitted_trainer(GENERATORS["gan"](steps=1), split, monkeypatch)
    sizes = [
        [layer.out_features for layer in player.modules() if isinstance(layer, torch.nn.Linear)][: len(known)]
        for player, known in ((game.generator.networks[0], (128, 256, 512)), (game.critic.networks[0], (512, 256, 128)))
    ]
    assert sizes == [[128, 256, 512], [512, 256, 128]]


def test_the_generator_of_an_auxiliary_gan_learns_what_its_beats_are_taken_for():
    game = trainer("auxiliary")
    real, cells = game._draw_batch()
    state = game._random.get_state()
    loss = game._generator_loss(real, cells)
    game._random.set_state(state)
    verdict = game.critic(game._generate(cells), cells)
    torch.testing.assert_close(loss, OBJECTIVES["log"].generator(None, verdict.scores) + verdict.label_loss)


def test_the_head_of_an_auxiliary_critic_learns():
    game = trainer("auxiliary")
    before = weights_of(game.critic.classify)
    game._critic_step(*game._draw_batch())
    assert all(changed(before, game.critic.classify))


@pytest.mark.parametrize("regulariser", ["gradient", "zero-centred"])
def test_a_step_of_the_critic_goes_down_loss_and_penalty_and_gives_real_over_generated(regulariser, monkeypatch):
    game = trainer(regulariser=regulariser, penalty=3.0, penalty_every=2, objective=OBJECTIVES["wasserstein"])
    totals = []
    monkeypatch.setattr("ecgsynth.adversarial.descend", lambda optimizer, loss: totals.append(loss.detach()))
    real, cells = game._draw_batch()
    state = game._random.get_state()
    _, gap = game._critic_step(real, cells)
    game._random.set_state(state)
    with torch.no_grad():
        made = game._generate(cells)
    if regulariser == "gradient":
        penalty = gradient_penalty(lambda beats: game.critic(beats, cells).scores, real, made, game._random)
    else:
        sides = [side.clone().requires_grad_(True) for side in (real, made)]
        penalty = sum(zero_centred_penalty(game.critic(side, cells).scores, side) for side in sides) / 2
    on_real, on_made = (game.critic(side, cells).scores.mean() for side in (real, made))
    assert gap == pytest.approx((on_real - on_made).item(), abs=1e-6)
    torch.testing.assert_close(totals[0], on_made - on_real + 2 * 3.0 * penalty)
    game.step = 1  # every second step has none, and the others twice as much
    game._random.set_state(state)
    game._critic_step(real, cells)
    torch.testing.assert_close(totals[1], on_made - on_real)


@pytest.mark.parametrize("classify_generated", [True, False])
def test_the_head_of_an_auxiliary_critic_learns_from_real_beats_and_from_generated_ones_if_asked(classify_generated, monkeypatch):
    game = trainer("auxiliary", classify_generated=classify_generated)
    totals = []
    monkeypatch.setattr("ecgsynth.adversarial.descend", lambda optimizer, loss: totals.append(loss.detach()))
    real, cells = game._draw_batch()
    state = game._random.get_state()
    game._critic_step(real, cells)
    game._random.set_state(state)
    on_real, on_made = (game.critic(side, cells) for side in (real, game._generate(cells)))
    expected = OBJECTIVES["log"].critic(on_real.scores, on_made.scores) + on_real.label_loss
    torch.testing.assert_close(totals[0], expected + on_made.label_loss if classify_generated else expected)


@pytest.mark.parametrize(("pace", "optimizer"), [(1.0, "adam"), (3.0, "adam"), (3.0, "rmsprop")])
def test_the_critic_learns_at_its_own_pace(pace, optimizer):
    game = trainer(critic_pace=pace, optimizer=optimizer)
    for _ in range(8):
        game.advance()
        rates = {name: {group["lr"] for group in each.param_groups} for name, each in game._optimizers().items()}
        (critic,), (generator,) = rates["critic_optimizer"], rates["generator_optimizer"]
        assert critic == pytest.approx(pace * generator)
    assert generator < 1e-2  # in the second half it falls


@pytest.fixture
def in_double():
    """Numbers of which a difference quotient can be taken."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def steps_ahead(game, real, cells, made, k):
    """Give the critic after k steps of torch's own Adam, begun where the game's stands."""
    critic = copy.deepcopy(game.critic)
    optimizer = torch.optim.Adam(critic.parameters(), betas=(0.5, 0.99))
    optimizer.load_state_dict(copy.deepcopy(game._critic_optimizer.state_dict()))
    for group in optimizer.param_groups:
        group["lr"] = game._rate()
    for _ in range(k):
        optimizer.zero_grad()
        OBJECTIVES["log"].critic(critic(real, cells).scores, critic(made, cells).scores).backward()
        optimizer.step()
    return critic


@pytest.mark.parametrize("begun", [0, 4])
def test_the_generator_sees_k_steps_of_adam_ahead(begun):
    game = trainer(unrolled=3)
    for _ in range(begun):
        game.advance()
    real, cells = game._draw_batch()
    made = game._generate(cells)
    ahead = game._look_ahead(real, made, cells)
    for name, parameter in steps_ahead(game, real, cells, made.detach(), 3).named_parameters():
        torch.testing.assert_close(ahead[name], parameter, rtol=1e-4, atol=1e-6)


def test_each_of_several_critics_is_seen_ahead_from_where_it_is():
    """The critic of one label has made four steps, that of the other none."""
    game = trainer("separate", unrolled=3, group=8)
    batches = [(torch.randn(8, SHAPE.size), torch.full((8,), label)) for label in (0, 1)]
    for _ in range(4):
        game._critic_step(*batches[0])
    for real, cells in batches:
        made = game._generate(cells)
        ahead = game._look_ahead(real, made, cells)
        for name, parameter in steps_ahead(game, real, cells, made.detach(), 3).named_parameters():
            if int(name.split(".")[1]) == cells[0]:
                torch.testing.assert_close(ahead[name], parameter, rtol=1e-4, atol=1e-6)


def test_the_generator_learns_through_the_steps_that_it_sees_ahead(in_double):
    """Its slope along a line is the difference quotient of the loss that it would have after each, which is not that of no such steps."""
    game = trainer(unrolled=3)
    for _ in range(4):
        game.advance()
    real, cells = game._draw_batch()
    state = game._random.get_state()
    weights = list(game.generator.parameters())
    line = [torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)) for number, weight in enumerate(weights)]

    def made_at(share):
        with torch.no_grad():
            for weight, way in zip(weights, line, strict=True):
                weight.add_(share * way)
        game._random.set_state(state)
        made = game._generate(cells).detach()
        with torch.no_grad():
            for weight, way in zip(weights, line, strict=True):
                weight.sub_(share * way)
        return made

    def slope(judge):
        found = [OBJECTIVES["log"].generator(None, judge(made)(made, cells).scores).item() for made in (made_at(1e-6), made_at(-1e-6))]
        return (found[0] - found[1]) / 2e-6

    game._random.set_state(state)
    loss = game._generator_loss(real, cells)
    ours = sum((grad * way).sum().item() for grad, way in zip(torch.autograd.grad(loss, weights), line, strict=True))
    fixed = steps_ahead(game, real, cells, made_at(0.0), 3)
    assert ours == pytest.approx(slope(lambda made: steps_ahead(game, real, cells, made, 3)), rel=1e-4)
    assert ours != pytest.approx(slope(lambda made: fixed), rel=0.01)


def test_the_average_remembers_as_much_as_asked():
    game = trainer()
    before = copy.deepcopy(game.average)
    game.step = 10**6  # long after the beginning, when it forgets faster
    game._generator_step(*game._draw_batch())
    game._update_average()
    for old, mean, new in zip(before.parameters(), game.average.parameters(), game.generator.parameters(), strict=True):
        torch.testing.assert_close(mean, 0.9 * old + 0.1 * new)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_labels_are_drawn_in_proportion_to_their_count_to_the_power_asked(power, split, monkeypatch):
    game = fitted_trainer(GENERATORS["cgan"](steps=1, class_power=power, batch=256), split, monkeypatch)
    drawn = torch.cat([game._draw_batch()[1] for _ in range(80)]).bincount()
    counts = torch.tensor([float(cell.n_beats) for cell in GENERATORS["class-mean"]().fit(split.train).cells]) ** power
    torch.testing.assert_close(drawn / drawn.sum(), counts / counts.sum(), atol=0.012, rtol=0)


def test_flow_gan_plays_by_the_rules_of_cnn_gan_with_its_own_critic(split, monkeypatch):
    game = fitted_trainer(GENERATORS["flow-gan"](steps=2, hidden=16, depth=1, critic_width=4, batch=16), split, monkeypatch)
    assert game.rules.objective is OBJECTIVES["relativistic"]
    assert game.rules.regulariser == "zero-centred"
    assert game.rules.penalty > 0


def test_ddpm_is_diffusion_without_what_flow_adds():
    ddpm, flow = GENERATORS["ddpm"](), GENERATORS["flow"]()
    assert (ddpm.path, flow.path) == ("diffusion", "straight")
    assert (ddpm.guidance, ddpm.mode_size, ddpm.blend, ddpm.sampling_steps) == (1.0, 0, 0.0, 50)


def test_a_vae_draws_its_latent_and_its_encoder_is_told_the_label(split, monkeypatch):
    game = fitted_trainer(GENERATORS["vae"](steps=1, latent=4, width=4, batch=8), split, monkeypatch)
    real, cells = game._draw_batch()
    mean, log_spread = game._model.encode(real, cells)
    assert not torch.equal(mean, game._model.encode(real, (cells + 1) % 5)[0])
    noise = torch.randn(len(real), 4, generator=torch.Generator().manual_seed(3))
    guess, spread = game._model.decoder(mean + log_spread.exp() * noise, cells)
    surprise = (0.5 * ((real - guess) / spread) ** 2 + spread.log()).sum(dim=1)
    apart = 0.5 * (mean**2 + (2 * log_spread).exp() - 1 - 2 * log_spread).sum(dim=1)
    loss = game._lesson._loss(game._model, real, cells, torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss, (surprise + apart).mean() / real.shape[1])


def test_adasyn_makes_its_beats_by_adasyn_where_a_label_stands_among_others(split, monkeypatch):
    import imblearn.over_sampling

    added = []

    class Spied(imblearn.over_sampling.ADASYN):
        def fit_resample(self, features, labels):
            assert (labels == 1).sum() == split.train.counts()["V"]
            found = super().fit_resample(features, labels)
            added.append(found[0][len(labels) :].astype(np.float32))
            return found

    monkeypatch.setattr(imblearn.over_sampling, "ADASYN", Spied)
    made = to_vectors(GENERATORS["adasyn"]().fit(split.train).sample({"V": 30}, seed=0))
    apart = np.abs(made[:, None, :256] - added[0][None, :, :256]).max(axis=2)
    assert len(added) == 1
    assert (apart.min(axis=1) < 1e-5).all()  # each is one of those
    assert len(set(apart.argmin(axis=1))) == 30


def often(beats):
    """Beats thirty times over: of few beats a covariance is shrunk."""
    return concatenate([beats] * 30)


def test_a_gaussian_has_the_mean_and_the_covariance_of_each_class(split):
    made = GENERATORS["gaussian"]().fit(often(split.train)).sample({"N": 4000, "V": 4000}, seed=0)
    real = to_vectors(split.train)
    axes = np.linalg.svd(real - real.mean(axis=0), full_matrices=False)[2][:3].T
    for name in "NV":
        ours, theirs = (to_vectors(beats.take(beats.classes == name)) @ axes for beats in (made, split.train))
        np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.15 * theirs.std())
        np.testing.assert_allclose(np.cov(ours.T), np.cov(theirs.T), atol=0.15 * theirs.var(axis=0).max())


def test_ecgsyn_knows_its_classes(split):
    made = GENERATORS["ecgsyn"]().fit(split.train).sample({"N": 200, "V": 200}, seed=0)
    normal, ventricular = (np.abs(made.take(made.classes == name).signals).mean(axis=0) for name in "NV")
    wide = [int((wave[60:160] > wave[60:160].max() / 2).sum()) for wave in (normal, ventricular)]  # samples about the R peak
    assert wide[1] > 1.5 * wide[0]


def test_copies_have_the_rhythm_of_their_own_beat_and_a_gaussian_the_correlation(split):
    def pairs(beats):
        return {(beat.tobytes(), float(np.round(rr, 4))) for beat, rr in zip(beats.signals, beats.rr_before, strict=True)}

    train = split.train.take((split.train.classes == "N") & np.isfinite(split.train.rr_before))
    assert pairs(GENERATORS["memorizer"]().fit(train).sample({"N": 200}, seed=0)) <= pairs(train)
    middle = train.signals.mean(axis=0)
    axes = np.linalg.svd(train.signals - middle, full_matrices=False)[2][:10].T

    def parts(beats):
        return (beats.signals - middle) @ axes, np.log(beats.rr_before)

    codes, rhythm = parts(train)
    slope = np.linalg.lstsq(codes, rhythm - rhythm.mean(), rcond=None)[0]
    found = []
    for beats in (train, GENERATORS["gaussian"]().fit(often(train)).sample({"N": 2000}, seed=0)):
        codes, rhythm = parts(beats)
        found.append(np.corrcoef(codes @ slope, rhythm)[0, 1])
    assert found[0] > 0.4
    assert found[1] == pytest.approx(found[0], abs=0.15)


class _Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.__name__)
        return function(*args, **(kwargs or {}))


def test_dcgan_computes_no_pooling_and_no_interpolation(split, monkeypatch):
    game = fitted_trainer(GENERATORS["dcgan"](steps=1, width=4, critic_width=4), split, monkeypatch)
    with _Operations() as seen:
        game.advance()
    assert not [name for name in seen.names if "pool" in name or "upsample" in name or "interpolate" in name]
    assert [name for name in seen.names if "convolution" in name]


def test_a_training_gives_the_losses_that_its_steps_had(split, monkeypatch):
    found = {"_critic_step": [], "_generator_step": []}

    def kept(name):
        whole = getattr(AdversarialTrainer, name)

        def step(self, real, cells):
            found[name].append(whole(self, real, cells))
            return found[name][-1]

        return step

    for name in found:
        monkeypatch.setattr(AdversarialTrainer, name, kept(name))
    steps = list(GENERATORS["cgan"](steps=3, width=4, critic_width=4, latent=4, batch=16).fit_steps(split.train))
    assert [step.step for step in steps] == [1, 2, 3]
    assert [step.generator_loss for step in steps] == found["_generator_step"]
    assert [(step.critic_loss, step.score_gap) for step in steps] == found["_critic_step"]
    assert len({*found["_generator_step"], *(loss for loss, _ in found["_critic_step"])}) == 6
