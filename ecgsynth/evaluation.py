"""What synthetic beats are worth: classifiers trained on them, tested on real ones, beside their controls."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Generator as Steps
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ecgsynth.beats import Beats, of_others, refuse_impossible
from ecgsynth.cache import Cache, content
from ecgsynth.classifiers import CLASSIFIERS, BeatClassifier, network_for
from ecgsynth.engine import Engine, Job, Local
from ecgsynth.errors import EcgsynthError
from ecgsynth.families import FAMILY_NAMES, choose_families
from ecgsynth.findings import Evaluation
from ecgsynth.labels import LABELS
from ecgsynth.measures import measuring, refuse_other_shapes
from ecgsynth.metrics.utility import Scores
from ecgsynth.rows import ROWS
from ecgsynth.steps import Progress, drain
from ecgsynth.stored import DRAWN_OF
from ecgsynth.trials import PROTOCOLS, Trial, alike, ordered

_COSTS = {"cnn": 6.0, "trees": 1.5, "neighbors": 1.0}  # in time, against other work
_FEW = 20_000  # beats to learn from: with fewer, to begin other processes would take longer than it saves


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
        Settings of the network but for the seed, and the features that all classifiers may see; the same for all rows. Those of
        `network_for` if not given: for new patients, where no patient of `train` is in `test`.
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
    classifier = classifier or network_for("patients" if of_others(test, than=train) else "beats", synthetic)
    rows, classifiers = tuple(dict.fromkeys(rows)), tuple(dict.fromkeys(classifiers))
    _refuse_unknown("row", rows, ROWS)
    _refuse_unknown("classifier", classifiers, CLASSIFIERS)
    _refuse_unknown("protocol", [protocol], PROTOCOLS)
    _refuse_unknown("kind of labels", [by], LABELS)
    _refuse_unknown(by, classes or (), LABELS[by])
    choose_families(families)
    if not (rows and classifiers and len(seeds)):
        raise EcgsynthError("give a row, a classifier and a seed at least")
    asked = set(train.counts(by)) & set(test.counts(by)) if classes is None else classes
    scored = [name for name in LABELS[by] if name in asked]
    _check(synthetic, train, test, scored, by)
    everyone = {"synthetic": synthetic, "train": train, "test": test} | ({} if val is None else {"val": val})
    for side, beats in everyone.items():
        refuse_impossible(beats, side)
    contents = {side: content(beats) for side, beats in everyone.items()}
    learnt_here = _learnt_from(synthetic, train)
    synthetic, train, test = alike([beats.take(np.isin(beats.labels(by), scored)) for beats in (synthetic, train, test)])
    trial = Trial.drawn(PROTOCOLS[protocol], synthetic=synthetic, train=train, test=test, by=by, classes=scored)
    kept = cache or Cache()
    settings = {name: classifier.settings if name == "cnn" else {"features": classifier.features} for name in classifiers}
    lessons = _lessons(trial, rows, settings, seeds, kept)
    measures: list[Job] = []
    if val is not None:
        val = ordered(val.take(np.isin(val.labels(by), scored)))
        measures = measuring(synthetic=synthetic, train=train, val=val, test=test, families=families, cache=kept)
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


def _learnt_from(synthetic: Beats, train: Beats) -> bool:
    """Say whether synthetic beats are of a model that learnt from this train side, or from nobody."""
    if synthetic.info.get("learns") is False:
        return True  # what it may have learnt elsewhere is nothing
    told = synthetic.info.get("data_sha256")
    return bool(told) and (told == train.info.get(DRAWN_OF) or any(told == side.digest() for side in _may_be_learnt(synthetic, train)))


def _may_be_learnt(synthetic: Beats, train: Beats) -> Iterator[Beats]:
    """Give the train side as a generator may have had it: whole, of the labels that it makes, or without those rarer than any of them."""
    yield train
    by = "symbol" if synthetic.symbols.all() and train.symbols.all() else "class"
    labels, counts = train.labels(by), train.counts(by)
    yield train.take(np.isin(labels, list(synthetic.counts(by))))
    for fewest in sorted(set(counts.values()))[1:]:
        yield train.take(np.isin(labels, [name for name, count in counts.items() if count >= fewest]))


def _lessons(trial: Trial, rows: Sequence[str], settings: Mapping[str, dict[str, Any]], seeds: Sequence[int], kept: Cache) -> list[Job]:
    """Give what is to be done to train each classifier on what each row asks for, and to score it."""
    contents = {row: trial.key(row) for row in rows}  # beats are read through once
    lessons: dict[Any, list[str]] = {}  # what classifiers learn from -> the rows that are tested after it
    for row in rows:
        lessons.setdefault((ROWS[row].learns, ROWS[row].share), []).append(row)
    jobs = []
    for name, asked, seed in product(settings, lessons.values(), seeds):
        keys = {row: contents[row] | {"classifier": name, "settings": settings[name], "seed": seed} for row in asked}
        jobs.append(Job(f"{name} {ROWS[asked[0]].title}", _COSTS[name], partial(_judge, trial, keys, kept)))
    return jobs


def _judge(trial: Trial, keys: Mapping[str, dict[str, Any]], kept: Cache) -> list[tuple[tuple[str, str], dict[str, Any]]]:
    """Train a classifier and score it in each row, all of which learn from the same; what is kept is not done again."""
    name, settings, seed = (next(iter(keys.values()))[part] for part in ("classifier", "settings", "seed"))
    known = {row: kept.read(key) for row, key in keys.items()}
    if None in known.values():
        model = CLASSIFIERS[name](**settings, seed=seed)
        for _ in model.fit_steps(trial.beats_for(next(iter(keys)), seed), by=trial.by):
            pass
        known = {row: trial.test_of(row, model, seed).to_dict() for row in keys}
        for row, key in keys.items():
            kept.write(key, known[row])
    return [((name, row), scores) for row, scores in known.items()]


def _refuse_unknown(what: str, names: Sequence[str], known: Collection[str]) -> None:
    if strange := [name for name in names if name not in known]:
        raise EcgsynthError(f"unknown {what} {', '.join(strange)}; known: {', '.join(known)}")


def _check(synthetic: Beats, train: Beats, test: Beats, classes: Sequence[str], by: str) -> None:
    if train.is_synthetic or test.is_synthetic:
        raise EcgsynthError("the train and test sides must be real beats")
    if not classes:
        raise EcgsynthError(f"there is no {by} to score: synthetic, train and test beats need one in common")
    for side, beats in (("synthetic", synthetic), ("train", train), ("test", test)):
        if missing := [name for name in classes if name not in beats.counts(by)]:
            raise EcgsynthError(f"no {side} beat of {by} {', '.join(missing)}: choose the classes to score (--classes)")
    refuse_other_shapes(synthetic, train, test)


def _examples(beats: Beats, per_class: int) -> Beats:
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(beats.classes == name) for name in beats.counts()]
    return beats.take(np.concatenate([rng.permutation(index)[:per_class] for index in members]))
