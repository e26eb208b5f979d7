"""What synthetic beats are worth: a classifier trained on them, tested on real ones, beside its controls."""

import json
from collections.abc import Generator as Steps
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecgsynth.beats import Beats, concatenate
from ecgsynth.classifier import BeatClassifier
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, refuse_existing
from ecgsynth.generators.base import Generator
from ecgsynth.generators.resampling import Memorizer
from ecgsynth.generators.statistics import ClassMean
from ecgsynth.labels import LABELS
from ecgsynth.measures import Progress, Score, refuse_other_shapes, table
from ecgsynth.metrics.utility import Scores, score_classes
from ecgsynth.steps import drain
from ecgsynth.vectors import shape_of

ROWS = {
    "real": "trained on real beats (TRTR)",
    "synthetic": "trained on synthetic beats (TSTR)",
    "real+synthetic": "trained on real and synthetic beats",
    "memorizer": "control: trained on copies of real beats",
    "class-mean": "control: trained on class means plus noise",
}
"""What each classifier of an evaluation is trained on; all are tested on the same real beats."""

_FILES = ("evaluation.json", "examples-real.npz", "examples-synthetic.npz")


@dataclass(frozen=True)
class Evaluation:
    """Scores of every row and seed.

    Parameters
    ----------
    classes : tuple of str
        The labels scored: AAMI classes, or symbols.
    rows : dict of str to list of Scores
        Row name of `ROWS` -> one entry a seed.
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
    rows: dict[str, list[Scores]]
    counts: dict[str, dict[str, int]]
    settings: dict[str, Any]
    real: Beats = field(repr=False)
    synthetic: Beats = field(repr=False)
    measured: tuple[Score, ...] = ()

    def spread(self, row: str, measure: str = "macro_f1") -> tuple[float, float]:
        """Mean and standard deviation over seeds of a row's ``"macro_f1"`` or ``"accuracy"``; NaN deviation of one seed."""
        values = [float(getattr(scores, measure)) for scores in self.rows[row]]
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def by_class(self, row: str, measure: str = "f1") -> dict[str, float]:
        """Mean over seeds, for each class, of ``"f1"``, ``"sensitivity"`` or ``"positive_predictivity"``."""
        return {name: float(np.mean([getattr(scores, measure)[name] for scores in self.rows[row]])) for name in self.classes}

    def to_dict(self) -> dict[str, Any]:
        """Give everything but the beats as plain JSON."""
        return {
            "classes": list(self.classes),
            "settings": self.settings,
            "counts": self.counts,
            "rows": {row: [scores.to_dict() for scores in seeds] for row, seeds in self.rows.items()},
            "measured": [score.to_dict() for score in self.measured],
        }

    def __str__(self) -> str:
        head = f"{'':44}{'macro-F1':>16}{'accuracy':>10}  " + "".join(f"{'F1 ' + name:>7}" for name in self.classes)
        lines = [head]
        for row in self.rows:
            mean, deviation = self.spread(row)
            macro = f"{mean:.3f}" + (f" ± {deviation:.3f}" if deviation == deviation else "")
            f1 = "".join(f"{value:7.3f}" for value in self.by_class(row).values())
            lines.append(f"{ROWS[row]:44}{macro:>16}{self.spread(row, 'accuracy')[0]:10.3f}  {f1}")
        return "\n".join(lines) + (f"\n\n{table(self.measured)}" if self.measured else "")

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write ``evaluation.json`` and the example beats into `folder`, which may hold other files."""
        folder = Path(folder)
        self.refuse_existing(folder, force=force)
        (folder / "evaluation.json").unlink(missing_ok=True)  # written last: it stands for the whole
        self.real.save(folder / "examples-real.npz", force=force)
        self.synthetic.save(folder / "examples-synthetic.npz", force=force)
        with atomic_path(folder / "evaluation.json", force=force) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    @staticmethod
    def refuse_existing(folder: str | Path, *, force: bool) -> None:
        """Raise if `save` would: called before the work of an evaluation."""
        if Path(folder).is_file():
            raise EcgsynthError(f"{folder} is a file, not a folder: give another name")
        for name in _FILES:
            refuse_existing(Path(folder) / name, force=force)

    @classmethod
    def load(cls, folder: str | Path) -> "Evaluation":
        """Read what `save` wrote.

        Raises
        ------
        EcgsynthError
            If it is not there, or damaged.
        """
        path = Path(folder) / "evaluation.json"
        if not path.is_file():
            raise EcgsynthError(f"no evaluation in {folder}: make one with `ecgsynth evaluate`")
        try:
            data = json.loads(path.read_text())
            rows = {row: [Scores(**scores) for scores in seeds] for row, seeds in data["rows"].items() if row in ROWS}
            return cls(
                classes=tuple(data["classes"]),
                rows=rows,
                counts=data["counts"],
                settings=data["settings"],
                real=Beats.load(Path(folder) / "examples-real.npz"),
                synthetic=Beats.load(Path(folder) / "examples-synthetic.npz"),
                measured=tuple(Score.from_dict(score) for score in data.get("measured", ())),
            )
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise EcgsynthError(f"{path} is damaged ({error})") from error


def evaluate(
    *,
    synthetic: Beats,
    train: Beats,
    test: Beats,
    seeds: Sequence[int] = (0,),
    rows: Sequence[str] = tuple(ROWS),
    classes: Sequence[str] | None = None,
    by: str = "class",
    classifier: BeatClassifier | None = None,
    examples: int = 200,
) -> Evaluation:
    """Train classifiers on synthetic, real and control beats and test them on the same real beats.

    Parameters
    ----------
    synthetic : Beats
        The beats to judge.
    train, test : Beats
        The real beats of a split: what the generator learnt from, and what is tested on. Nothing is
        chosen by `test`.
    seeds : sequence of int
        Each gives one classifier a row.
    rows : sequence of str
        Which rows of `ROWS`.
    classes : sequence of str, optional
        The labels to learn and score; beats of others are left out everywhere. Those that are both in
        `train` and in `test` if not given.
    by : str
        ``"class"`` to score AAMI classes, ``"symbol"`` to score annotation symbols.
    classifier : BeatClassifier, optional
        Its settings but for the seed, such as the features it may see; the same for all rows.
    examples : int
        Beats of each class kept for figures.

    Returns
    -------
    Evaluation

    Raises
    ------
    EcgsynthError
        If the beats do not fit together, or a class to score is missing from one of them.

    References
    ----------
    Esteban C, Hyland SL, Rätsch G. Real-valued (medical) time series generation with recurrent
    conditional GANs (2017), doi:10.48550/arXiv.1706.02633: TSTR and TRTR.
    """
    steps = evaluate_steps(
        synthetic=synthetic,
        train=train,
        test=test,
        seeds=seeds,
        rows=rows,
        classes=classes,
        by=by,
        classifier=classifier,
        examples=examples,
    )
    return drain(steps)


def evaluate_steps(
    *,
    synthetic: Beats,
    train: Beats,
    test: Beats,
    seeds: Sequence[int] = (0,),
    rows: Sequence[str] = tuple(ROWS),
    classes: Sequence[str] | None = None,
    by: str = "class",
    classifier: BeatClassifier | None = None,
    examples: int = 200,
) -> Steps[Progress, None, Evaluation]:
    """Do the work of `evaluate`, yielding how far it is; the result is the generator's return value."""
    classifier = classifier or BeatClassifier()
    rows = tuple(dict.fromkeys(rows))
    known = LABELS.get(by, ())
    unknown = [name for name in classes or () if name not in known]
    if unknown:
        raise EcgsynthError(f"unknown {by} {', '.join(unknown)}; known: {', '.join(known)}")
    shared = set(train.counts(by)) & set(test.counts(by))
    scored = [name for name in known if name in (classes or shared)]
    _check(synthetic, train, test, rows, scored, by)
    learnt_here = synthetic.info.get("data_sha256") == train.digest()
    synthetic, train, test = (beats.take(np.isin(beats.labels(by), scored)) for beats in (synthetic, train, test))
    if len({shape_of(beats).n_rhythm for beats in (synthetic, train, test)}) > 1:  # all classifiers are told the same
        synthetic, train, test = (replace(beats, rr_mean=np.full(len(beats), np.nan)) for beats in (synthetic, train, test))
    scores: dict[str, list[Scores]] = {row: [] for row in rows}
    given = classifier.settings
    total = len(rows) * len(seeds)
    for done, (row, seed) in enumerate((row, seed) for row in rows for seed in seeds):
        beats = _training_beats(row, synthetic, train, seed, by)
        model = BeatClassifier(**given, seed=seed)
        for share in model.fit_steps(beats, by=by):
            yield Progress((done + share) / total, ROWS[row])
        scores[row].append(score_classes(annotated=test.labels(by), predicted=model.predict(test), classes=scored))
    settings = {
        "by": by,
        "seeds": list(seeds),
        "generator": synthetic.source,
        "synthetic": dict(synthetic.info),
        "learnt_from_this_train_side": learnt_here,
        "classifier": given,
    }
    counts = {"train": train.counts(by), "synthetic": synthetic.counts(by), "test": test.counts(by)}
    return Evaluation(tuple(scored), scores, counts, settings, real=_examples(test, examples), synthetic=_examples(synthetic, examples))


