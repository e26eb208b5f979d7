"""How the class of a beat joins the latent of a generator and the features of a critic."""

import torch
from torch import Tensor, nn

# Shapes: B batch, L samples, Z latent, E embedding, D features, K classes.


class CriticNetwork(nn.Module):
    """Turns beats into features, and says how many: (B, L) -> (B, D)."""

    n_features: int


class ConditionalGenerator(nn.Module):
    """A generator network whose latent is joined by an embedding of the class; of size 0 it tells nothing."""

    def __init__(self, network: nn.Module, n_classes: int, embedding: int) -> None:
        super().__init__()
        self.network = network
        self.embedding = nn.Embedding(n_classes, embedding) if embedding else None

    def forward(self, latent: Tensor, labels: Tensor, draft: Tensor | None) -> Tensor:
        """Give beats: (B, Z), (B,), (B, L) or None -> (B, L)."""
        if self.embedding is not None:
            latent = torch.cat([latent, self.embedding(labels)], dim=1)
        beats: Tensor = self.network(latent, draft)
        return beats


class ProjectionCritic(nn.Module):
    """A critic that scores features by themselves and by their inner product with a vector of the class.

    References
    ----------
    Miyato T, Koyama M. cGANs with projection discriminator (2018), doi:10.48550/arXiv.1802.05637.
    """

    def __init__(self, network: "CriticNetwork", n_classes: int) -> None:
        super().__init__()
        self.network = network
        self.score = nn.Linear(network.n_features, 1)
        self.embedding = nn.Embedding(n_classes, network.n_features)
        nn.init.zeros_(self.embedding.weight)

    def forward(self, beats: Tensor, labels: Tensor) -> Tensor:
        """Give one score a beat: (B, L), (B,) -> (B,)."""
        features: Tensor = self.network(beats)  # (B, D)
        by_class = (features * self.embedding(labels)).sum(dim=1) / features.shape[1] ** 0.5
        return self.score(features).squeeze(1) + by_class
