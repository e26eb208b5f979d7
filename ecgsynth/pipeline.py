"""The whole job in one folder, stage by stage; what is done is kept."""

import json
from collections.abc import Generator as Steps
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import ecgsynth
from ecgsynth.beats import Beats
from ecgsynth.classifiers import network_for
from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.evaluation import evaluate_steps
from ecgsynth.files import atomic_path, discard
from ecgsynth.findings import Evaluation
from ecgsynth.generators import GENERATORS, Request, class_counts, fall_of, load_generator, settings_of, without_rare
from ecgsynth.places import here
from ecgsynth.records import LEADS, find_records, read_each
from ecgsynth.report import save_report
from ecgsynth.simulate import simulate_records
from ecgsynth.splits import Split, split_beats
from ecgsynth.steps import relabelled

STAGES = {"beats": 0.02, "split": 0.01, "train": 0.4, "sample": 0.02, "evaluate": 0.54, "report": 0.01}
"""The stages in their order, and about what share of the time each takes."""

ROWS = ("real", "synthetic", "real-on-synthetic", "real+synthetic", "memorizer", "real-on-memorizer", "class-mean")
"""What the classifiers of a run learn from and are tested on; `ecgsynth evaluate` has more."""


@dataclass(frozen=True)
class Settings:
    """What a run is made with; a folder holds a run of one kind only.

    Parameters
    ----------
    records : str or None
        Folder of WFDB records; None for simulated ones.
    lead : str
        Leads by preference, by comma, as for `extract_beats`; ``"all"`` for all leads of a record together.
    scheme : str
        Of `split_beats`.
    by : str
        What beats are told apart by: ``"class"`` or ``"symbol"``.
    features : str
        What classifiers see of a beat, of `ecgsynth.classifiers.FEATURES`; by the scheme if not given.
    generator : str
        Of `GENERATORS`.
    minutes : float or None
        Budget of training; None for the generator's own number of steps.
    power : float
        Class proportions of the synthetic beats, of `class_counts`.
    classifier_steps : int
        Training steps of each classifier of the evaluation.
    seeds : int
        Classifiers a row.
    families : str
        What is measured beside that, by comma, as for `evaluate`; ``""`` for nothing.
    seed : int
        Of the split, the training and the sampling.
    """

    records: str | None
    lead: str = ",".join(LEADS)
    scheme: str = "beats"
    by: str = "class"
    features: str | None = None
    generator: str = "flow"
    minutes: float | None = None
    power: float = 1.0
    classifier_steps: int = 2000
    seeds: int = 1
    families: str = "privacy"
    seed: int = 0


class StageProgress(NamedTuple):
    """A stage of `STAGES`, the share of it that is done, what is going on, and what a person should know of it."""

    stage: str
    share: float
    detail: str = ""
    note: str = ""

    @property
    def of_all(self) -> float:
        """The share of the whole job that is done."""
        before = list(STAGES)[: list(STAGES).index(self.stage)]
        return sum(STAGES[stage] for stage in before) + STAGES[self.stage] * self.share


def run_steps(folder: str | Path, settings: Settings, *, force: bool = False) -> Steps[StageProgress, None, Evaluation]:
    """Do the whole job in `folder`, going on where an earlier call stopped.

    Yields
    ------
    StageProgress

    Returns
    -------
    Evaluation
        With ``report.html`` and everything else written to `folder`.

    Raises
    ------
    EcgsynthError
        If `folder` holds a run with other settings, or of another version, and `force` is not set, or a stage fails.
    """
    folder = here(folder)
    _claim(folder, settings, force=force)
    yield from _beats(folder, settings)
    yield from _split(folder, settings)
    yield from _train(folder, settings)
    yield from _sample(folder, settings)
    evaluation = yield from _evaluate(folder, settings)
    model = load_generator(folder / "model.safetensors")
    save_report(
        folder / "report.html",
        evaluation,
        history=model.history_,
        split=json.loads((folder / "split" / "split.json").read_text()),
        force=True,
    )
    yield StageProgress("report", 1.0)
    return evaluation


