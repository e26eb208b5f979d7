"""Each way in which beats are varied, by itself, against its closed form."""

import pytest
import torch

from ecgsynth import augmentation
from ecgsynth.augmentation import vary

KINDS = {"GAIN": 0.0, "STRETCH": 0.0, "SHIFT_S": 0.0, "BASELINE_MV": 0.0, "NOISE_MV": 0.0}
R = 108


def varied(monkeypatch, signals, seed=0, **strengths):
    for name, value in (KINDS | strengths).items():
        monkeypatch.setattr(augmentation, name, value)
    return vary(signals, fs=360.0, r_sample=R, random=torch.Generator().manual_seed(seed))


def bump(center, count=500, leads=1):
    time = torch.arange(256.0)
    return torch.exp(-(((time - center) / 4) ** 2)).expand(count, leads, -1)


def test_nothing_varies_without_strength(monkeypatch):
    beats = torch.randn(5, 2, 256)
    torch.testing.assert_close(varied(monkeypatch, beats), beats)


def test_the_gain_is_one_number_a_beat_and_lead(monkeypatch):
    beats = bump(R, count=4000, leads=2) + 1
    gain = (varied(monkeypatch, beats, GAIN=0.3) / beats).log()
    assert (gain.std(dim=2) < 1e-5).all()
    assert gain[:, :, 0].std().item() == pytest.approx(0.3, rel=0.05)
    assert gain[:, :, 0].mean().item() == pytest.approx(0, abs=0.02)
    assert abs(torch.corrcoef(gain[:, :, 0].T)[0, 1]) < 0.1


def test_a_shift_moves_the_r_peak_and_no_further_than_it_may(monkeypatch):
    moved = varied(monkeypatch, bump(R, leads=2), SHIFT_S=0.02).argmax(dim=2) - R
    assert torch.equal(moved[:, 0], moved[:, 1])
    assert moved.abs().max() == 7
    assert len(moved.unique()) == 15


def test_stretching_leaves_the_r_peak_and_moves_what_is_far(monkeypatch):
    assert (varied(monkeypatch, bump(R), STRETCH=0.1).argmax(dim=2) == R).all()
    later = varied(monkeypatch, bump(R + 99), STRETCH=0.1).argmax(dim=2) - R
    assert later.min() == 90
    assert later.max() == 110


def test_the_baseline_is_a_straight_line(monkeypatch):
    lines = varied(monkeypatch, torch.zeros(4000, 1, 256), BASELINE_MV=0.05)[:, 0]
    assert lines.diff(n=2).abs().max() < 1e-6
    assert ((lines[:, 0] + lines[:, -1]) / 2).std().item() == pytest.approx(0.05, rel=0.05)
    assert ((lines[:, -1] - lines[:, 0]) / 2).std().item() == pytest.approx(0.05, rel=0.05)


def test_noise_is_white(monkeypatch):
    noise = varied(monkeypatch, torch.zeros(2000, 1, 256), NOISE_MV=0.02)[:, 0]
    assert noise.std().item() == pytest.approx(0.02, rel=0.01)
    assert abs(torch.corrcoef(torch.stack([noise[:, :-1].flatten(), noise[:, 1:].flatten()]))[0, 1]) < 0.01


def test_the_same_seed_varies_alike(unchanged_global_random):
    beats = torch.linspace(-1, 1, 6 * 256).reshape(6, 1, 256)
    first, again, other = (vary(beats, fs=360.0, r_sample=R, random=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
