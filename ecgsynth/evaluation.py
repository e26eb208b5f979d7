"""What synthetic beats are worth: classifiers trained on them, tested on real ones, beside their controls."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Generator as Steps
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ecgsynth.beats import Beats, concatenate, refuse_impossible
from ecgsynth.cache import Cache, content
from ecgsynth.classifiers import CLASSIFIERS, BeatClassifier
from ecgsynth.engine import Engine, Job, Local
from ecgsynth.errors import EcgsynthError
from ecgsynth.findings import ROWS, Evaluation
from ecgsynth.generators.base import Generator
from ecgsynth.generators.resampling import Memorizer
from ecgsynth.generators.statistics import ClassMean
from ecgsynth.labels import LABELS
from ecgsynth.measures import FAMILY_NAMES, choose_families, measuring, refuse_other_shapes
from ecgsynth.metrics.utility import Scores, score_classes
from ecgsynth.steps import Progress, drain
from ecgsynth.stored import DRAWN_OF
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

_COSTS = {"cnn": 6.0, "trees": 1.5, "neighbors": 1.0}  # in time, against other work
_FEW = 20_000  # beats to learn from: with fewer, to begin other processes would take longer than it saves

_TESTED_ON = {"real-on-synthetic": "synthetic", "real-on-memorizer": "memorizer"}
"""Rows that test what learnt from real beats on what that of another row learns from."""

_ASKED_OF = {
    "real": ("train", "test"),
    "synthetic": ("synthetic", "test"),
    "real-on-synthetic": ("train", "synthetic"),
    "real-on-memorizer": ("train", "learnt"),
    "real+memorizer": ("train", "learnt", "test"),
    "memorizer": ("learnt", "test"),
    "class-mean": ("learnt", "test"),
}
"""The sides of which a row asks anything; all but those learnt from, where it says nothing."""

_PARTS = {"real+quarter": 0.25, "real+half": 0.5, "real+synthetic": 1.0}  # of the synthetic beats


def evaluate(
    *,
    synthetic: Beats,
    train: Beats,
    test: Beats,
    val: Beats | None = None,
    seeds: Sequence[int] = (0,),
    rows: Sequence[str] = tuple(ROWS),
    classes: Sequence[str] | None = None,
    by: str = "class",
    classifier: BeatClassifier | None = None,
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    protocol: str = "natural",
    families: Sequence[str] = FAMILY_NAMES,
    examples: int = 200,
    cache: Cache | None = None,
    engine: Engine | None = None,
) -> Evaluation:
    """Train classifiers on synthetic, real and control beats, test them on the same real beats, and measure the synthetic ones.

    Parameters
    ----------
    synthetic : Beats
        The beats to judge.
    train, test : Beats
        The real beats of a split: what the generator learnt from, and what is tested on. Nothing is
        chosen by `test`.
    val : Beats, optional
        Real beats that neither learns from, the yardstick of fidelity, physiology and privacy, which are not measured
        without it.
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
        Settings of the network but for the seed, and the features that all classifiers may see; the same for all rows.
    classifiers : sequence of str
        Which of `CLASSIFIERS`; the first is the one that most is said of.
    protocol : str
        Of `PROTOCOLS`.
    families : sequence of str
        What is measured if `val` is given: of ``"fidelity"``, ``"physiology"`` and ``"privacy"``.
    examples : int
        Beats of each class kept for figures.
    cache : Cache, optional
        Where numbers are kept, so that what was measured of the same beats is not measured again.
    engine : Engine, optional
        What does the work; the cores of this machine if not given, and one of them for few beats. The result is the same for any.

    Returns
    -------
    Evaluation
        The same whatever the order of the beats.

    Raises
    ------
    EcgsynthError
        If the beats do not fit together, hold what no ECG reaches, or a class to score is missing from one of them.

    References
    ----------
    Esteban C, Hyland SL, Rätsch G. Real-valued (medical) time series generation with recurrent
    conditional GANs (2017), doi:10.48550/arXiv.1706.02633: TSTR and TRTR.
    """
    steps = evaluate_steps(
        synthetic=synthetic,
        train=train,
        test=test,
        val=val,
        seeds=seeds,
        rows=rows,
        classes=classes,
        by=by,
        classifier=classifier,
        classifiers=classifiers,
        protocol=protocol,
        families=families,
        examples=examples,
        cache=cache,
        engine=engine,
    )
    return drain(steps)


def evaluate_steps(
    *,
    synthetic: Beats,
    train: Beats,
    test: Beats,
    val: Beats | None = None,
    seeds: Sequence[int] = (0,),
    rows: Sequence[str] = tuple(ROWS),
    classes: Sequence[str] | None = None,
    by: str = "class",
    classifier: BeatClassifier | None = None,
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    protocol: str = "natural",
    families: Sequence[str] = FAMILY_NAMES,
    examples: int = 200,
    cache: Cache | None = None,
    engine: Engine | None = None,
) -> Steps[Progress, None, Evaluation]:
    """Do the work of `evaluate`, yielding how far it is; the result is the generator's return value."""
    classifier = classifier or BeatClassifier()
    rows, classifiers = tuple(dict.fromkeys(rows)), tuple(dict.fromkeys(classifiers))
    _refuse_unknown("row", rows, ROWS)
    _refuse_unknown("classifier", classifiers, CLASSIFIERS)
    _refuse_unknown("protocol", [protocol], PROTOCOLS)
    _refuse_unknown(by, classes or (), LABELS.get(by, ()))
    choose_families(families)
    scored = [name for name in LABELS.get(by, ()) if name in (classes or set(train.counts(by)) & set(test.counts(by)))]
    _check(synthetic, train, test, scored, by)
    everyone = {"synthetic": synthetic, "train": train, "test": test} | ({} if val is None else {"val": val})
    for side, beats in everyone.items():
        refuse_impossible(beats, side)
    contents = {side: content(beats) for side, beats in everyone.items()}
    learnt_here = _learnt_from(synthetic, train, by)
    synthetic, train, test = _alike([beats.take(np.isin(beats.labels(by), scored)) for beats in (synthetic, train, test)])
    trial = _Trial.drawn(PROTOCOLS[protocol], synthetic=synthetic, train=train, test=test, by=by, classes=scored)
    kept = cache or Cache()
    settings = {name: classifier.settings if name == "cnn" else {"features": classifier.features} for name in classifiers}
    lessons = _lessons(trial, rows, settings, seeds, kept)
    measures: list[Job] = []
    if val is not None:
        measures = measuring(synthetic=synthetic, train=train, val=_ordered(val), test=test, families=families, cache=kept)
    few = len(train) + len(synthetic) < _FEW
    found = yield from (engine or Local(1 if few else None)).steps([*lessons, *measures])
    judged = [pair for lesson in found[: len(lessons)] for pair in lesson]
    return Evaluation(
        classes=tuple(scored),
        classifiers={name: {row: [Scores(**of) for key, of in judged if key == (name, row)] for row in rows} for name in classifiers},
        counts={side: getattr(trial, side).counts(by) for side in ("train", "synthetic", "test")},
        settings={
            "by": by,
            "seeds": list(seeds),
            "generator": synthetic.source,
            "synthetic": dict(synthetic.info),
            "learnt_from_this_train_side": learnt_here,
            "classifier": classifier.settings,
            "protocol": protocol,
            "contents": contents,
        },
        real=_examples(test, examples),
        synthetic=_examples(synthetic, examples),
        measured=tuple(score for scores in found[len(lessons) :] for score in scores),
    )


