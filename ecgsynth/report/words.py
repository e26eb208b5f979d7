"""What a report says in words: what beats are worth, and what must be known before they are used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecgsynth import mitdb
from ecgsynth.beats import Beats
from ecgsynth.findings import Evaluation
from ecgsynth.labels import LABEL_NAMES
from ecgsynth.metrics.bootstrap import Interval

FEW = 100
"""Test beats of a class below which its scores are called rough."""

FEW_PATIENTS = 5
"""Test patients with beats of a class below which its intervals say little."""

_MITDB_LEADS = {"MLII", "V1", "V2", "V4", "V5"}


@dataclass(frozen=True)
class Sentence:
    """A finding in words, and whether it speaks against the synthetic beats."""

    text: str
    bad: bool = False


@dataclass(frozen=True)
class Source:
    """What the real beats are: how to call them, where they are from, and whether that is MIT-BIH."""

    word: str
    name: str
    is_mitdb: bool = False


def source_of(real: Beats) -> Source:
    """Tell where beats are from, as far as they show it.

    Beats carry no name of their database: they count as MIT-BIH's if record names, leads and sample
    numbers all fit it.
    """
    if real.source == "simulated":
        return Source("simulated", "simulated records")
    fits = (
        len(real) > 0
        and set(real.records.tolist()) <= set(mitdb.RECORDS)
        and set(real.leads.tolist()) <= _MITDB_LEADS
        and bool((real.samples < mitdb.N_SAMPLES).all())
    )
    if fits and real.source == "real":
        return Source("real", "the MIT-BIH Arrhythmia Database", is_mitdb=True)
    return Source("real", "real records" if real.source == "real" else real.source)


def headline(evaluation: Evaluation) -> str:
    """Say in one sentence what the synthetic beats are worth."""
    source = source_of(evaluation.real)
    if "synthetic" not in evaluation.rows:
        return "No classifier was trained on the synthetic beats alone, so this report cannot say what they are worth."
    text = (
        f"A classifier trained only on synthetic beats recognises the {len(evaluation.classes)} classes of {source.word} test beats "
        f"with a macro-F1 of {_macro(evaluation, 'synthetic')} (95 % interval {_interval(evaluation, 'synthetic')})"
    )
    if "real" in evaluation.rows:
        text += f", against {_macro(evaluation, 'real')} ({_interval(evaluation, 'real')}) when it is trained on {source.word} beats"
    return text + "."


def cautions(evaluation: Evaluation, split: Mapping[str, Any] | None) -> list[str]:
    """Say what must be known before anything on the page is used or passed on."""
    source = source_of(evaluation.real)
    found = ["Synthetic beats are made by a computer model. They are for research and teaching, not for diagnosis."]
    if source.word == "simulated":
        found.append(
            "The beats they are compared with are simulated too: no patient's ECG is shown, and the scores say nothing of patients."
        )
    elif source.is_mitdb:
        found.append(
            f"This page shows test beats of real people, from {source.name}. They may be passed on if their origin is named (see below)."
        )
    else:
        found.append(f"This page shows test beats of real people, from {source.name}: guard it, and share it only as those records allow.")
    if evaluation.settings.get("synthetic", {}).get("holds_real_beats"):
        found.append(
            f"This generator keeps {source.word} training beats and hands out them or close relatives of them: "
            "guard its model and its beats as you do the records."
        )
    if split and split.get("scheme") == "beats":
        found.append("Beats of the same patients stand in training and in test: the scores say nothing about new patients.")
    return found


def findings(evaluation: Evaluation) -> list[Sentence]:
    """Place the synthetic beats between the controls, in words."""
    if "synthetic" not in evaluation.rows:
        return []
    score = evaluation.spread("synthetic")[0]
    word = source_of(evaluation.real).word
    found = []
    if "class-mean" in evaluation.rows:
        found.append(_against_floor(evaluation))
        ours, floor = evaluation.by_class("synthetic"), evaluation.by_class("class-mean")
        below = [name for name in evaluation.classes if ours[name] < floor[name]]
        if below and score >= evaluation.spread("class-mean")[0]:
            listed = ", ".join(f"{name} (F1 {ours[name]:.3f} against {floor[name]:.3f})" for name in below)
            found.append(Sentence(f"In single classes they are worse than that control: {listed}.", bad=True))
    if "memorizer" in evaluation.rows:
        ceiling = evaluation.spread("memorizer")[0]
        copies = f"copies of {word} training beats, as many of each class"
        if score < ceiling:
            text = f"Above them stands what could be hoped for: {copies}, reach {ceiling:.3f}."
        else:
            text = f"They are worth as much as {copies}, which reach {ceiling:.3f}."
        found.append(Sentence(text + _scatter(evaluation, "synthetic", "memorizer")))
    if {"real", "real+synthetic"} <= set(evaluation.rows):
        alone, both = evaluation.spread("real")[0], evaluation.spread("real+synthetic")[0]
        text = f"With the synthetic beats added to the {word} training beats, macro-F1 is {both:.3f}; without them it is {alone:.3f}."
        found.append(Sentence(text + _scatter(evaluation, "real", "real+synthetic")))
    return found


def _against_floor(evaluation: Evaluation) -> Sentence:
    score, floor = evaluation.spread("synthetic")[0], evaluation.spread("class-mean")[0]
    against = f"(macro-F1 {score:.3f} against {floor:.3f})"
    within = _scatter(evaluation, "synthetic", "class-mean")
    if score < floor:
        text = f"The synthetic beats are worse than the simplest control, class means plus noise {against}: do not rely on them."
    else:
        better = "better than" if score > floor else "no better than"
        text = f"The synthetic beats are {better} the simplest control, class means plus noise {against}."
    return Sentence(text + within, bad=score <= floor or bool(within))


def _scatter(evaluation: Evaluation, row: str, other: str) -> str:
    """Say so if two rows differ by no more than their seeds do, or than other test patients might make of it."""
    if all(scores.by_patient is not None for name in (row, other) for scores in evaluation.rows[name]):
        gain = evaluation.intervals(row, base=other)["macro-F1"]
        if gain.low <= 0 <= gain.high:
            return f" The difference is within the scatter between test patients (95 % interval {gain.low:+.3f} to {gain.high:+.3f})."
    (a, deviation_a), (b, deviation_b) = evaluation.spread(row), evaluation.spread(other)
    return " The difference is within the scatter between seeds." if abs(a - b) <= np.hypot(deviation_a, deviation_b) else ""


def class_sentences(evaluation: Evaluation) -> dict[str, str]:
    """Say for each class how often it is found, and how often rightly, by the classifier trained on synthetic beats."""
    if "synthetic" not in evaluation.rows:
        return {}
    word = source_of(evaluation.real).word
    found = evaluation.by_class("synthetic", "sensitivity")
    right = evaluation.by_class("synthetic", "positive_predictivity")
    reference = evaluation.by_class("real", "sensitivity") if "real" in evaluation.rows else {}
    intervals = evaluation.intervals("synthetic")
    said = summed(evaluation, "synthetic").sum(axis=0)
    names = label_names(evaluation)
    sentences = {}
    for row, (name, times) in enumerate(zip(evaluation.classes, said.tolist(), strict=True)):
        text = f"Of 100 {word} {names[name]} beats, the classifier trained on synthetic beats finds {of_100(found[name])}"
        text += _between(intervals[f"Se {name}"])
        if reference:
            text += f", against {of_100(reference[name])} when trained on {word} beats"
        if times:
            text += f"; when it says {names[name]}, it is right {of_100(right[name])} times of 100{_between(intervals[f'+P {name}'])}."
        else:
            text += f"; it never says {names[name]}."
        judged = evaluation.counts.get("test", {}).get(name, 0)
        if judged < FEW:
            text += f" With only {judged} test beats of this class, take that as rough."
        patients = _patients_with(evaluation, row)
        if patients is not None and patients < FEW_PATIENTS:
            text += f" Its test beats are of {patients} patient{'s' * (patients != 1)}: of others nothing is known, whatever the interval."
        sentences[name] = text
    return sentences


def _between(interval: Interval) -> str:
    """Say between which numbers of 100 a share lies, with 95 % confidence."""
    if not np.isfinite(interval[1:]).all():
        return ""
    low, high = of_100(interval.low), of_100(interval.high)
    return f" (between {low} and {high})" if low != high else f" ({low})"


def _patients_with(evaluation: Evaluation, place: int) -> int | None:
    """Count the test patients who have beats of a class; None where patients are not known."""
    by_patient = [scores.by_patient for scores in evaluation.rows["synthetic"]]
    if any(found is None for found in by_patient):
        return None
    return int((np.asarray(by_patient[0])[:, place].sum(axis=1) > 0).sum())


def label_names(evaluation: Evaluation) -> Mapping[str, str]:
    """Give what each class, or symbol, is called."""
    return LABEL_NAMES[evaluation.settings.get("by", "class")]


def of_100(share: float) -> str:
    """Give a share of 1 as a whole number of 100, without calling 99.7 all or 0.3 none.

    Examples
    --------
    >>> of_100(0.936), of_100(0.997), of_100(1)
    ('94', 'more than 99', '100')
    """
    number = round(100 * share)
    if number == 100 and share < 1:
        return "more than 99"
    return "fewer than 1" if number == 0 and share > 0 else str(number)


def _macro(evaluation: Evaluation, row: str) -> str:
    return f"{evaluation.spread(row)[0]:.3f}"


def _interval(evaluation: Evaluation, row: str) -> str:
    found = evaluation.intervals(row)["macro-F1"]
    return f"{found.low:.3f} to {found.high:.3f}"


def summed(evaluation: Evaluation, row: str) -> Any:
    """Give the confusion matrix of a row, all seeds together."""
    return np.sum([scores.confusion for scores in evaluation.rows[row]], axis=0)
