"""What the classifiers of an evaluation learn from and are tested on, drawn from the sides as a protocol asks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ecgsynth.beats import Beats, concatenate
from ecgsynth.cache import content
from ecgsynth.generators.base import Generator
from ecgsynth.generators.resampling import Memorizer
from ecgsynth.generators.statistics import ClassMean
from ecgsynth.metrics.utility import Scores, score_classes
from ecgsynth.rows import CONTROLS, ROWS
from ecgsynth.vectors import shape_of


class Protocol(NamedTuple):
    """How many beats of each class are drawn from each set, with replacement; all beats as they are where it is None.

    Parameters
    ----------
    real, synthetic : int or None
        To learn from.
    test : int or None
        To be tested on.
    """

    real: int | None = None
    synthetic: int | None = None
    test: int | None = None


PROTOCOLS = {"natural": Protocol(), "tts-cgan": Protocol(real=200, synthetic=800, test=500)}
"""``"natural"`` takes all beats; ``"tts-cgan"`` is as Li X et al. (2022), doi:10.48550/arXiv.2206.13676, published 0.746: 800
synthetic beats a class to learn from against 200 real ones, and 500 real ones a class to be tested on, drawn with replacement."""


@dataclass(frozen=True)
class Trial:
    """What classifiers learn from and are tested on; `learnt` is what the generator learnt from, and its controls learn from."""

    synthetic: Beats
    train: Beats
    learnt: Beats
    test: Beats
    by: str
    classes: Sequence[str]

    @classmethod
    def drawn(cls, protocol: Protocol, *, synthetic: Beats, train: Beats, test: Beats, by: str, classes: Sequence[str]) -> "Trial":
        """Draw beats as the protocol asks."""
        return cls(
            synthetic=_draw(synthetic, protocol.synthetic, by),
            train=_draw(train, protocol.real, by),
            learnt=train,
            test=_draw(test, protocol.test, by),
            by=by,
            classes=classes,
        )

    @cached_property
    def _contents(self) -> dict[str, str]:
        return {side: content(getattr(self, side)) for side in ("synthetic", "train", "learnt", "test")}

    def key(self, row: str) -> dict[str, Any]:
        """Give what a row's scores depend on, but the classifier: not the synthetic beats, if it asks nothing of them."""
        asked = {"learnt" if part in CONTROLS else part for part in (*ROWS[row].learns, ROWS[row].tested_on)}
        made = {"counts": self.synthetic.counts(self.by)} if "learnt" in asked else {}
        return {"row": row, "by": self.by, "classes": list(self.classes), **made, **{side: self._contents[side] for side in sorted(asked)}}

    def beats_for(self, row: str, seed: int) -> Beats:
        """Give the beats a row's classifier learns from."""
        parts = [self._part(part, ROWS[row].share, seed) for part in ROWS[row].learns]
        return concatenate(parts) if len(parts) > 1 else parts[0]

    def test_of(self, row: str, model: Any, seed: int) -> Scores:
        """Score a classifier on the row's test beats."""
        asked = self._part(ROWS[row].tested_on, 1.0, seed)
        predicted = model.predict(asked)
        return score_classes(annotated=asked.labels(self.by), predicted=predicted, classes=self.classes, patients=asked.patients)

    def _part(self, name: str, share: float, seed: int) -> Beats:
        if name in CONTROLS:
            control: Generator = Memorizer() if name == "memorizer" else ClassMean()
            return control.fit(self.learnt, by=self.by).sample(self.synthetic.counts(self.by), seed=seed)
        beats: Beats = getattr(self, name)
        if name != "synthetic" or share == 1:
            return beats
        order = np.random.default_rng(seed).permutation(len(beats))
        return beats.take(np.sort(order[: round(share * len(order))]))


def ordered(beats: Beats) -> Beats:
    """Bring beats into an order of their own, so that nothing depends on the one they came in."""
    waveforms = beats.signals.reshape(len(beats), -1)
    return beats.take(np.lexsort((beats.rr_after, beats.rr_before, *waveforms[:, :: max(1, waveforms.shape[1] // 8)].T, beats.classes)))


def alike(sides: Sequence[Beats]) -> Sequence[Beats]:
    """Bring sides into an order of their own, and leave out the running mean of RR where one does not know it."""
    sides = [ordered(beats) for beats in sides]
    if len({shape_of(beats).n_rhythm for beats in sides}) > 1:  # all classifiers are told the same
        return [replace(beats, rr_mean=np.full(len(beats), np.nan)) for beats in sides]
    return sides


def _draw(beats: Beats, per_class: int | None, by: str) -> Beats:
    if per_class is None:
        return beats
    rng = np.random.default_rng(0)
    return beats.take(np.concatenate([rng.choice(np.flatnonzero(beats.labels(by) == name), per_class) for name in beats.counts(by)]))
