"""Fully connected generator and critic, as in the first GANs: beats are points, their samples have no order.

References
----------
Goodfellow IJ et al. Generative adversarial networks (2014), doi:10.48550/arXiv.1406.2661.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgsynth.nets.conditioning import CriticNetwork, GeneratorNetwork
from ecgsynth.vectors import Shape

# Shapes: B batch, M packed beats, D columns of a vector, Z conditioned latent, S side columns, F features.

_WIDTHS = (128, 256, 512)


class MlpGenerator(GeneratorNetwork):
    """Z - 128 - 256 - 512 - D; a draft, if there is one, is read beside the latent and added at the end."""

    def __init__(self, shape: Shape, n_latent: int, *, drafts: bool = False, width: int = 32) -> None:
        super().__init__()
        widths = [w * width // 32 for w in _WIDTHS]
        first = n_latent + (shape.size if drafts else 0)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([first, *widths]))
        self.out = nn.Linear(widths[-1], shape.size)
        if drafts:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, latent: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), (B, D) or None -> (B, D)."""
        x = latent if draft is None else torch.cat([latent, draft], dim=1)
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2)
        beats: Tensor = self.out(x)
        return beats if draft is None else beats + draft


class MlpCritic(CriticNetwork):
    """M D + S - 512 - 256 - 128."""

    def __init__(self, shape: Shape, *, n_side: int = 0, pack: int = 1, width: int = 32) -> None:
        super().__init__()
        widths = [w * width // 32 for w in reversed(_WIDTHS)]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([pack * shape.size + n_side, *widths]))
        self.n_features = widths[-1]

    def forward(self, beats: Tensor, side: Tensor | None = None) -> Tensor:
        """Give features: (B, M, D), (B, S) or None -> (B, F)."""
        x = beats.flatten(1) if side is None else torch.cat([beats.flatten(1), side], dim=1)
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2)
        return x
