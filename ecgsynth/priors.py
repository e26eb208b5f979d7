"""Where a generator starts from: pure noise, or a draft of a beat drawn from a simple statistical model."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrays = dict[str, NDArray[Any]]

# Shapes: B batch, L samples, Z latent, P principal components, M mixture components, K cells.


class Prior(Protocol):
    """Draws what a generator network turns into beats."""

    def draw(self, cells: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Give (latent, draft) for each cell: (B, Z) and (B, L) or None."""

    def arrays(self) -> Arrays:
        """Give everything learnt."""


class NormalPrior:
    """Independent standard normal numbers, as in the first GANs.

    Parameters
    ----------
    latent : int
        How many.
    """

    def __init__(self, latent: int) -> None:
        self.latent = latent

    def draw(self, cells: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Give (latent, None)."""
        return torch.randn(len(cells), self.latent, generator=generator), None

    def arrays(self) -> Arrays:
        """Nothing is learnt."""
        return {}


class MixturePrior:
    """Besides normal numbers, a draft of the beat from a Gaussian mixture a cell, in principal components.

    A generator that must make every mode of a cell out of one round cloud tears or drops some; one
    that starts from as many clouds as the cell has shapes need not. Each component is a cluster of
    k-means; its covariance is shrunk towards the pooled one of its cell, the more the fewer beats it
    has.

    References
    ----------
    Gurumurthy S, Sarvadevabhatla RK, Babu RV. DeLiGAN (2017), doi:10.1109/CVPR.2017.525; Ben-Yosef M,
    Weinshall D. Gaussian mixture GANs (2018), doi:10.48550/arXiv.1808.10356. Deviation: the mixture
    is fitted before training instead of learnt with the generator.
    """

    def __init__(self, latent: int, arrays: Arrays) -> None:
        self.latent = latent
        self._arrays = arrays
        self._means, self._factors, self._basis, self._weights = (
            torch.from_numpy(np.ascontiguousarray(arrays[name], dtype=np.float32)) for name in ("means", "factors", "basis", "weights")
        )

        # Cell k has the rungs between k and k + 1, so that one search finds the component of any cell.
        rungs = self._weights.double().cumsum(dim=1)
        self._ladder = (rungs / rungs[:, -1:] + torch.arange(len(rungs))[:, None]).flatten()

    @classmethod
    def fit(
        cls,
        signals: NDArray[np.float32],
        cells: NDArray[np.int64],
        *,
        latent: int,
        components: int = 64,
        clusters: int = 128,
        beats_per_cluster: int = 40,
        seed: int = 0,
    ) -> "MixturePrior":
        """Learn from beats.

        Parameters
        ----------
        signals : array, shape (n, L)
            Beats of mean 0.
        cells : array of int, shape (n,)
            Cell (label and lead) of each, from 0.
        latent : int
            Normal numbers drawn besides the draft.
        components : int
            Principal components; no more than the beats allow.
        clusters : int
            Mixture components of a cell, at most.
        beats_per_cluster : int
            A cell has no more clusters than one for so many beats, so that no component stands for
            a few beats alone.
        seed : int
            Of k-means.
        """
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from threadpoolctl import threadpool_limits

        components = min(components, *signals.shape)
        pca = PCA(components, svd_solver="covariance_eigh").fit(signals)
        codes = pca.transform(signals).astype(np.float64)
        means, factors, sizes, owners = [], [], [], []
        for cell in np.unique(cells):
            own = codes[cells == cell]
            wanted = min(clusters, max(1, len(own) // beats_per_cluster))
            with threadpool_limits(1):  # several threads would add up in no fixed order
                cluster = KMeans(wanted, n_init=1, max_iter=50, random_state=seed).fit_predict(own)
            parts = [own[cluster == number] for number in np.unique(cluster)]
            pooled = sum((part - part.mean(axis=0)).T @ (part - part.mean(axis=0)) for part in parts) / len(own)
            for part in parts:
                centred = part - part.mean(axis=0)
                trust = len(part) / (len(part) + components)
                covariance = trust * centred.T @ centred / len(part) + (1 - trust) * pooled
                means.append(part.mean(axis=0))
                factors.append(np.linalg.cholesky(covariance + 1e-8 * (np.trace(covariance) + 1e-6) * np.eye(components)))
                sizes.append(len(part))
                owners.append(cell)
        weights = np.where(np.unique(cells)[:, None] == np.array(owners), np.array(sizes), 0)
        arrays = {"means": np.stack(means), "factors": np.stack(factors), "basis": pca.components_, "weights": weights}
        # The factors are most of a model's file: in half precision it is half as large.
        kept = {name: np.asarray(array, dtype=np.float16 if name == "factors" else np.float32) for name, array in arrays.items()}
        return cls(latent, kept)

    def draw(self, cells: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Give (latent, draft): (B, Z), (B, L)."""
        chance = torch.rand(len(cells), generator=generator, dtype=torch.float64)
        component = torch.searchsorted(self._ladder, cells + chance, right=True) % len(self._means)
        noise = torch.randn(len(cells), self._means.shape[1], generator=generator)
        # One product a component, as a factor for each beat would fill the memory.
        order = component.argsort(stable=True)
        numbers, sizes = component[order].unique_consecutive(return_counts=True)
        parts = noise[order].split(sizes.tolist())
        spread = [part @ self._factors[number].T for part, number in zip(parts, numbers.tolist(), strict=True)]
        codes = self._means[component]
        codes[order] += torch.cat(spread)
        return torch.randn(len(cells), self.latent, generator=generator), codes @ self._basis

    def arrays(self) -> Arrays:
        """Give means (M, P), factors (M, P, P), basis (P, L), weights (K, M)."""
        return self._arrays
