"""Convolutional generator and critic: four resolutions, each half of the one before."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from ecgsynth.nets.conditioning import CriticNetwork

# Shapes: B batch, C channels, L samples, Z conditioned latent, D features.

_STEM = 4  # samples a position of the finest resolution
_FACTOR = 32  # samples a position of the coarsest


class ConvCritic(CriticNetwork):
    """Strided convolutions down to L / 32 positions, then one linear layer over all of them."""

    def __init__(self, n_samples: int, *, width: int = 32, n_features: int = 256) -> None:
        super().__init__()
        self.down = _Encoder(width)
        self.flat = nn.Linear(4 * width * _positions(n_samples), n_features)
        self.n_features = n_features

    def forward(self, beats: Tensor) -> Tensor:
        """Give features: (B, L) -> (B, D)."""
        coarse = self.down(beats)[-1]
        return functional.leaky_relu(self.flat(coarse.flatten(1)), 0.2)


class ConvGenerator(nn.Module):
    """A latent, spread over L / 32 positions, is brought to full length by upsampling convolutions.

    Where a draft of the beat is given, it goes down through strided convolutions, meets the latent at
    the coarsest resolution and joins each finer one on the way up; the network then gives what is to
    be added to the draft, which is nothing before training.
    """

    def __init__(self, n_samples: int, n_latent: int, *, drafts: bool, width: int = 32) -> None:
        super().__init__()
        self.n_samples = n_samples
        self.positions = _positions(n_samples)
        self.latent = nn.Linear(n_latent, 4 * width * self.positions)
        self.down = _Encoder(width) if drafts else None
        widths = (4 * width, 4 * width, 2 * width, width)
        self.up = nn.ModuleList(nn.Conv1d(c_in, c_out, 3, padding=1) for c_in, c_out in pairwise(widths))
        self.out = nn.ConvTranspose1d(width, 1, 2 * _STEM, stride=_STEM, padding=_STEM // 2)
        if drafts:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, latent: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), (B, L) or None -> (B, L)."""
        x = self.latent(latent).unflatten(1, (-1, self.positions))  # (B, 4 C, L / 32)
        levels = self.down(draft) if self.down is not None else None
        if levels is not None:
            x = x + levels[-1]
        for depth, convolution in enumerate(self.up):
            x = functional.interpolate(functional.leaky_relu(x, 0.2), scale_factor=2.0, mode="linear")
            x = convolution(x)
            if levels is not None:
                x = x + levels[-2 - depth]
        beats: Tensor = self.out(functional.leaky_relu(x, 0.2)).squeeze(1)[:, : self.n_samples]
        return beats if draft is None else beats + draft


class _Encoder(nn.Module):
    """(B, L) -> the features at L / 4, L / 8, L / 16 and L / 32 positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, width, 9, stride=_STEM, padding=4)
        self.steps = nn.ModuleList(
            [
                nn.Conv1d(width, 2 * width, 5, stride=2, padding=2),
                nn.Conv1d(2 * width, 4 * width, 5, stride=2, padding=2),
                nn.Conv1d(4 * width, 4 * width, 3, stride=2, padding=1),
            ]
        )

    def forward(self, beats: Tensor) -> list[Tensor]:
        padding = -beats.shape[1] % _FACTOR
        x = self.stem(functional.pad(beats, (0, padding))[:, None])
        levels = [x]
        for step in self.steps:
            x = step(functional.leaky_relu(x, 0.2))
            levels.append(x)
        return levels


def _positions(n_samples: int) -> int:
    return -(-n_samples // _FACTOR)