def _learnt_from(synthetic: Beats, train: Beats, by: str) -> bool:
    """Say whether synthetic beats are of a model that learnt from this train side, or from nobody."""
    if synthetic.info.get("learns") is False:
        return True  # what it may have learnt elsewhere is nothing
    labelled = train.take(np.isin(train.labels(by), list(synthetic.counts(by))))  # rare labels may have been left out
    told = synthetic.info.get("data_sha256")
    return bool(told) and told in (train.digest(), labelled.digest(), train.info.get(DRAWN_OF))


def _lessons(trial: "_Trial", rows: Sequence[str], settings: Mapping[str, dict[str, Any]], seeds: Sequence[int], kept: Cache) -> list[Job]:
    """Give what is to be done to train each classifier on what each row asks for, and to score it."""
    contents = {row: trial.key(row) for row in rows}  # beats are read through once
    tested: dict[str, list[str]] = {}  # what classifiers learn from -> the rows that are tested after it
    for row in rows:
        tested.setdefault("real" if row in _TESTED_ON else row, []).append(row)
    jobs = []
    for name, (lesson, asked), seed in product(settings, tested.items(), seeds):
        keys = {row: contents[row] | {"classifier": name, "settings": settings[name], "seed": seed} for row in asked}
        jobs.append(Job(f"{name} {ROWS[lesson]}", _COSTS[name], partial(_judge, trial, lesson, keys, kept)))
    return jobs


