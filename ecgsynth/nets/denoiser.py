"""The network of flow matching and diffusion: a noisy beat and how noisy it is, to what leads back to a clean one."""

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# Shapes: B batch, P coordinates of a beat, H hidden, E embedding.

_FREQUENCIES = 32
_FASTEST = 200.0
_TABLES = 64  # times whose tables are kept: some megabytes each

Told = Sequence[tuple[Tensor, ...]]
"""Of each block of a `Denoiser`, what it scales and shifts by."""


class Denoiser(nn.Module):
    """Residual blocks of two linear layers, each scaled and shifted by time and cell.

    References
    ----------
    Peebles W, Xie S. Scalable diffusion models with transformers (2023), doi:10.48550/arXiv.2212.09748: the
    modulation, here without attention, as a beat is one vector.
    """

    frequencies: Tensor

    def __init__(self, size: int, n_cells: int, *, n_style: int = 0, hidden: int = 512, depth: int = 4, embedding: int = 128) -> None:
        super().__init__()
        self.inward = nn.Linear(size, hidden)
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.cell = nn.Embedding(n_cells, embedding)
        self.style = nn.Linear(n_style, embedding, bias=False) if n_style else None
        self.blocks = nn.ModuleList(_Block(hidden, embedding) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden)
        self.outward = nn.Linear(hidden, size)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, math.log(_FASTEST), _FREQUENCIES)), persistent=False)

    def forward(self, noisy: Tensor, time: Tensor, cells: Tensor, style: Tensor | None = None) -> Tensor:
        """Give what the objective asks for: (B, P), time 0 to 1 (B,), (B,), style (B, n_style) -> (B, P)."""
        return self.answer(noisy, self.tell(time, cells, style))

    def tell(self, time: Tensor, cells: Tensor, style: Tensor | None = None) -> Told:
        """Give what each block scales and shifts by: time (B,), (B,), style (B, n_style) -> (B, hidden) twice a block."""
        angles = time[:, None] * self.frequencies
        told = self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.cell(cells)  # (B, E)
        if self.style is not None and style is not None:
            told = told + self.style(style)
        told = functional.silu(told)
        return [block.modulation(told).chunk(2, dim=1) for block in cast("Iterable[_Block]", self.blocks)]

    def answer(self, noisy: Tensor, told: Told) -> Tensor:
        """Give what the objective asks for: (B, P), what `tell` gave -> (B, P)."""
        x = self.inward(noisy)
        for block, (scale, shift) in zip(self.blocks, told, strict=True):
            x = block(x, scale, shift)
        answer: Tensor = self.outward(self.norm(x))
        return answer


class GuidedDenoiser(nn.Module):
    """A network and a weak one of the same task, whose mistakes tell in which direction the first still errs.

    References
    ----------
    Karras T et al. Guiding a diffusion model with a bad version of itself (2024),
    doi:10.48550/arXiv.2406.02507; Flow matching is guided alike, on velocities.
    """

    def __init__(self, strong: Denoiser, weak: Denoiser, guidance: float) -> None:
        super().__init__()
        self.strong, self.weak = strong, weak
        self.guidance = guidance

    def forward(self, noisy: Tensor, time: Tensor, cells: Tensor, style: Tensor | None = None) -> Tensor:
        """Give the answer of the strong network, led further away from that of the weak one: (B, P)."""
        answer: Tensor = self.strong(noisy, time, cells, style)
        return answer + (self.guidance - 1) * (answer - self.weak(noisy, time, cells, style))


class OneStep(nn.Module):
    """A denoiser that goes from noise to beat at once.

    Parameters
    ----------
    denoiser : Denoiser
        What it says of noise at time 0 is added to the noise.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, noise: Tensor, cells: Tensor, draft: None = None) -> Tensor:
        """Give beats: (B, P), (B,) -> (B, P)."""
        beats: Tensor = noise + self.denoiser(noise, noise.new_zeros(len(noise)), cells)
        return beats


class Tabled(nn.Module):
    """A denoiser for making many beats: what its blocks are told depends on time and cell alone, and is computed once for each.

    Parameters
    ----------
    denoiser : Denoiser
        Which does not learn any more, and knows no styles.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self._tables: dict[float, Told] = {}

    def forward(self, noisy: Tensor, time: Tensor, cells: Tensor, style: None = None) -> Tensor:
        """Give what the denoiser does: (B, P), one time for all (B,), (B,) -> (B, P)."""
        now = float(time[0])
        table = self._tables.get(now)
        if table is None:
            every = torch.arange(self.denoiser.cell.num_embeddings)
            table = [(scale.contiguous(), shift.contiguous()) for scale, shift in self.denoiser.tell(time[:1], every)]
            if len(self._tables) < _TABLES:
                self._tables[now] = table
        told = [(scale.index_select(0, cells), shift.index_select(0, cells)) for scale, shift in table]
        return self.denoiser.answer(noisy, told)


def tabled(network: nn.Module) -> nn.Module:
    """Put a `Tabled` denoiser in the place of each one in a network."""
    if isinstance(network, Denoiser):
        return Tabled(network)
    for name, part in network.named_children():
        setattr(network, name, tabled(part))
    return network


class _Block(nn.Module):
    def __init__(self, hidden: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False)
        self.modulation = nn.Linear(embedding, 2 * hidden)
        self.first = nn.Linear(hidden, hidden)
        self.second = nn.Linear(hidden, hidden)
        for last in (self.modulation, self.second):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        changed: Tensor = x + self.second(functional.silu(self.first(self.norm(x) * (1 + scale) + shift)))
        return changed
