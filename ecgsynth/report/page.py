"""The report as one HTML page that needs nothing outside itself."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ecgsynth.files import atomic_path, refuse_existing
from ecgsynth.findings import Evaluation
from ecgsynth.generators.history import TrainingStep
from ecgsynth.labels import AAMI_CLASSES, CLASS_NAMES
from ecgsynth.places import place
from ecgsynth.report import charts, explorer, figures
from ecgsynth.report.measured import shown, tables, warnings, worth_added
from ecgsynth.report.words import Source, cautions, class_sentences, findings, headline, label_names, source_of, summed
from ecgsynth.rows import ROWS

SCHEMES = {
    "beats": "Beats were divided at random, so beats of one patient stand both in training and in test.",
    "patients": "Patients were divided: no patient stands both in training and in test.",
    "dechazal": "The division of de Chazal and others (2004): training on patients of DS1, test on those of DS2.",
}

KINDS = {"cnn": "Convolutional network", "trees": "Gradient-boosted trees", "neighbors": "Nearest neighbours"}

_STRIP = 90.0  # mm of ECG paper for either side, so that both fit on A4


def render(evaluation: Evaluation, *, history: Sequence[TrainingStep] = (), split: Mapping[str, Any] | None = None) -> str:
    """Write the report of an evaluation as one self-contained HTML page.

    Parameters
    ----------
    evaluation : Evaluation
        What is reported.
    history : sequence of TrainingStep
        How the generator was trained; empty for one that is not trained step by step.
    split : mapping, optional
        What `Split.summary` gives.

    Returns
    -------
    str
        The page: no script but its own, no outside resource. Same input, same text.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ecgsynth", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda figure, key, label: _markup(figures.to_svg(figure, key=key, label=label))
    environment.filters["shown"] = shown
    source = source_of(evaluation.real)
    return environment.get_template("page.html.jinja").render(
        evaluation=evaluation,
        source=source,
        generator=evaluation.settings.get("generator") or evaluation.synthetic.source,
        names=CLASS_NAMES,
        label_names=label_names(evaluation),
        kinds=KINDS,
        rows={name: _call(row.title, source) for name, row in ROWS.items() if name in evaluation.rows},
        headline=headline(evaluation),
        cautions=cautions(evaluation, split),
        findings=findings(evaluation),
        sentences=class_sentences(evaluation),
        added=charts.added(worth) if (worth := worth_added(evaluation)) else None,
        measured=tables(evaluation),
        warnings=warnings(evaluation),
        papers=_papers(evaluation),
        spread=figures.spread(evaluation.real, evaluation.synthetic) if _shared(evaluation) else None,
        confusion=_confusion(evaluation),
        n_seeds=max((len(seeds) for seeds in evaluation.rows.values()), default=0),
        curves=charts.training_curves(history) if history else None,
        kept=charts.kept_step(history),
        method=_method(evaluation, split),
        notes=list((split or {}).get("notes", ())),
        counts=_counts(evaluation, split),
        records=sorted(set(evaluation.real.records.tolist()) - {""}),
        explorer_data=explorer.explorer_data(evaluation.real, evaluation.synthetic),
        script=explorer.SCRIPT,
        script_digest=explorer.script_digest(),
    )


def save_report(
    path: str | Path,
    evaluation: Evaluation,
    *,
    history: Sequence[TrainingStep] = (),
    split: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Write what `render` gives to `path` and return that.

    Raises
    ------
    EcgsynthError
        If `path` exists and `force` is not set, or it cannot be written.
    """
    path = place(path)
    refuse_existing(path, force=force)
    page = render(evaluation, history=history, split=split)
    with atomic_path(path, force=force) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _call(text: str, source: Source) -> str:
    return text.replace("real", source.word)


def _shared(evaluation: Evaluation) -> set[str]:
    return set(evaluation.real.counts()) & set(evaluation.synthetic.counts())


def _confusion(evaluation: Evaluation) -> Any:
    """Draw the matrices of those rows that there are; None if there is neither."""
    word = source_of(evaluation.real).word
    titles = {"real": f"trained on {word} beats", "synthetic": "trained on synthetic beats"}
    matrices = {title: summed(evaluation, row) for row, title in titles.items() if row in evaluation.rows}
    return charts.confusion(matrices, evaluation.classes) if matrices else None


def _papers(evaluation: Evaluation) -> dict[str, tuple[Any, int, int]]:
    """Draw each class on ECG paper; with it, how many real and synthetic beats are drawn."""
    real, synthetic = evaluation.real, evaluation.synthetic
    cell = max(figures.cell_width(real), figures.cell_width(synthetic))
    per_class = int(np.clip((_STRIP - figures.CALIBRATION) // cell, 1, 4))
    papers = {}
    for name in AAMI_CLASSES:
        drawn = [min(per_class, beats.counts().get(name, 0)) for beats in (real, synthetic)]
        if any(drawn):
            papers[name] = (figures.ecg_paper(real, synthetic, name, per_class=per_class), drawn[0], drawn[1])
    return papers


def _method(evaluation: Evaluation, split: Mapping[str, Any] | None) -> dict[str, str]:
    """Give what is needed to make it again: term -> text."""
    settings, info = evaluation.settings, evaluation.real.info
    made = settings.get("synthetic", {})
    leads = ", ".join(sorted(set(evaluation.real.leads.tolist()) - {""}))
    cut = f"; lead {leads}{', the first is shown' if evaluation.real.n_leads > 1 else ''}" if leads else ""
    if "before" in info and "after" in info:
        cut += f"; {info['before'] * 1000:.0f} ms before to {info['after'] * 1000:.0f} ms after the R peak"
    if info.get("band"):
        cut += "; filtered to {:g}–{:g} Hz".format(*info["band"])
    division = "not recorded"
    if split:
        division = f"{SCHEMES.get(split['scheme'], split['scheme'])} Drawn with seed {split['seed']}."
    classifier = ", ".join(f"{name} {value}" for name, value in settings.get("classifier", {}).items())
    return {
        f"{source_of(evaluation.real).word.capitalize()} beats": source_of(evaluation.real).name + cut,
        "Synthetic beats": f"drawn with seed {made.get('seed', 'not recorded')}",
        "Model, SHA-256": str(made.get("model_sha256", "not recorded")),
        "Division": division,
        "Classifier": f"convolutional network, the same for every row of the table ({classifier or 'settings not recorded'})",
        "Seeds of the classifier": ", ".join(map(str, settings.get("seeds", ()))) or "not recorded",
        "Software": f"ecgsynth {_version()}",
    }


def _counts(evaluation: Evaluation, split: Mapping[str, Any] | None) -> dict[str, dict[str, int]]:
    """Give column -> class -> beats, the validation side too where it is known."""
    word = source_of(evaluation.real).word
    columns = {f"training ({word})": dict(evaluation.counts.get("train", {}))}
    if split and "val" in split.get("classes", {}) and evaluation.settings.get("by", "class") == "class":
        columns[f"validation ({word})"] = {name: split["classes"]["val"].get(name, 0) for name in evaluation.classes}
    columns[f"test ({word})"] = dict(evaluation.counts.get("test", {}))
    columns["synthetic"] = dict(evaluation.counts.get("synthetic", {}))
    return columns


def _version() -> str:
    try:
        return version("ecgsynth")
    except PackageNotFoundError:
        return "of unknown version"
