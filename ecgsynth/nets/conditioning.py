"""How what a network is told of a beat joins the latent of a generator and the features of a critic."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# Shapes: B batch, M packed beats, D columns of a vector, Z latent, S side columns, F features, K cells.


class GeneratorNetwork(nn.Module):
    """Turns latents, and drafts where the prior gives them, into beats: (B, Z), (B, D) or None -> (B, D)."""


class CriticNetwork(nn.Module):
    """Turns beats, M at a time, and side columns into features, and says how many: (B, M, D), (B, S) -> (B, F)."""

    n_features: int


MakeGenerator = Callable[[int], GeneratorNetwork]
MakeCritic = Callable[[int], CriticNetwork]


class Verdict(NamedTuple):
    """What a critic says of a batch: scores (B / M,), and how badly it knows the cells, if it tells."""

    scores: Tensor
    label_loss: Tensor | None = None


class BlindGenerator(nn.Module):
    """A generator that is not told of the cell: that is in the draft, or in nothing.

    References
    ----------
    A latent from a mixture with components a class: Gurumurthy S et al. DeLiGAN (2017), doi:10.1109/CVPR.2017.525.
    """

    def __init__(self, make: MakeGenerator, n_latent: int, n_cells: int) -> None:
        super().__init__()
        self.network = make(n_latent)

    def forward(self, latent: Tensor, cells: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), (B,), (B, D) or None -> (B, D)."""
        beats: Tensor = self.network(latent, draft)
        return beats


class ToldGenerator(nn.Module):
    """A generator whose latent is joined by one column a cell.

    References
    ----------
    Mirza M, Osindero S. Conditional generative adversarial nets (2014), doi:10.48550/arXiv.1411.1784.
    """

    def __init__(self, make: MakeGenerator, n_latent: int, n_cells: int) -> None:
        super().__init__()
        self.network = make(n_latent + n_cells)
        self.n_cells = n_cells

    def forward(self, latent: Tensor, cells: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), (B,), (B, D) or None -> (B, D)."""
        beats: Tensor = self.network(torch.cat([latent, _columns(cells, self.n_cells)], dim=1), draft)
        return beats


class SeparateGenerators(nn.Module):
    """An unconditional generator for each cell; a training batch is of one cell, so the others stay as they are.

    References
    ----------
    Goodfellow IJ et al. Generative adversarial nets (2014), doi:10.48550/arXiv.1406.2661, once a class.
    """

    def __init__(self, make: MakeGenerator, n_latent: int, n_cells: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(make(n_latent) for _ in range(n_cells))

    def forward(self, latent: Tensor, cells: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), (B,), (B, D) or None -> (B, D)."""
        parts, places = [], []
        for cell in cells.unique().tolist():
            own = torch.nonzero(cells == cell).squeeze(1)
            parts.append(self.networks[cell](latent[own], None if draft is None else draft[own]))
            places.append(own)
        return torch.cat(parts)[torch.cat(places).argsort()]


class Critic(nn.Module):
    """Scores beats, `pack` of them together.

    Parameters
    ----------
    make : callable
        Number of side columns -> network.
    n_cells : int
        Cells told apart.
    pack : int
        Beats of one cell that follow each other and are judged together.

    References
    ----------
    Lin Z et al. PacGAN (2018), doi:10.1109/JSAIT.2020.2983071: packing.
    """

    def __init__(self, make: MakeCritic, n_cells: int, pack: int = 1) -> None:
        super().__init__()
        self.n_cells = n_cells
        self.pack = pack

    def forward(self, beats: Tensor, cells: Tensor) -> Verdict:
        """Judge: (B, D), (B,) -> scores (B / M,)."""
        return self.judge(beats.unflatten(0, (-1, self.pack)), cells[:: self.pack])

    def judge(self, packed: Tensor, cells: Tensor) -> Verdict:
        """Judge: (B, M, D), (B,) -> scores (B,)."""
        raise NotImplementedError


