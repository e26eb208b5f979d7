"""Recurrent and transformer networks: they go over a beat in patches of 8 samples, each a token.

Deviations from the papers, which go over single samples: patches shorten the sequence from L to L / 8
tokens; of the one latent of a beat each token has a projection of its own; RR intervals stand beside each
token of a critic, and are read off the mean token of a generator.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from ecgsynth.nets.conditioning import CriticNetwork, GeneratorNetwork
from ecgsynth.nets.convolutional import to_channels
from ecgsynth.vectors import Shape

# Shapes: B batch, M packed beats, C channels, P patches, H token, D columns of a vector, Z conditioned latent,
# S side columns, F features.

_PATCH = 8


class PatchGenerator(GeneratorNetwork):
    """A latent becomes P tokens, a sequence model joins them, and each token becomes 8 samples a lead.

    Parameters
    ----------
    shape : Shape
        Of the beats.
    n_latent : int
        Conditioned latent.
    body : nn.Module
        The sequence model: (B, P, H) -> (B, P, H').
    hidden, out : int
        H and H'.
    """

    def __init__(self, shape: Shape, n_latent: int, body: nn.Module, hidden: int, out: int) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = -(-shape.n_samples // _PATCH)
        self.latent = nn.Linear(n_latent, hidden * self.tokens)
        self.body = body
        self.out = nn.Linear(out, _PATCH * shape.n_leads)
        self.rhythm = nn.Linear(out, shape.n_rhythm)

    def forward(self, latent: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), None -> (B, D)."""
        x = self.body(self.latent(latent).unflatten(1, (self.tokens, -1)))  # (B, P, H')
        patches = self.out(x).unflatten(2, (self.shape.n_leads, _PATCH))  # (B, P, leads, 8)
        waveform = patches.transpose(1, 2).flatten(2)[:, :, : self.shape.n_samples].flatten(1)
        return torch.cat([waveform, self.rhythm(x.mean(dim=1))], dim=1)


class PatchCritic(CriticNetwork):
    """Tokens of 8 samples of every channel go through a sequence model; its outputs are averaged or kept side by side."""

    def __init__(self, shape: Shape, body: nn.Module, hidden: int, out: int, *, n_side: int = 0, pack: int = 1) -> None:
        super().__init__()
        self.shape = shape
        channels = pack * (shape.n_leads + shape.n_rhythm) + n_side
        self.token = nn.Linear(_PATCH * channels, hidden)
        self.body = body
        self.n_features = out

    def forward(self, beats: Tensor, side: Tensor | None = None) -> Tensor:
        """Give features: (B, M, D), (B, S) or None -> (B, F)."""
        channels = to_channels(beats, side, self.shape)
        channels = functional.pad(channels, (0, -channels.shape[2] % _PATCH))
        tokens = channels.unflatten(2, (-1, _PATCH)).permute(0, 2, 1, 3).flatten(2)  # (B, P, 8 C)
        features: Tensor = self.body(self.token(tokens)).mean(dim=1)
        return features


class Lstm(nn.Module):
    """A long short-term memory that gives its outputs alone: (B, P, H) -> (B, P, H')."""

    def __init__(self, hidden: int, out: int, *, both_ways: bool = False, layers: int = 1) -> None:
        super().__init__()
        self.lstm = nn.LSTM(hidden, out // (1 + both_ways), layers, batch_first=True, bidirectional=both_ways)

    def forward(self, tokens: Tensor) -> Tensor:
        """Give outputs: (B, P, H) -> (B, P, H')."""
        outputs: Tensor = self.lstm(tokens)[0]
        return outputs


class Transformer(nn.Module):
    """Transformer encoder blocks on tokens with learnt positions: (B, P, H) -> (B, P, H)."""

    def __init__(self, tokens: int, hidden: int, *, heads: int = 4, layers: int = 3) -> None:
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(tokens, hidden))
        block = nn.TransformerEncoderLayer(hidden, heads, 2 * hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(hidden), enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Give outputs: (B, P, H) -> (B, P, H)."""
        # The fused kernels cannot be derived twice, as a gradient penalty needs. The choice holds for the whole
        # process, so it is not made by the threads that sample.
        with sdpa_kernel(SDPBackend.MATH) if torch.is_grad_enabled() else nullcontext():
            outputs: Tensor = self.blocks(tokens + self.position)
        return outputs


def lstm_generator(shape: Shape, n_latent: int, *, drafts: bool = False, width: int = 32) -> GeneratorNetwork:
    """Make a one-way LSTM: Esteban et al. 2017, doi:10.48550/arXiv.1706.02633."""
    return PatchGenerator(shape, n_latent, Lstm(2 * width, 4 * width), 2 * width, 4 * width)


def lstm_critic(shape: Shape, *, n_side: int = 0, pack: int = 1, width: int = 32) -> CriticNetwork:
    """Make a one-way LSTM whose outputs are averaged: Esteban et al. 2017, as above.

    Deviations: they give a verdict of every step and average the losses of these, and their critic learns by plain gradient descent.
    """
    return PatchCritic(shape, Lstm(2 * width, 4 * width), 2 * width, 4 * width, n_side=n_side, pack=pack)


def bilstm_generator(shape: Shape, n_latent: int, *, drafts: bool = False, width: int = 32) -> GeneratorNetwork:
    """Make two LSTM layers both ways: Zhu et al. 2019, doi:10.1038/s41598-019-42516-z. Deviation: no dropout."""
    return PatchGenerator(shape, n_latent, Lstm(2 * width, 4 * width, both_ways=True, layers=2), 2 * width, 4 * width)


def transformer_generator(shape: Shape, n_latent: int, *, drafts: bool = False, width: int = 32) -> GeneratorNetwork:
    """Make transformer encoder blocks: Li et al. 2022, doi:10.48550/arXiv.2206.13676.

    Deviations: no dropout, no bound on gradients, no decay of weights; the generator's tokens have learnt positions, too.
    """
    tokens = -(-shape.n_samples // _PATCH)
    return PatchGenerator(shape, n_latent, Transformer(tokens, 2 * width), 2 * width, 2 * width)


def transformer_critic(shape: Shape, *, n_side: int = 0, pack: int = 1, width: int = 32) -> CriticNetwork:
    """Make transformer encoder blocks whose outputs are averaged: Li et al. 2022, as above."""
    tokens = -(-shape.n_samples // _PATCH)
    return PatchCritic(shape, Transformer(tokens, 2 * width), 2 * width, 2 * width, n_side=n_side, pack=pack)
