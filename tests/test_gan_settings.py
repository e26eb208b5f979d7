"""Which settings of a GAN join: parts of methods in ways that no preset has, and what is refused."""

import numpy as np
import pytest

from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.gan import Gan

QUICK = {"steps": 4, "width": 4, "critic_width": 4, "latent": 4, "batch": 16}


@pytest.mark.parametrize(
    "bad",
    [
        {"network": "x"},
        {"objective": "x"},
        {"prior": "x"},
        {"space": "x"},
        {"steps": 0},
        {"batch": 1},
        {"minutes": -1},
        {"pack": 3},
        {"prior": "mixture", "network": "lstm"},
        {"space": "components", "network": "dcgan"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(EcgsynthError):
        Gan(**bad)


@pytest.mark.parametrize(
    "settings",
    [
        {"prior": "mixture", "conditioning": "blind"},
        {"prior": "mixture", "network": "mlp-convolutional", "conditioning": "blind"},
        {"space": "components"},
        {"objective": "hinge"},
        {"conditioning": "separate", "pack": 2},
        {"unrolled": 2, "conditioning": "auxiliary"},
        {"unrolled": 2, "conditioning": "separate"},
        {"unrolled": 2, "network": "dcgan"},
    ],
    ids=str,
)
def test_parts_join_in_other_ways_too(split, settings):
    made = Gan(**QUICK, **settings).fit(split.train).sample({"N": 3, "F": 2})
    assert np.isfinite(made.signals).all()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"conditioning": "blind"}, "not told the label"),  # its beats would be labelled at random
        ({"prior": "mixture", "space": "frequencies"}, "whose mean is 0"),
        ({"regulariser": "clip"}, "with regulariser 'clip' above it"),  # it would clip all weights to 0
        ({"penalty": -1.0, "regulariser": "gradient"}, "with regulariser 'gradient' above it"),
        ({"penalty": float("nan")}, "a number from 0"),
        ({"beta": 1.0}, "beta from 0 to below 1"),
        ({"ema": float("nan")}, "ema and whitening"),
        ({"class_power": float("nan")}, "class_power not below 0"),
        ({"width": 0}, "must be positive"),
        ({"latent": 0}, "must be positive"),
        ({"network": "transformer", "critic_width": 5}, "divided among its heads"),
    ],
    ids=str,
)
def test_parts_that_do_not_join_are_refused(settings, why):
    with pytest.raises(EcgsynthError, match=why):
        Gan(**(QUICK | settings))