def _check(synthetic: Beats, train: Beats, test: Beats, rows: Sequence[str], classes: Sequence[str], by: str) -> None:
    unknown = sorted(set(rows) - set(ROWS))
    if unknown:
        raise EcgsynthError(f"unknown row {', '.join(unknown)}; known: {', '.join(ROWS)}")
    if train.is_synthetic or test.is_synthetic:
        raise EcgsynthError("the train and test sides must be real beats")
    for side, beats in (("synthetic", synthetic), ("train", train), ("test", test)):
        missing = [name for name in classes if name not in beats.counts(by)]
        if missing or not classes:
            raise EcgsynthError(f"no {side} beat of {by} {', '.join(missing) or 'any'}: `--classes` chooses those to score")
    refuse_other_shapes(synthetic, train, test)


def _training_beats(row: str, synthetic: Beats, train: Beats, seed: int, by: str) -> Beats:
    """Give the beats a row's classifier learns from; controls are made in the synthetic beats' own counts."""
    if row == "real":
        return train
    if row == "synthetic":
        return synthetic
    if row == "real+synthetic":
        return concatenate([train, synthetic])
    control: Generator = Memorizer() if row == "memorizer" else ClassMean()
    return control.fit(train, by=by).sample(synthetic.counts(by), seed=seed)


def _examples(beats: Beats, per_class: int) -> Beats:
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(beats.classes == name) for name in beats.counts()]
    return beats.take(np.concatenate([rng.permutation(index)[:per_class] for index in members]))
