"""What is known of a training, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass

_FALLEN = 0.05  # of a validation score, of which it is worth a word


@dataclass(frozen=True)
class TrainingStep:
    """What is known after one step of training; None is what this generator, or this step, does not have.

    Parameters
    ----------
    step : int
        Steps done.
    share : float
        How much of the budget is used, 0 to 1.
    generator_loss : float
        Of this step.
    critic_loss : float, optional
        Of this step.
    score_gap : float, optional
        Mean critic score of real minus generated beats: near 0 the critic sees no difference, steady
        growth means that it runs away.
    validation_score : float, optional
        Macro-F1 on validation beats of a small classifier trained on generated beats, where it was
        measured after this step.
    detection : float, optional
        How well boosted trees tell generated from validation beats, where that was measured: area
        under the ROC curve, 0.5 is ideal.
    best : bool
        Whether these weights were kept, in place of earlier ones.
    drawn : int
        Real beats learnt from so far, each as often as it was.
    """

    step: int
    share: float
    generator_loss: float
    critic_loss: float | None = None
    score_gap: float | None = None
    validation_score: float | None = None
    detection: float | None = None
    best: bool = False
    drawn: int = 0

    def losses_text(self) -> str:
        """Say in a few words how this step went."""
        if self.critic_loss is None or self.score_gap is None:
            return f"loss {self.generator_loss:.3f}"
        return f"critic {self.critic_loss:.3f}  generator {self.generator_loss:.3f}  real-generated {self.score_gap:+.2f}"

    def scores_text(self) -> str:
        """Say in a few words what was measured after this step; nothing if nothing was."""
        useful = "" if self.validation_score is None else f"  validation {self.validation_score:.3f}{' (kept)' if self.best else ''}"
        return useful + ("" if self.detection is None else f"  detection {self.detection:.2f}")


def fall_of(history: Sequence[TrainingStep]) -> list[str]:
    """Say if the beats have become worse in training."""
    scored = [(step, step.validation_score) for step in history if step.validation_score is not None]
    kept = next(((step, score) for step, score in reversed(scored) if step.best), None)
    if kept is None or scored[-1][1] >= kept[1] - _FALLEN:
        return []
    step, fallen = kept[0].step, f"from {kept[1]:.3f} to {scored[-1][1]:.3f}"
    return [f"the validation score fell {fallen}: the weights of step {step:,} are kept; a lower rate may do better"]