class ProjectionCritic(Critic):
    """Scores features by themselves and by their inner product with a vector of the cell.

    References
    ----------
    Miyato T, Koyama M. cGANs with projection discriminator (2018), doi:10.48550/arXiv.1802.05637.
    """

    def __init__(self, make: MakeCritic, n_cells: int, pack: int = 1) -> None:
        super().__init__(make, n_cells, pack)
        self.network = make(0)
        self.score = nn.Linear(self.network.n_features, 1)
        self.embedding = nn.Embedding(n_cells, self.network.n_features)
        nn.init.zeros_(self.embedding.weight)

    def judge(self, packed: Tensor, cells: Tensor) -> Verdict:
        """Judge: (B, M, D), (B,) -> scores (B,)."""
        features = self.network(packed, None)  # (B, F)
        by_cell = (features * self.embedding(cells)).sum(dim=1) / features.shape[1] ** 0.5
        return Verdict(self.score(features).squeeze(1) + by_cell)


class ToldCritic(Critic):
    """Sees one column a cell beside the beat: Mirza and Osindero 2014, doi:10.48550/arXiv.1411.1784."""

    def __init__(self, make: MakeCritic, n_cells: int, pack: int = 1) -> None:
        super().__init__(make, n_cells, pack)
        self.network = make(n_cells)
        self.score = nn.Linear(self.network.n_features, 1)

    def judge(self, packed: Tensor, cells: Tensor) -> Verdict:
        """Judge: (B, M, D), (B,) -> scores (B,)."""
        return Verdict(self.score(self.network(packed, _columns(cells, self.n_cells))).squeeze(1))


class AuxiliaryCritic(Critic):
    """Is not told of the cell but says which it takes a beat for, beside its score.

    References
    ----------
    Odena A, Olah C, Shlens J. Conditional image synthesis with auxiliary classifier GANs (2017),
    doi:10.48550/arXiv.1610.09585.
    """

    def __init__(self, make: MakeCritic, n_cells: int, pack: int = 1) -> None:
        super().__init__(make, n_cells, pack)
        self.network = make(0)
        self.score = nn.Linear(self.network.n_features, 1)
        self.classify = nn.Linear(self.network.n_features, n_cells)

    def judge(self, packed: Tensor, cells: Tensor) -> Verdict:
        """Judge: (B, M, D), (B,) -> scores (B,) and the cross-entropy of the cells."""
        features = self.network(packed, None)
        return Verdict(self.score(features).squeeze(1), functional.cross_entropy(self.classify(features), cells))


class SeparateCritics(Critic):
    """A critic for each cell; a training batch is of one cell, so the others stay as they are."""

    def __init__(self, make: MakeCritic, n_cells: int, pack: int = 1) -> None:
        super().__init__(make, n_cells, pack)
        networks = [make(0) for _ in range(n_cells)]
        self.networks = nn.ModuleList(networks)
        self.scores = nn.ModuleList(nn.Linear(network.n_features, 1) for network in networks)

    def judge(self, packed: Tensor, cells: Tensor) -> Verdict:
        """Judge: (B, M, D), (B,) of one cell -> scores (B,)."""
        cell = int(cells[0])
        return Verdict(self.scores[cell](self.networks[cell](packed, None)).squeeze(1))


CONDITIONINGS: dict[str, tuple[Callable[[MakeGenerator, int, int], nn.Module], Callable[[MakeCritic, int, int], Critic]]] = {
    "blind": (BlindGenerator, ProjectionCritic),
    "projection": (ToldGenerator, ProjectionCritic),
    "concat": (ToldGenerator, ToldCritic),
    "auxiliary": (ToldGenerator, AuxiliaryCritic),
    "separate": (SeparateGenerators, SeparateCritics),
}
"""How generator and critic hear of the cell."""


def _columns(cells: Tensor, n_cells: int) -> Tensor:
    return functional.one_hot(cells, n_cells).float()
