"""Modes divide labels, and beats are blended within them."""

import numpy as np
import pytest
import torch

from ecgsynth.generators.modes import Blend, find_modes


def test_modes_divide_cells_and_none_is_of_few_beats():
    rng = np.random.default_rng(0)
    blobs = [rng.normal(place, 0.1, (size, 2)) for place, size in ((0, 300), (5, 300), (20, 10), (0, 60), (9, 5))]
    codes, blob = np.concatenate(blobs), np.repeat(np.arange(5), [len(own) for own in blobs])
    cells = np.array([0, 0, 0, 1, 2])[blob]
    modes = find_modes(codes, cells, 100, seed=0)
    for mode in np.unique(modes):
        assert len(set(cells[modes == mode])) == 1
        assert not {0, 1} <= set(blob[modes == mode])
    counts = np.bincount(modes)
    assert counts[modes[blob < 3]].min() >= 40
    assert len(counts) == modes.max() + 1
    assert len(set(modes[cells == 0])) > 2
    assert len(set(modes[cells == 1])) == 1
    assert set(counts[modes[cells == 2]]) == {5}
    assert np.array_equal(find_modes(codes, cells, 0, seed=0), cells)


@pytest.mark.parametrize("share", [0.15, 0.7])
def test_blending_keeps_mean_and_covariance_of_each_mode_but_no_beat(share):
    random = torch.Generator().manual_seed(0)
    modes = torch.arange(6000) % 2
    places = torch.tensor([[0.0, 0.0, 0.0], [5.0, -5.0, 1.0]])
    skewed = torch.randn(6000, 3, generator=random).exp() @ torch.randn(3, 3, generator=random)
    beats = places[modes] + skewed
    blended = Blend(beats, modes, share)(beats, modes, random)
    for mode in (0, 1):
        one, other = beats[modes == mode], blended[modes == mode]
        spread = one.std(dim=0)
        assert ((one.mean(dim=0) - other.mean(dim=0)) / spread).abs().max() < 0.1
        assert (torch.cov(one.T) - torch.cov(other.T)).abs().max() < 0.25 * spread.square().max()
        assert torch.cdist(other[:500], one).amin(dim=1).median() > 0.05
    moved = (blended - beats).norm(dim=1) / (beats - places[modes]).norm(dim=1).mean()
    assert 0.5 * share < moved.mean() < 2 * share


def test_a_beat_is_blended_with_each_of_its_mode_alike_and_with_no_other():
    modes = torch.tensor([1, 0, 1, 0, 1])
    codes = torch.tensor([[10.0], [0.0], [20.0], [1.0], [60.0]])
    blend = Blend(codes, modes, 0.6)
    made = blend(torch.full((9000, 1), 10.0), torch.ones(9000, dtype=torch.long), torch.Generator().manual_seed(0))
    values, counts = made.round(decimals=3).unique(return_counts=True)
    assert values.tolist() == pytest.approx([30 - 0.8 * 20 + 0.6 * (other - 30) for other in (10, 20, 60)])
    assert (counts / 9000).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_without_blending_beats_stay_as_they_are():
    codes = torch.randn(5, 2)
    assert Blend(codes, torch.zeros(5, dtype=torch.long), 0.0)(codes, torch.zeros(5, dtype=torch.long), torch.Generator()) is codes