def _judge(trial: "_Trial", lesson: str, keys: Mapping[str, dict[str, Any]], kept: Cache) -> list[tuple[tuple[str, str], dict[str, Any]]]:
    """Train a classifier and score it in each row; what is kept is not done again."""
    name, settings, seed = (next(iter(keys.values()))[part] for part in ("classifier", "settings", "seed"))
    known = {row: kept.read(key) for row, key in keys.items()}
    if None in known.values():
        model = CLASSIFIERS[name](**settings, seed=seed)
        for _ in model.fit_steps(trial.beats_for(lesson, seed), by=trial.by):
            pass
        known = {row: trial.test_of(row, model, seed).to_dict() for row in keys}
        for row, key in keys.items():
            kept.write(key, known[row])
    return [((name, row), scores) for row, scores in known.items()]


@dataclass(frozen=True)
class _Trial:
    """What classifiers learn from and are tested on; `learnt` is what the generator learnt from, and its controls learn from."""

    synthetic: Beats
    train: Beats
    learnt: Beats
    test: Beats
    by: str
    classes: Sequence[str]

    @classmethod
    def drawn(cls, protocol: Protocol, *, synthetic: Beats, train: Beats, test: Beats, by: str, classes: Sequence[str]) -> "_Trial":
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
        on = {side: self._contents[side] for side in _ASKED_OF.get(row, ("train", "synthetic", "test"))}
        made = {"counts": self.synthetic.counts(self.by)} if "learnt" in on else {}
        return {"row": row, "by": self.by, "classes": list(self.classes), **made, **on}

    def beats_for(self, row: str, seed: int) -> Beats:
        """Give the beats a row's classifier learns from; controls are made in the synthetic beats' own counts."""
        if row == "real":
            return self.train
        if row == "synthetic":
            return self.synthetic
        if row in _PARTS:
            order = np.random.default_rng(seed).permutation(len(self.synthetic))
            return concatenate([self.train, self.synthetic.take(np.sort(order[: round(_PARTS[row] * len(order))]))])
        if row == "real+memorizer":
            return concatenate([self.train, self.beats_for("memorizer", seed)])
        control: Generator = Memorizer() if row == "memorizer" else ClassMean()
        return control.fit(self.learnt, by=self.by).sample(self.synthetic.counts(self.by), seed=seed)

    def test_of(self, row: str, model: Any, seed: int) -> Scores:
        """Score a classifier on the row's test beats."""
        asked = self.beats_for(_TESTED_ON[row], seed) if row in _TESTED_ON else self.test
        predicted = model.predict(asked)
        return score_classes(annotated=asked.labels(self.by), predicted=predicted, classes=self.classes, patients=asked.patients)


def _alike(sides: Sequence[Beats]) -> Sequence[Beats]:
    """Bring sides into an order of their own, and leave out the running mean of RR where one does not know it."""
    sides = [_ordered(beats) for beats in sides]
    if len({shape_of(beats).n_rhythm for beats in sides}) > 1:  # all classifiers are told the same
        return [replace(beats, rr_mean=np.full(len(beats), np.nan)) for beats in sides]
    return sides


def _ordered(beats: Beats) -> Beats:
    """Bring beats into an order of their own, so that nothing depends on the one they came in."""
    waveforms = beats.signals.reshape(len(beats), -1)
    return beats.take(np.lexsort((beats.rr_after, beats.rr_before, *waveforms[:, :: max(1, waveforms.shape[1] // 8)].T, beats.classes)))


def _draw(beats: Beats, per_class: int | None, by: str) -> Beats:
    if per_class is None:
        return beats
    rng = np.random.default_rng(0)
    return beats.take(np.concatenate([rng.choice(np.flatnonzero(beats.labels(by) == name), per_class) for name in beats.counts(by)]))


def _refuse_unknown(what: str, names: Sequence[str], known: Collection[str]) -> None:
    if strange := [name for name in names if name not in known]:
        raise EcgsynthError(f"unknown {what} {', '.join(strange)}; known: {', '.join(known)}")


def _check(synthetic: Beats, train: Beats, test: Beats, classes: Sequence[str], by: str) -> None:
    if train.is_synthetic or test.is_synthetic:
        raise EcgsynthError("the train and test sides must be real beats")
    for side, beats in (("synthetic", synthetic), ("train", train), ("test", test)):
        missing = [name for name in classes if name not in beats.counts(by)]
        if missing or not classes:
            raise EcgsynthError(f"no {side} beat of {by} {', '.join(missing) or 'any'}: `--classes` chooses those to score")
    refuse_other_shapes(synthetic, train, test)


def _examples(beats: Beats, per_class: int) -> Beats:
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(beats.classes == name) for name in beats.counts()]
    return beats.take(np.concatenate([rng.permutation(index)[:per_class] for index in members]))
