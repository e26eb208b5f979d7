"""Beats varied as bodies and electrodes vary them, so that a classifier learns what their label does not depend on."""

import torch
from torch import Tensor

# Shapes: B batch, C leads, L samples.

GAIN = 0.3
"""Spread of the logarithm of the gain: skin, electrodes and where they sit."""
STRETCH = 0.1
"""Time is stretched about the R peak by up to this share: slower and faster conduction."""
SHIFT_S = 0.017
"""The R peak is marked up to this early or late, s."""
BASELINE_MV = 0.05
"""Spread of the baseline's height, and of its slope over half a window, mV."""
NOISE_MV = 0.02
"""Spread of white noise, mV."""


def vary(signals: Tensor, *, fs: float, r_sample: int, random: torch.Generator) -> Tensor:
    """Vary each beat anew: its gain, duration, place, baseline and noise.

    Parameters
    ----------
    signals : Tensor, shape (B, C, L)
        mV. All leads of a beat are stretched and shifted alike.
    fs : float
        Hz.
    r_sample : int
        Where the R peak lies.
    random : torch.Generator
        Source of all randomness.

    Returns
    -------
    Tensor, shape (B, C, L)

    Notes
    -----
    What would lie beyond the window is its last sample.

    References
    ----------
    Um TT et al. Data augmentation of wearable sensor data (2017), doi:10.1145/3136755.3136817: jitter,
    scaling and time warping; here time is stretched evenly.
    """
    count, leads, length = signals.shape

    def spread(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random) * 2 - 1

    time = torch.arange(length) - r_sample
    place = (time * (1 + STRETCH * spread(count, 1)) + SHIFT_S * fs * spread(count, 1) + r_sample).clamp(0, length - 1)  # (B, L)
    before = place.floor().clamp(max=length - 2).long()
    share = (place - before)[:, None]  # (B, 1, L)
    near, far = (signals.gather(2, (before + step)[:, None].expand(-1, leads, -1)) for step in (0, 1))
    gain = torch.exp(GAIN * torch.randn(count, leads, 1, generator=random))
    height, slope = BASELINE_MV * torch.randn(2, count, leads, 1, generator=random)
    noise = NOISE_MV * torch.randn(signals.shape, generator=random)
    return gain * (near * (1 - share) + far * share) + height + slope * torch.linspace(-1, 1, length) + noise
