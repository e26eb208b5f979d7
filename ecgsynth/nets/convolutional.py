"""Convolutional generator and critic: four resolutions, each half of the one before."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgsynth.nets.conditioning import CriticNetwork, GeneratorNetwork
from ecgsynth.vectors import Shape

# Shapes: B batch, M packed beats, C channels, L samples, D columns of a vector, Z conditioned latent,
# S side columns, F features.

_STEM = 4  # samples a position of the finest resolution
_FACTOR = 32  # samples a position of the coarsest


def to_channels(beats: Tensor, side: Tensor | None, shape: Shape) -> Tensor:
    """Set the leads side by side, then rhythm and side columns as channels that do not change: (B, M, D), (B, S) -> (B, C, L)."""
    waveform = beats[..., : shape.waveform].reshape(len(beats), -1, shape.n_samples)
    constant = beats[..., shape.waveform :].flatten(1)
    if side is not None:
        constant = torch.cat([constant, side], dim=1)
    return torch.cat([waveform, constant[:, :, None].expand(-1, -1, shape.n_samples)], dim=1)


class ConvCritic(CriticNetwork):
    """Strided convolutions down to L / 32 positions, then one linear layer over all of them.

    References
    ----------
    Radford 2016, as `DcganCritic`. Deviation: no batch normalisation, which gradient penalties do not go with (Gulrajani I et al.
    2017, doi:10.48550/arXiv.1704.00028). Zhu 2019, doi:10.1038/s41598-019-42516-z, whose LSTM generator it judges as
    `bilstm-cnn-gan`, pools where this one has strides.
    """

    def __init__(self, shape: Shape, *, n_side: int = 0, pack: int = 1, width: int = 32, n_features: int = 256) -> None:
        super().__init__()
        self.shape = shape
        self.down = _Encoder(pack * (shape.n_leads + shape.n_rhythm) + n_side, width)
        self.flat = nn.Linear(4 * width * _positions(shape.n_samples), n_features)
        self.n_features = n_features

    def forward(self, beats: Tensor, side: Tensor | None = None) -> Tensor:
        """Give features: (B, M, D), (B, S) or None -> (B, F)."""
        coarse = self.down(to_channels(beats, side, self.shape))[-1]
        return functional.leaky_relu(self.flat(coarse.flatten(1)), 0.2)


class ConvGenerator(GeneratorNetwork):
    """A latent, spread over L / 32 positions, is brought to full length by upsampling convolutions.

    Where a draft of the beat is given, it goes down through strided convolutions, meets the latent at
    the coarsest resolution and joins each finer one on the way up; the network then gives what is to
    be added to the draft, which is nothing before training.

    References
    ----------
    Interpolation before a convolution, in the place of transposed ones: Odena A et al. Deconvolution and checkerboard artifacts.
    Distill (2016), doi:10.23915/distill.00003. Joined at each resolution as in Ronneberger O et al. U-Net (2015),
    doi:10.1007/978-3-319-24574-4_28.
    """

    def __init__(self, shape: Shape, n_latent: int, *, drafts: bool = False, width: int = 32) -> None:
        super().__init__()
        self.shape = shape
        self.positions = _positions(shape.n_samples)
        self.latent = nn.Linear(n_latent, 4 * width * self.positions)
        self.down = _Encoder(shape.n_leads + shape.n_rhythm, width) if drafts else None
        widths = (4 * width, 4 * width, 2 * width, width)
        self.up = nn.ModuleList(nn.Conv1d(c_in, c_out, 3, padding=1) for c_in, c_out in pairwise(widths))
        self.out = nn.ConvTranspose1d(width, shape.n_leads, 2 * _STEM, stride=_STEM, padding=_STEM // 2)
        self.rhythm = nn.Linear(4 * width, shape.n_rhythm)
        if drafts:
            for last in (self.out, self.rhythm):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, latent: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), (B, D) or None -> (B, D)."""
        x = self.latent(latent).unflatten(1, (-1, self.positions))  # (B, 4 C, L / 32)
        levels = None
        if self.down is not None and draft is not None:
            levels = self.down(to_channels(draft[:, None], None, self.shape))
            x = x + levels[-1]
        rhythm = self.rhythm(functional.leaky_relu(x, 0.2).mean(dim=2))
        for depth, convolution in enumerate(self.up):
            # Convolving before upsampling would cost half as much, but blurs what joins from the draft.
            x = convolution(functional.interpolate(functional.leaky_relu(x, 0.2), scale_factor=2.0, mode="linear"))
            if levels is not None:
                x = x + levels[-2 - depth]
        waveform = self.out(functional.leaky_relu(x, 0.2))[:, :, : self.shape.n_samples].flatten(1)
        beats = torch.cat([waveform, rhythm], dim=1)
        return beats if draft is None else beats + draft