def _claim(folder: Path, settings: Settings, *, force: bool) -> None:
    """Begin a run in `folder`, or find the one there to be of the same settings and version."""
    path = folder / "settings.json"
    text = json.dumps({"ecgsynth": ecgsynth.__version__, **asdict(settings)}, indent=1) + "\n"
    if path.is_file() and path.read_text() == text and not (force and (folder / "report.html").is_file()):
        return  # what was begun of the same goes on
    if folder.exists() and any(folder.iterdir()) and not force:
        what = "a run with other settings, or of another version" if path.is_file() else "other files"
        raise EcgsynthError(f"{folder} holds {what}: give another name, or --force to replace it")
    if settings.records is not None:
        find_records(settings.records)  # or it fails before the folder is of these settings
    with atomic_path(folder, force=True, marker="settings.json") as temporary:
        temporary.mkdir()
        (temporary / "settings.json").write_text(text)


def _beats(folder: Path, settings: Settings) -> Iterator[StageProgress]:
    path = folder / "beats.npz"
    if path.is_file():
        return
    if settings.records is None:
        yield StageProgress("beats", 0.0, "simulated records")
        extract_beats(simulate_records(seed=settings.seed), source="simulated").save(path)
    else:
        found = find_records(settings.records)
        yield StageProgress("beats", 0.0, f"{len(found)} records")
        leads = settings.lead.split(",")
        extract_beats(read_each(found, lead=leads), lead=leads).save(path)
    yield StageProgress("beats", 1.0)


def _split(folder: Path, settings: Settings) -> Iterator[StageProgress]:
    if not (folder / "split").is_dir():
        split_beats(Beats.load(folder / "beats.npz"), scheme=settings.scheme, seed=settings.seed).save(folder / "split")
        yield StageProgress("split", 1.0)


def _train(folder: Path, settings: Settings) -> Iterator[StageProgress]:
    path = folder / "model.safetensors"
    if path.is_file():
        return
    checkpoint = folder / "model.checkpoint"
    split = Split.load(folder / "split")
    taken = settings_of(settings.generator)  # a generator that needs no training has neither
    generator = GENERATORS[settings.generator](**{name: getattr(settings, name) for name in ("minutes", "seed") if name in taken})
    train, notes = without_rare(split.train, settings.by)
    latest, said = "", 0
    yield StageProgress("train", 0.0, settings.generator, "; ".join(notes))
    for step in generator.fit_steps(train, split.val, checkpoint, by=settings.by):
        latest = step.scores_text() or latest
        yield StageProgress("train", step.share, step.losses_text() + latest, "; ".join(generator.notes_[said:]))
        said = len(generator.notes_)
    generator.save(path)
    discard(checkpoint)
    yield StageProgress("train", 1.0, latest, "; ".join([*generator.notes_[said:], *fall_of(generator.history_)]))


def _sample(folder: Path, settings: Settings) -> Steps[StageProgress, None, None]:
    path = folder / "synthetic.npz"
    if path.is_file():
        return
    train, _ = without_rare(Beats.load(folder / "split" / "train.npz"), settings.by)
    model = load_generator(folder / "model.safetensors")
    of: Beats | dict[str, int] = model.counts if "privacy" in model.shape_ else train  # exact counts are no part of the promise
    steps = model.sample_steps(Request(class_counts(of, power=settings.power, by=settings.by), seed=settings.seed))
    made = yield from relabelled(steps, lambda share: StageProgress("sample", share))
    made.save(path)
    yield StageProgress("sample", 1.0)


def _evaluate(folder: Path, settings: Settings) -> Steps[StageProgress, None, Evaluation]:
    if (folder / "evaluation.json").is_file():
        return Evaluation.load(folder)
    split = Split.load(folder / "split")
    synthetic = Beats.load(folder / "synthetic.npz")
    steps = evaluate_steps(
        synthetic=synthetic,
        train=split.train,
        test=split.test,
        val=split.val,
        seeds=range(settings.seeds),
        rows=ROWS,
        classes=[name for name in synthetic.counts(settings.by) if name in split.test.counts(settings.by)],
        classifiers=("cnn",),
        families=[name for name in settings.families.split(",") if name],
        by=settings.by,
        classifier=network_for(settings.scheme, synthetic, features=settings.features, steps=settings.classifier_steps),
    )
    evaluation = yield from relabelled(steps, lambda step: StageProgress("evaluate", step.share, step.label))
    evaluation.save(folder, force=True)
    return evaluation
