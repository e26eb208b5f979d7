"""What is to be known of a dataset and its model, as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ecgsynth
from ecgsynth.audit import Policy, audit
from ecgsynth.findings import Evaluation
from ecgsynth.gate import MEASURES, REASONS
from ecgsynth.labels import LABEL_NAMES, LABELS, SYMBOL_TO_CLASS
from ecgsynth.scores import Score
from ecgsynth.shards import Tally
from ecgsynth.source import Source

Counts = Mapping[str, Mapping[str, int]]

MITDB = (
    "MIT-BIH Arrhythmia Database 1.0.0 (doi:10.13026/C2F305), Open Data Commons Attribution License v1.0. Cite Moody GB, Mark RG, IEEE Eng "
    "Med Biol 20(3):45-50 (2001), doi:10.1109/51.932724, and Goldberger AL et al., Circulation 101(23):e215-e220 (2000), "
    "doi:10.1161/01.CIR.101.23.e215."
)
"""Whose data the models that come with ecgsynth learnt from, and how to cite it."""

NO_LICENCE = "no licence is given yet"


@dataclass(frozen=True)
class Told:
    """What the cards are made of.

    Parameters
    ----------
    source : Source
        Recipe, model and gate.
    counts : mapping
        Split -> label -> beats.
    gated : mapping of str to Tally
        Label -> what the gate said.
    """

    source: Source
    counts: Counts
    gated: Mapping[str, Tally]

    @property
    def labels(self) -> list[str]:
        """The labels that are there, in their order."""
        return [name for name in LABELS[self.source.model.by] if any(name in of for of in self.counts.values())]

    @property
    def total(self) -> int:
        """Beats in all."""
        return sum(sum(of.values()) for of in self.counts.values())


def data_card(told: Told) -> str:
    """Write the card of a dataset: what it holds, what it is for, how it was made, how good and how private it is."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    evaluation = told.source.evaluation
    return environment.get_template("dataset.md.jinja").render(
        told=told,
        recipe=told.source.recipe,
        model=told.source.model,
        gate=told.source.gate,
        source=told.source,
        names=LABEL_NAMES[told.source.model.by],
        reasons=[name for name in REASONS if any(tally.reasons[name] for tally in told.gated.values())],
        measures=MEASURES,
        size=_size(told.total),
        licence=told.source.recipe.licence or NO_LICENCE,
        mitdb=MITDB if told.source.of_mitdb else "",
        scores=_tables(evaluation) if evaluation else {},
        verdicts=_verdicts(evaluation, list(told.labels)) if evaluation else [],
        version=ecgsynth.__version__,
    )


def _size(total: int) -> str:
    """Give the size as Hugging Face names it."""
    ends = (1_000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M"), (10_000_000, "10M"), (100_000_000, "100M")
    below = "n"
    for end, name in ends:
        if total < end:
            return f"n<{name}" if below == "n" else f"{below}<n<{name}"
        below = name
    return f"n>{below}"


def _tables(evaluation: Evaluation) -> dict[str, list[list[str]]]:
    """Set the numbers of all beats together in rows, family by family: measure, value with its interval, fresh real beats, copies."""
    shown = [score for score in evaluation.scores() if score.label in ("all", "macro-F1")]
    found: dict[str, list[list[str]]] = {}
    for score in shown:
        found.setdefault(score.family, []).append([score.measure, str(score.value), _plain(score, "real"), _plain(score, "memorizer")])
    return found


def _plain(score: Score, name: str) -> str:
    value = getattr(score, name)
    return f"{value:.3f}" if value == value else ""


def _verdicts(evaluation: Evaluation, labels: list[str]) -> list[str]:
    """Say which rules of the default policy are not held."""
    learnt_here = bool(evaluation.settings.get("learnt_from_this_train_side"))
    by = evaluation.settings.get("by", "class")
    released = list(dict.fromkeys(SYMBOL_TO_CLASS[label] if by == "class" else label for label in labels))
    found = audit(evaluation.scores(), Policy.load(), learnt_here=learnt_here, released=released)
    return [str(verdict) for verdict in found if not verdict.holds]
