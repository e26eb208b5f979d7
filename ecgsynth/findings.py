"""All that an evaluation found, kept in a folder: the scores of classifiers, and what was measured of the beats."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, refuse_existing, sync
from ecgsynth.labels import LABELS
from ecgsynth.metrics.bootstrap import Confusions, Interval, Intervals, over_beats, over_patients
from ecgsynth.metrics.utility import Scores, Values, rates
from ecgsynth.places import place
from ecgsynth.rows import ROWS
from ecgsynth.scores import LESS, MORE, Score, table
from ecgsynth.stored import HEAD
from ecgsynth.untrusted import conform, is_count, is_share, of_json, within

_OTHERS = {"split.json": "a split", HEAD: "beats", "build.json": "a dataset"}
"""The file by which a folder is known that is not one of an evaluation, nor of a run."""

_FILES = ("evaluation.json", "examples-real.npz", "examples-synthetic.npz")


@dataclass(frozen=True)
class Evaluation:
    """Scores of every row and seed.

    Parameters
    ----------
    classes : tuple of str
        The labels scored: AAMI classes, or symbols.
    classifiers : dict of str to dict of str to list of Scores
        Name of a classifier -> name of a row, of `ecgsynth.rows.ROWS` -> one entry a seed. The first is what most is said of.
    counts : dict of str to dict of str to int
        Beats of each class in ``"train"``, ``"synthetic"`` and ``"test"``.
    settings : dict
        Seeds, classifier, generator, split: what is needed to run it again.
    real, synthetic : Beats
        A few test and synthetic beats of each class, for the figures of the report.
    measured : tuple of Score
        Fidelity, physiology and privacy, where they were measured.
    """

    classes: tuple[str, ...]
    classifiers: dict[str, dict[str, list[Scores]]]
    counts: dict[str, dict[str, int]]
    settings: dict[str, Any]
    real: Beats = field(repr=False)
    synthetic: Beats = field(repr=False)
    measured: tuple[Score, ...] = ()

    @property
    def _by(self) -> str:
        return str(self.settings.get("by", "class"))

    @property
    def rows(self) -> dict[str, list[Scores]]:
        """The scores of the first classifier."""
        return next(iter(self.classifiers.values()))

    def spread(self, row: str, measure: str = "macro_f1", *, classifier: str | None = None) -> tuple[float, float]:
        """Mean and standard deviation over seeds of a row's ``"macro_f1"`` or ``"accuracy"``; NaN deviation of one seed."""
        seeds = (self.classifiers[classifier] if classifier else self.rows)[row]
        values = [float(getattr(scores, measure)) for scores in seeds]
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def by_class(self, row: str, measure: str = "f1", *, classifier: str | None = None) -> dict[str, float]:
        """Mean over seeds, for each class, of ``"f1"``, ``"sensitivity"`` or ``"positive_predictivity"``."""
        seeds = (self.classifiers[classifier] if classifier else self.rows)[row]
        return {name: float(np.mean([getattr(scores, measure)[name] for scores in seeds])) for name in self.classes}

    def intervals(self, row: str, *, base: str | None = None, classifier: str | None = None) -> Intervals:
        """Give all of `rates` of a row, or how much they are above those of a `base` row, with 95 % intervals.

        They are over the patients tested on; where those are not known, as of synthetic beats, over beats.
        """
        rows = self.classifiers[classifier] if classifier else self.rows

        def named(confusions: Confusions) -> dict[str, Values]:
            return rates(confusions, self.classes, by=self._by)

        if base and any(scores.by_patient is None for name in (row, base) for scores in rows[name]):
            raise EcgsynthError("a gain needs the patients of the test beats, by whom both rows are compared")
        if any(scores.by_patient is None for scores in rows[row]):
            return over_beats(named, np.array([scores.confusion for scores in rows[row]]))
        ours, other = (np.array([scores.by_patient for scores in rows.get(name or "", ())]) for name in (row, base))
        return over_patients(named, ours, base=other if base else None)

    def scores(self) -> tuple[Score, ...]:
        """Give everything found as numbers with intervals, goals and yardsticks: utility, then what was measured."""
        return (*(score for name in self.classifiers for score in self._utility(name)), *self.measured)

    def _utility(self, classifier: str) -> Iterator[Score]:
        rows = self.classifiers[classifier]
        real = self._plain("real", classifier)

        def score(measure: str, rate: str, value: Interval, *, real: float, memorizer: float) -> Score:
            what, _, label = rate.partition(" ")
            if label not in self.classes:
                what, label = rate, "all"
            goal = LESS if what.endswith("FPR") else MORE
            return Score("utility", f"{what} of {measure}, {classifier}", label, value, goal, real, memorizer)

        for row, measure in (("synthetic", "TSTR"), ("real", "TRTR"), ("real-on-synthetic", "TRTS")):
            if row in rows:
                copied = self._plain(ROWS[row].copies, classifier)
                for rate, value in self.intervals(row, classifier=classifier).items():
                    yield score(measure, rate, value, real=real.get(rate, np.nan), memorizer=copied.get(rate, np.nan))
        for row in ("synthetic", "real+quarter", "real+half", "real+synthetic"):
            if {row, "real"} <= set(rows) and all(scores.by_patient for scores in rows[row]):
                gain = self.intervals(row, base="real", classifier=classifier)["macro-F1"]
                copied = self._plain(ROWS[row].copies, classifier)
                over = copied.get("macro-F1", np.nan) - real["macro-F1"]
                yield score(f"{row} over real", "macro-F1", gain, real=0.0, memorizer=over)

    def _plain(self, row: str, classifier: str) -> dict[str, float]:
        """Give the rates of a row, means over seeds; none where it was not asked for."""
        seeds = self.classifiers[classifier].get(row, ())
        if not seeds:
            return {}
        found = rates(np.array([scores.confusion for scores in seeds]), self.classes, by=self._by)
        return {name: float(np.mean(value)) for name, value in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Give everything but the beats as plain JSON."""
        return {
            "classes": list(self.classes),
            "settings": self.settings,
            "counts": self.counts,
            "classifiers": {
                name: {row: [scores.to_dict() for scores in seeds] for row, seeds in rows.items()}
                for name, rows in self.classifiers.items()
            },
            "scores": [score.to_dict() for score in self.scores()],
        }

    def __str__(self) -> str:
        head = f"{'':44}{'macro-F1':>16}{'95 % interval':>18}{'accuracy':>10}  " + "".join(f"{'F1 ' + name:>7}" for name in self.classes)
        parts = []
        for classifier, rows in self.classifiers.items():
            lines = [f"{classifier:44}{head[44:]}"]
            for row in rows:
                mean, deviation = self.spread(row, classifier=classifier)
                macro = f"{mean:.3f}" + (f" ± {deviation:.3f}" if deviation == deviation else "")
                interval = self.intervals(row, classifier=classifier)["macro-F1"]
                accuracy = self.spread(row, "accuracy", classifier=classifier)[0]
                f1 = "".join(f"{value:7.3f}" for value in self.by_class(row, classifier=classifier).values())
                lines.append(f"{ROWS[row].title:44}{macro:>16}{f'{interval.low:.3f} to {interval.high:.3f}':>18}{accuracy:10.3f}  {f1}")
            parts.append("\n".join(lines))
        return "\n\n".join([*parts, table(self.measured)] if self.measured else parts)

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write ``evaluation.json`` and the example beats into `folder`, which may hold other files."""
        folder = place(folder)
        self.refuse_existing(folder, force=force)
        with ExitStack() as written:  # what is entered last is put there first: what stands for the whole comes last
            head, real, synthetic = (written.enter_context(atomic_path(folder / name, force=True)) for name in _FILES)
            head.write_text(json.dumps(self.to_dict()) + "\n")
            self.real.save(real)
            self.synthetic.save(synthetic)
            for made in (head, real, synthetic):
                sync(made)  # nothing of what was there goes before all of it is on the disk
            self.refuse_existing(folder, force=force)  # as another call may have put one there
            (folder / "evaluation.json").unlink(missing_ok=True)

    @staticmethod
    def refuse_existing(folder: str | Path, *, force: bool) -> None:
        """Raise if `save` would: called before the work of an evaluation."""
        folder = place(folder)
        if folder.is_file():
            raise EcgsynthError(f"{folder} is a file, not a folder: give another name")
        if other := next((what for name, what in _OTHERS.items() if (folder / name).is_file()), None):
            raise EcgsynthError(f"{folder} holds {other}: give another name for the evaluation")
        whole = (folder / "evaluation.json").exists()  # examples alone are of one that was stopped
        for name in _FILES:
            refuse_existing(folder / name, force=force or not whole)

    @classmethod
    def load(cls, folder: str | Path) -> "Evaluation":
        """Read what `save` wrote.

        Raises
        ------
        EcgsynthError
            If it is not there, or damaged.
        """
        folder = place(folder)
        path = within(folder / "evaluation.json", folder)
        if not path.is_file():
            raise EcgsynthError(f"no evaluation in {folder}: make one with `ecgsynth evaluate`")
        try:
            data = conform(of_json(path.read_text(encoding="utf-8")), _FORM)
            found = data["classifiers"] if "classifiers" in data else {"cnn": data["rows"]}  # as version 0.1.0 wrote it
            classes, settings = tuple(data["classes"]), data["settings"]
            if not found or not classes or not set(classes) <= set(LABELS[settings.get("by", "class")]):
                raise ValueError("it says nothing of any class, or of one that cannot be")
            scores = map(Score.from_dict, data.get("scores", ()))
            return cls(
                classes=classes,
                classifiers={name: _rows_of(rows, len(classes), set(classes)) for name, rows in found.items()},
                counts=data["counts"],
                settings=settings,
                real=_examples(within(folder / "examples-real.npz", folder)),
                synthetic=_examples(within(folder / "examples-synthetic.npz", folder)),
                measured=tuple(score for score in scores if score.family != "utility"),
            )
        except EcgsynthError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise EcgsynthError(f"{path} is damaged ({error})") from error


_SETTINGS = {
    "by?": set(LABELS),
    "seeds?": [int],
    "generator?": (str, None),
    "synthetic?": {"holds_real_beats?": bool, "seed?": (int, None)},
    "classifier?": {str: object},
    "protocol?": str,
    "contents?": {str: str},
    "learnt_from_this_train_side?": bool,
}
_SHARES = {str: is_share}
_SCORES = {"sensitivity": _SHARES, "positive_predictivity": _SHARES, "f1": _SHARES, "macro_f1": is_share, "accuracy": is_share}
_SCORES |= {"confusion": [[is_count]], "by_patient?": ([[[is_count]]], None)}
_NUMBER = (float, None)
_SCORE = {"family": str, "measure": str, "label": str, "value": [_NUMBER], "goal": str, "real": _NUMBER, "memorizer": _NUMBER}
_FORM = {
    "classes": [str],
    "classifiers?": {str: {str: [_SCORES]}},
    "rows?": {str: [_SCORES]},
    "counts": {str: {str: is_count}},
    "settings": _SETTINGS,
    "scores?": [_SCORE],
}
_CUT = {"before?": float, "after?": float, "band?": (None, lambda band: len(band) == 2 and bool(conform(band, [float])))}


def _rows_of(rows: dict[str, list[dict[str, Any]]], n_classes: int, classes: set[str]) -> dict[str, list[Scores]]:
    """Take the scores of known rows, each of which must be of all classes, and of a seed at least."""
    found = {row: [Scores(**scores) for scores in seeds] for row, seeds in rows.items() if row in ROWS}
    for row, seeds in found.items():
        for scores in seeds:
            tables = [scores.confusion, *(scores.by_patient or ())]
            known = [classes == set(of) for of in (scores.sensitivity, scores.positive_predictivity, scores.f1)]
            if not all(known) or any(np.shape(table) != (n_classes, n_classes) for table in tables) or scores.by_patient == []:
                raise ValueError(f"the scores of {row} are not of its classes")
        if not seeds or len({np.shape(scores.by_patient or ()) for scores in seeds}) > 1:
            raise ValueError(f"the seeds of {row} differ in patients, or there is none")
    return found


def _examples(path: Path) -> Beats:
    beats = Beats.load(path)
    conform(beats.info, _CUT, "how the examples are cut")
    return beats