class DcganGenerator(GeneratorNetwork):
    """Strided transposed convolutions with batch normalisation, from L / 32 positions to L; no fully connected hidden layer.

    References
    ----------
    Radford A, Metz L, Chintala S. Unsupervised representation learning with deep convolutional GANs
    (2016), doi:10.48550/arXiv.1511.06434. Deviations: one dimension; no tanh at the end, as beats in mV
    have no bounds; the rhythm is read off the coarsest features.
    """

    def __init__(self, shape: Shape, n_latent: int, *, drafts: bool = False, width: int = 32) -> None:
        super().__init__()
        self.shape = shape
        self.positions = _positions(shape.n_samples)
        widths = (8 * width, 4 * width, 2 * width, width, width)
        self.latent = nn.ConvTranspose1d(n_latent, widths[0], self.positions, bias=False)
        self.first = nn.BatchNorm1d(widths[0])
        self.up = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.ConvTranspose1d(a, b, 4, stride=2, padding=1, bias=False), nn.BatchNorm1d(b))
            for a, b in pairwise(widths)
        )
        self.out = nn.ConvTranspose1d(width, shape.n_leads, 4, stride=2, padding=1)
        self.rhythm = nn.Linear(widths[0], shape.n_rhythm)

    def forward(self, latent: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), None -> (B, D)."""
        x = self.first(self.latent(latent[:, :, None]))  # (B, 8 C, L / 32)
        rhythm = self.rhythm(functional.relu(x).mean(dim=2))
        for step in self.up:
            x = step(x)
        waveform = self.out(functional.relu(x))[:, :, : self.shape.n_samples].flatten(1)
        return torch.cat([waveform, rhythm], dim=1)


class DcganCritic(CriticNetwork):
    """Strided convolutions with batch normalisation but in the first layer; no pooling: Radford 2016, as above."""

    def __init__(self, shape: Shape, *, n_side: int = 0, pack: int = 1, width: int = 32) -> None:
        super().__init__()
        self.shape = shape
        channels = pack * (shape.n_leads + shape.n_rhythm) + n_side
        widths = (width, width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = [nn.Conv1d(channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for a, b in pairwise(widths):
            layers += [nn.Conv1d(a, b, 4, stride=2, padding=1, bias=False), nn.BatchNorm1d(b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.n_features = widths[-1] * _positions(shape.n_samples)

    def forward(self, beats: Tensor, side: Tensor | None = None) -> Tensor:
        """Give features: (B, M, D), (B, S) or None -> (B, F)."""
        features: Tensor = self.layers(_padded(to_channels(beats, side, self.shape))).flatten(1)
        return features


class _Encoder(nn.Module):
    """(B, C, L) -> the features at L / 4, L / 8, L / 16 and L / 32 positions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(channels, width, 9, stride=_STEM, padding=4)
        self.steps = nn.ModuleList(
            [
                nn.Conv1d(width, 2 * width, 5, stride=2, padding=2),
                nn.Conv1d(2 * width, 4 * width, 5, stride=2, padding=2),
                nn.Conv1d(4 * width, 4 * width, 3, stride=2, padding=1),
            ]
        )

    def forward(self, channels: Tensor) -> list[Tensor]:
        x = self.stem(_padded(channels))
        levels = [x]
        for step in self.steps:
            x = step(functional.leaky_relu(x, 0.2))
            levels.append(x)
        return levels


def _padded(channels: Tensor) -> Tensor:
    """Fill the end with zeros up to whole positions of the coarsest resolution."""
    return functional.pad(channels, (0, -channels.shape[2] % _FACTOR))


def _positions(n_samples: int) -> int:
    return -(-n_samples // _FACTOR)
