"""Recurrent generator and critic: gated recurrent units that go over a beat in patches of 8 samples.

Deviation from Esteban 2017 (doi:10.48550/arXiv.1706.02633): one latent a beat, given at every step,
and patches in place of single samples, which shortens the recurrence from L to L / 8 steps.
"""

from torch import Tensor, nn
from torch.nn import functional

from ecgsynth.nets.conditioning import CriticNetwork

# Shapes: B batch, L samples, P patches, Z conditioned latent, H hidden, D features.

_PATCH = 8


class RecurrentGenerator(nn.Module):
    """A bidirectional GRU over the patches of a beat, fed the latent and a learnt position."""

    def __init__(self, n_samples: int, n_latent: int, *, drafts: bool, width: int = 32) -> None:
        super().__init__()
        self.n_samples = n_samples
        self.patches = -(-n_samples // _PATCH)
        self.latent = nn.Linear(n_latent, 4 * width * self.patches)
        self.draft = nn.Linear(_PATCH, 4 * width) if drafts else None
        self.gru = nn.GRU(4 * width, 2 * width, batch_first=True, bidirectional=True)
        self.out = nn.Linear(4 * width, _PATCH)
        if drafts:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, latent: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), (B, L) or None -> (B, L)."""
        x = self.latent(latent).unflatten(1, (self.patches, -1))  # (B, P, 2 H)
        if self.draft is not None and draft is not None:
            x = x + self.draft(_to_patches(draft))
        x, _ = self.gru(functional.leaky_relu(x, 0.2))
        beats: Tensor = self.out(x).flatten(1)[:, : self.n_samples]
        return beats if draft is None else beats + draft


class RecurrentCritic(CriticNetwork):
    """A bidirectional GRU over the patches of a beat, its outputs joined by one linear layer."""

    def __init__(self, n_samples: int, *, width: int = 32, n_features: int = 256) -> None:
        super().__init__()
        self.patch = nn.Linear(_PATCH, 2 * width)
        self.gru = nn.GRU(2 * width, 2 * width, batch_first=True, bidirectional=True)
        self.flat = nn.Linear(4 * width * -(-n_samples // _PATCH), n_features)
        self.n_features = n_features

    def forward(self, beats: Tensor) -> Tensor:
        """Give features: (B, L) -> (B, D)."""
        x, _ = self.gru(functional.leaky_relu(self.patch(_to_patches(beats)), 0.2))  # (B, P, 2 H)
        return functional.leaky_relu(self.flat(x.flatten(1)), 0.2)


def _to_patches(beats: Tensor) -> Tensor:
    """(B, L) -> (B, P, 8), the end filled with zeros."""
    return functional.pad(beats, (0, -beats.shape[1] % _PATCH)).unflatten(1, (-1, _PATCH))
