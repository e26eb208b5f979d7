"""The signature of each adversarial method: what makes it that method, against what is known of it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from ecgsynth.adversarial import AdversarialTrainer, Rules
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, load_generator
from ecgsynth.nets import NETWORKS
from ecgsynth.nets.conditioning import CONDITIONINGS, AuxiliaryCritic, ProjectionCritic, SeparateGenerators, ToldCritic, Verdict
from ecgsynth.nets.mlp import MlpCritic, MlpGenerator
from ecgsynth.objectives import OBJECTIVES, zero_centred_penalty
from ecgsynth.priors import NormalPrior
from ecgsynth.training import Recipe
from ecgsynth.vectors import Shape

QUICK = {"steps": 4, "width": 4, "critic_width": 4, "latent": 4, "batch": 16}
SHAPE = Shape(1, 10)  # 12 columns


def trainer(conditioning="concat", n_cells=2, pack=1, group=1, **rules):
    given = {"objective": OBJECTIVES["log"], "regulariser": "none", "penalty": 0.0, "penalty_every": 1}
    given |= {"critic_steps": 1, "unrolled": 0, "optimizer": "adam", "beta": 0.5}
    torch.manual_seed(0)
    make_generator, make_critic = CONDITIONINGS[conditioning]
    return AdversarialTrainer(
        generator=make_generator(partial(MlpGenerator, SHAPE, width=4), 3, n_cells),
        critic=make_critic(lambda n_side: MlpCritic(SHAPE, n_side=n_side, pack=pack, width=4), n_cells, pack),
        prior=NormalPrior(3),
        rules=Rules(**given | rules),
        codes=torch.randn(40, SHAPE.size),
        cells=torch.arange(40) % n_cells,
        recipe=Recipe(steps=10, minutes=None, batch=8, rate=1e-2, ema=0.9, class_power=1.0, group=group),
        seed=0,
    )


def weights_of(network):
    return [parameter.detach().clone() for parameter in network.parameters()]


def changed(before, network):
    return [not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True)]


# gan and cgan


def test_parameter_counts_of_the_plain_gans():
    def counts(network):
        return [sum(p.numel() for p in layer.parameters()) for layer in network.modules() if isinstance(layer, nn.Linear)]

    shape = Shape(1, 28)  # D = 30
    critic = ToldCritic(lambda n_side: MlpCritic(shape, n_side=n_side), 1)
    plain = CONDITIONINGS["separate"][1](lambda n_side: MlpCritic(shape, n_side=n_side), 1)
    assert counts(MlpGenerator(shape, 32)) == [4_224, 33_024, 131_584, 15_390]
    assert counts(plain) == [15_872, 131_328, 32_896, 129]
    assert counts(MlpGenerator(shape, 32 + 1)) == [4_352, 33_024, 131_584, 15_390]
    assert counts(critic) == [16_384, 131_328, 32_896, 129]


def test_gan_has_a_network_a_class_and_a_batch_trains_one_of_them():
    game = trainer("separate", group=8)
    before = [weights_of(network) for network in game.generator.networks]
    critics = [weights_of(network) for network in game.critic.networks]
    _, cells = game._draw_batch()
    assert len(set(cells.tolist())) == 1
    real = torch.randn(8, SHAPE.size)
    game._update(real, torch.zeros(8, dtype=torch.long))
    for networks, old in ((game.generator.networks, before), (game.critic.networks, critics)):
        assert all(changed(old[0], networks[0]))
        assert not any(changed(old[1], networks[1]))


def test_separate_generators_answer_in_the_order_asked():
    both = SeparateGenerators(partial(MlpGenerator, SHAPE, width=4), 3, 2)
    latent, cells = torch.randn(5, 3), torch.tensor([1, 0, 1, 1, 0])
    together = both(latent, cells, None)
    for row, cell in enumerate(cells.tolist()):
        torch.testing.assert_close(together[row], both.networks[cell](latent[row : row + 1], None)[0])


def test_cgan_tells_both_players_the_label():
    game = trainer("concat")
    latent, beats = torch.randn(4, 3), torch.randn(4, SHAPE.size)
    one, two = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    assert not torch.equal(game.generator(latent, one, None), game.generator(latent, two, None))
    assert not torch.equal(game.critic(beats, one).scores, game.critic(beats, two).scores)


# dcgan


def test_dcgan_is_strided_batch_normalised_and_free_of_pooling():
    network = GENERATORS["dcgan"]().network
    from ecgsynth.nets import NETWORKS

    for part in (NETWORKS[network][0](Shape(1, 256), 8), NETWORKS[network][1](Shape(1, 256))):
        kinds = [type(layer).__name__ for layer in part.modules()]
        assert not [kind for kind in kinds if "Pool" in kind or "Upsample" in kind]
        assert kinds.count("BatchNorm1d") >= 4
        assert sum(getattr(layer, "stride", (1,)) == (2,) for layer in part.modules()) == 5


# acgan


def test_the_auxiliary_head_learns_from_real_and_from_generated_beats():
    game = trainer("auxiliary")
    seen = []
    judge = game.critic.judge

    def spy(packed, cells):
        verdict = judge(packed, cells)
        seen.append((packed.detach().clone(), verdict.label_loss))
        return verdict

    game.critic.judge = spy
    real, cells = game._draw_batch()
    with torch.no_grad():
        expected = game.critic(real, cells)
    seen.clear()
    game._critic_step(real, cells)
    assert torch.equal(seen[0][0][:, 0], real)
    assert not torch.equal(seen[1][0][:, 0], real)
    assert seen[0][1].item() == pytest.approx(expected.label_loss.item())
    plain = OBJECTIVES["log"].critic(torch.zeros(1), torch.zeros(1))
    total = game._critic_loss(Verdict(torch.zeros(1), torch.tensor(2.0)), Verdict(torch.zeros(1), torch.tensor(3.0)))
    assert total.item() == pytest.approx(plain.item() + 5)


def test_the_auxiliary_critic_is_not_told_the_label():
    critic = AuxiliaryCritic(lambda n_side: MlpCritic(SHAPE, n_side=n_side, width=4), 2)
    beats = torch.randn(4, SHAPE.size)
    one, two = (critic(beats, torch.full((4,), label)) for label in (0, 1))
    assert torch.equal(one.scores, two.scores)
    assert not torch.equal(one.label_loss, two.label_loss)


# wgan, wgan-gp


def test_weights_stay_clipped_after_every_wgan_step(monkeypatch):
    game = trainer(objective=OBJECTIVES["wasserstein"], regulariser="clip", penalty=0.01, critic_steps=3, optimizer="rmsprop")
    assert type(game._critic_optimizer).__name__ == "RMSprop"
    widest, whole = [], game._critic_step

    def watched(*batch):
        found = whole(*batch)
        widest.append(max(parameter.abs().max().item() for parameter in game.critic.parameters()))
        return found

    monkeypatch.setattr(game, "_critic_step", watched)
    for _ in range(3):
        game._update(*game._draw_batch())
    assert len(widest) == 9
    assert max(widest) <= 0.01


@pytest.mark.parametrize("critic_steps", [1, 5])
def test_the_critic_takes_its_steps_before_the_generator_takes_one(critic_steps, monkeypatch):
    game = trainer(critic_steps=critic_steps)
    steps = []
    for name in ("_critic_step", "_generator_step"):
        whole = getattr(game, name)
        monkeypatch.setattr(game, name, lambda *batch, name=name, whole=whole: steps.append(name) or whole(*batch))
    game.advance()
    assert steps == ["_critic_step"] * critic_steps + ["_generator_step"]
    assert game.drawn == critic_steps * game.recipe.batch


def test_wgan_presets_say_what_the_papers_say():
    assert GENERATORS["wgan"]().params | {"objective": "wasserstein", "regulariser": "clip", "optimizer": "rmsprop", "critic_steps": 5} == (
        GENERATORS["wgan"]().params
    )
    penalised = GENERATORS["wgan-gp"]()
    assert (penalised.regulariser, penalised.penalty, penalised.critic_steps) == ("gradient", 10.0, 5)


# pacgan


def test_packing_feeds_beats_of_one_class_at_a_time():
    game = trainer(pack=4, group=4, n_cells=2)
    seen = []
    judge = game.critic.judge
    game.critic.judge = lambda packed, cells: seen.append((packed, cells)) or judge(packed, cells)
    real, cells = game._draw_batch()
    assert cells.unflatten(0, (-1, 4)).eq(cells[::4, None]).all()
    assert len(game.critic(real, cells).scores) == 2
    packed, labels = seen[0]
    assert packed.shape == (2, 4, SHAPE.size)
    assert torch.equal(packed[0], real[:4])
    assert torch.equal(labels, cells[::4])
    seen.clear()
    generated = torch.randn_like(real)
    game._generate = lambda asked: generated if torch.equal(asked, cells) else None
    game._critic_step(real, cells)
    packs, told = zip(*seen, strict=True)
    assert [torch.equal(pack, side.unflatten(0, (-1, 4))) for pack, side in zip(packs, (real, generated), strict=True)] == [True, True]
    assert all(torch.equal(labels, cells[::4]) for labels in told)


# unrolled-gan


def test_looking_ahead_leaves_the_critic_as_it_was():
    game = trainer(unrolled=3)
    before = weights_of(game.critic)
    players = weights_of(game.generator)
    game._generator_step(*game._draw_batch())
    assert not any(changed(before, game.critic))
    assert all(changed(players, game.generator))
    assert all(parameter.requires_grad for parameter in game.critic.parameters())


class Normalised(nn.Module):
    def __init__(self, critic):
        super().__init__()
        self.norm, self.critic = nn.BatchNorm1d(SHAPE.size), critic

    def forward(self, beats, cells):
        return self.critic(self.norm(beats), cells)


def test_looking_ahead_leaves_the_statistics_of_batch_normalisation():
    game = trainer(unrolled=2)
    game.critic = Normalised(game.critic)
    before = {name: buffer.clone() for name, buffer in game.critic.named_buffers()}
    game._generator_step(*game._draw_batch())
    assert all(torch.equal(buffer, before[name]) for name, buffer in game.critic.named_buffers())


@pytest.mark.parametrize(("objective", "calls"), [("log", 1), ("wasserstein", 1), ("hinge", 1), ("relativistic", 2)])
def test_only_a_relative_objective_has_real_beats_judged_for_the_generator(objective, calls):
    game = trainer(objective=OBJECTIVES[objective])
    judged = []
    game.critic.register_forward_hook(lambda *_: judged.append(1))
    game._generator_step(*game._draw_batch())
    assert len(judged) == calls


# presets


@pytest.mark.parametrize(
    ("name", "signature"),
    {
        "gan": {"network": "mlp", "conditioning": "separate", "objective": "log", "latent": 32, "batch": 128, "rate": 5e-4},
        "cgan": {"network": "mlp", "objective": "log", "latent": 32, "batch": 128, "rate": 5e-4, "optimizer": "adam"},
        "dcgan": {"network": "dcgan", "objective": "log"},
        "acgan": {"network": "dcgan", "conditioning": "auxiliary"},
        "pacgan": {"pack": 2},
        "unrolled-gan": {"unrolled": 5},
        "rcgan": {"network": "lstm"},
        "bilstm-cnn-gan": {"network": "bilstm-convolutional"},
        "tts-cgan": {"network": "transformer", "conditioning": "auxiliary", "regulariser": "gradient"},
    }.items(),
    ids=str,
)
def test_a_preset_is_what_makes_the_method(name, signature):
    params = GENERATORS[name]().params
    assert {key: params[key] for key in signature} == signature
    assert params["unrolled"] == signature.get("unrolled", 0)
    assert params["pack"] == signature.get("pack", 1)


@pytest.mark.parametrize(
    ("network", "in_generator", "in_critic"),
    [
        ("lstm", {nn.LSTM}, {nn.LSTM}),
        ("bilstm-convolutional", {nn.LSTM}, {nn.Conv1d}),
        ("transformer", {nn.TransformerEncoderLayer}, {nn.TransformerEncoderLayer}),
        ("dcgan", {nn.ConvTranspose1d, nn.BatchNorm1d}, {nn.Conv1d}),
        ("mlp", set(), set()),
    ],
)
def test_a_network_is_built_of_what_its_name_says(network, in_generator, in_critic):
    typical = {nn.LSTM, nn.Conv1d, nn.ConvTranspose1d, nn.TransformerEncoderLayer}
    made = [make(Shape(1, 64), *latent) for make, latent in zip(NETWORKS[network], ((8,), ()), strict=True)]
    for one, wanted in zip(made, (in_generator, in_critic), strict=True):
        found = {type(part) for part in one.modules()}
        assert wanted <= found
        assert found & typical == wanted & typical
    both_ways = [part.bidirectional for one in made for part in one.modules() if isinstance(part, nn.LSTM)]
    assert both_ways == {"lstm": [False, False], "bilstm-convolutional": [True]}.get(network, [])


# cnn-gan


def test_the_critic_hears_of_the_label_by_projection():
    critic = ProjectionCritic(lambda n_side: MlpCritic(SHAPE, n_side=n_side, width=4), 3)
    beats = torch.randn(2, SHAPE.size)
    one, two = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert torch.equal(critic(beats, one).scores, critic(beats, two).scores)  # before training labels are alike
    nn.init.normal_(critic.embedding.weight)
    assert not torch.equal(critic(beats, one).scores, critic(beats, two).scores)


def test_the_penalty_holds_the_critic_back():
    def slope(**rules):
        game = trainer(objective=OBJECTIVES["relativistic"], **rules)
        while game.share < 1:
            game.advance()
        beats = torch.randn(20, SHAPE.size, requires_grad=True)
        return zero_centred_penalty(game.critic(beats, torch.zeros(20, dtype=torch.long)).scores, beats).item()

    assert slope(regulariser="zero-centred", penalty=10.0) < 0.5 * slope()


@pytest.mark.parametrize("name", ["gan", "cgan", "pacgan", "acgan", "cnn-gan"])
def test_the_critic_of_a_training_judges_beats_one_by_one_and_goes_into_no_file(name, split, tmp_path, monkeypatch):
    model = GENERATORS[name](**QUICK).fit(split.train.take(split.train.classes != "V"))
    beats = split.val.take(np.isin(split.val.classes, model.classes))
    scores = model.judge(beats)
    assert scores.shape == (len(beats),)
    assert scores.std() > 0
    monkeypatch.setattr("ecgsynth.generators.gan._JUDGED", 7)
    order = np.random.default_rng(0).permutation(len(beats))
    np.testing.assert_allclose(model.judge(beats.take(order)), scores[order], rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(EcgsynthError, match="no model file holds it"):
        load_generator(tmp_path / "model.safetensors").judge(beats)
    with pytest.raises(EcgsynthError, match="differ from those learnt from"):
        model.judge(replace(beats, signals=beats.signals[:, :200]))
    with pytest.raises(EcgsynthError, match="has not learnt V"):
        model.judge(replace(beats, classes=np.full(len(beats), "V")))


def test_a_short_training_learns_the_classes(split):
    """Means of generated classes are nearest to the real mean of their own class."""
    generator = GENERATORS["cnn-gan"](steps=100, width=8, latent=8, batch=64).fit(split.train)
    made = generator.sample(dict.fromkeys("NVQ", 200))
    means = {name: split.train.signals[split.train.classes == name].mean(axis=0) for name in "NVQ"}
    for name in "NVQ":
        mean = made.signals[made.classes == name].mean(axis=0)
        assert min(means, key=lambda other: np.linalg.norm(mean - means[other])) == name
