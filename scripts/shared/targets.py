"""What is read of strangers: small sound inputs of every kind, and the functions that read them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import wfdb

import ecgsynth as es
from ecgsynth.audit import DEFAULT_POLICY, Policy
from ecgsynth.build import SUMS, build, write_checksums
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.evaluation import evaluate
from ecgsynth.findings import Evaluation
from ecgsynth.formats import read_csv, read_parquet
from ecgsynth.gate import Gate
from ecgsynth.generators import GENERATORS, load_generator
from ecgsynth.parts import part_name, write_part
from ecgsynth.recipe import Quota, Recipe, load_recipe
from ecgsynth.records import write_record
from ecgsynth.report import render
from ecgsynth.review import make_review, read_answers, read_key, score_review
from ecgsynth.shards import plan
from ecgsynth.simulate import simulate_records
from ecgsynth.source import Source
from ecgsynth.splits import read_summary
from ecgsynth.steps import drain
from ecgsynth.stored import HEAD, StoredBeats, seal
from ecgsynth.untrusted import within
from ecgsynth.verify import address_of, beats_of, verify_steps
from shared.fuzzing import Target
from shared.mutations import of_bytes, of_header, of_json, of_npz, of_parquet, of_recipe, of_safetensors, of_text

SMALL: dict[str, dict[str, Any]] = {
    "gaussian": {"components": 8},
    "flow": {"steps": 2, "validations": 1, "hidden": 8, "depth": 1, "components": 8},
    "cnn-gan": {"steps": 2, "validations": 1, "components": 8, "latent": 8, "width": 4},
    "vae": {"steps": 2, "validations": 1, "components": 8, "latent": 4, "width": 8},
    "flow of frequencies": {"steps": 2, "validations": 1, "hidden": 8, "depth": 1, "space": "frequencies"},
    "class-mean": {},
    "smote": {},
    "ecgsyn": {},
}
"""Generators whose files are spoilt, by the first word, with settings under which they are made in no time."""


def _records(folder: Path) -> None:
    """Write short records: one segment of formats 16, 212 and FLAC, and several in both layouts."""
    record = next(simulate_records(n_patients=1, minutes=0.5, seed=0))
    write_record(record, folder)
    signals = np.rint(np.tile(record.signals, (1, 2)) * 200).astype(int)
    beats = record.samples[record.samples < len(signals)]

    def put(name: str, fmt: str, part: slice) -> None:
        leads = {"units": ["mV"] * 2, "sig_name": ["MLII", "V1"], "adc_gain": [200.0] * 2, "baseline": [0] * 2}
        wfdb.wrsamp(name, 360, d_signal=signals[part], fmt=[fmt] * 2, write_dir=str(folder), **leads)

    half = len(signals) // 2
    for name, fmt in (("packed", "212"), ("flac", "516")):
        put(name, fmt, slice(None))
    put("s1", "16", slice(half))
    put("s2", "212", slice(half, None))
    rest = len(signals) - half
    (folder / "lay.hea").write_text("lay 2 360 0\n~ 0 200/mV 16 0 0 0 0 MLII\n~ 0 200/mV 16 0 0 0 0 V1\n")
    (folder / "fixed.hea").write_text(f"fixed/2 2 360 {len(signals)}\ns1 {half}\ns2 {rest}\n")
    (folder / "gaps.hea").write_text(f"gaps/4 2 360 {len(signals) + 400}\nlay 0\ns1 {half}\n~ 400\ns2 {rest}\n")
    for name in ("packed", "flac", "fixed", "gaps"):
        wfdb.wrann(name, "atr", beats, ["N"] * len(beats), fs=360, write_dir=str(folder))


def _first(errors: list[es.EcgsynthError]) -> None:
    if errors:  # of one file that was spoilt, or of several
        raise errors[0]


def _read_records(folder: Path, names: list[str]) -> None:
    errors, stems = [], {Path(name).stem for name in names}
    asked = {stem for stem in stems if stem not in ("s1", "s2", "lay")} | ({"fixed", "gaps"} if stems & {"s1", "s2"} else set())
    for name in sorted(asked | ({"gaps"} if "lay" in stems else set())):
        try:
            lead = es.LEADS if (folder / names[0]).lstat().st_size % 2 else None
            es.extract_beats([es.read_record(folder / name, lead=lead)])
        except es.EcgsynthError as error:
            errors.append(error)
    _first(errors)


def _use(model: Any) -> None:
    """Ask a model for a beat of each label, as whoever loads one does."""
    model.sample(dict.fromkeys(model.classes, 1), workers=1)
    model.fingerprint()


def _read_models(folder: Path, names: list[str]) -> None:
    errors = []
    for name in names:
        try:
            _use(load_generator(folder / name))
        except es.EcgsynthError as error:
            errors.append(error)
    _first(errors)


def _resume(folder: Path, train: es.Beats) -> None:
    """Go on from a checkpoint that someone else left."""
    model = GENERATORS["flow"](**SMALL["flow"])
    for _ in model.fit_steps(train, None, shutil.copy(folder / "checkpoint", folder / "used")):
        break


def _read_dataset(folder: Path, names: list[str]) -> None:
    drain(verify_steps(folder, beats=2))
    sums = (folder / SUMS).read_bytes()
    try:
        write_checksums(folder)  # so that what is spoilt is met behind them too
        _use_dataset(folder)
    finally:
        (folder / SUMS).write_bytes(sums)


def _use_dataset(folder: Path) -> None:
    drain(verify_steps(folder, model=str(folder.parent / "models" / "gaussian.safetensors"), beats=2))
    beats_of(folder)
    address_of(folder, 3)


def _read_evaluation(folder: Path, names: list[str]) -> None:
    found = Evaluation.load(folder)
    str(found)
    found.to_dict()
    render(found, split=read_summary(folder), history=load_generator(within(folder / "model.safetensors", folder)).history_)


def _read_review(folder: Path, names: list[str]) -> None:
    key = read_key(folder / "key.json")
    for judged in score_review([read_answers(folder / "answers.json", key)], key):
        judged.lines()


def _read_parts(folder: Path) -> None:
    stored = StoredBeats.open(folder)
    stored.load()
    stored.some(20)
    stored.digest()


def _read_recipe(folder: Path, names: list[str]) -> None:
    recipe = load_recipe(folder / "recipe.toml")
    plan(recipe)
    load = recipe.to_toml()
    if recipe.model == "mitdb":
        Source.of(recipe).head()
    (folder / "again.toml").write_text(load, encoding="utf-8")


def make_targets(where: Path) -> dict[str, Target]:
    """Make the sound inputs in a folder, and say how each is read and spoilt."""
    beats = es.extract_beats(simulate_records(n_patients=6, minutes=1, seed=0), source="simulated")
    split = es.split_beats(beats, seed=0)
    names = ("records", "models", "gates", "beats", "parts", "parquet", "splits", "recipes", "reviews", "resumed")
    folders = {name: where / name for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True)
    _records(folders["records"])
    for name, settings in SMALL.items():
        GENERATORS[name.split()[0]](**settings).fit(split.train).save(folders["models"] / f"{name}.safetensors")
    Gate.learn(split.train, split.val, classifier=BeatClassifier(steps=5, width=4)).save(folders["gates"] / "gate.safetensors")
    few = beats.take(np.arange(0, len(beats), max(1, len(beats) // 60)))
    few.save(folders["beats"] / "beats.npz")
    split.save(folders["splits"] / "split")
    part = write_part(folders["parts"] / part_name(0), [few.take(np.arange(30)), few.take(np.arange(30, len(few)))])
    seal(folders["parts"], [part], source=few.source, info=few.info)
    resumed = GENERATORS["flow"](**SMALL["flow"] | {"steps": 10**6}).fit_steps(split.train, None, folders["resumed"] / "checkpoint")
    next(resumed)
    resumed.close()
    (folders["recipes"] / "policy.toml").write_text(DEFAULT_POLICY.read_text())
    (folders["recipes"] / "recipe.toml").write_text(_recipe("mitdb").to_toml())
    build(_recipe(str(folders["models"] / "gaussian.safetensors"), gate="none"), where / "dataset")
    shutil.copy(where / "dataset" / "parquet" / "train-00000-of-00001.parquet", folders["parquet"] / "beats.parquet")
    shutil.copy(where / "dataset" / "csv" / "train.csv", folders["parquet"] / "beats.csv")
    _review(split, folders["models"], folders["reviews"])
    _evaluation(split, folders["models"], where / "evaluation")
    return _targets(where, few, split)


def _recipe(model: str, **changes: Any) -> Recipe:
    return Recipe(model, [Quota("N", 12), Quota("V", 6, rr_before=(0.2, 3.0))], splits={"train": 0.5, "test": 0.5}, **changes)


def _review(split: es.Split, models: Path, folder: Path) -> None:
    made = load_generator(models / "gaussian.safetensors").sample({"N": 40, "V": 40})
    page = make_review(synthetic=made, real=split.train, items=8)
    page.save(folder / "page.html", folder / "key.json")
    said = {token: {"verdict": "real", "label": "N", "usable": True, "remark": "wide"} for token in page.key["items"]}
    (folder / "answers.json").write_text(json.dumps({"review": page.key["review"], "reviewer": "ann", "answers": said}))


def _evaluation(split: es.Split, models: Path, folder: Path) -> None:
    made = load_generator(models / "gaussian.safetensors").sample(es.class_counts(split.train))
    asked: dict[str, Any] = {"classifiers": ("cnn",), "rows": ("real", "synthetic", "class-mean"), "examples": 3, "families": ("fidelity",)}
    network = BeatClassifier(steps=3, width=4)
    evaluate(synthetic=made, train=split.train, test=split.test, val=split.val, classifier=network, **asked).save(folder)
    shutil.copy(models / "flow.safetensors", folder / "model.safetensors")
    (folder / "split.json").write_text(json.dumps(split.summary()))


def _targets(where: Path, few: es.Beats, split: es.Split) -> dict[str, Target]:
    records, models, gates, recipes = where / "records", where / "models", where / "gates", where / "recipes"

    def by_suffix(folder: Path, how: Any, *suffixes: str) -> dict[str, Any]:
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in suffixes)
        return dict.fromkeys(names, how)

    def read_of(reader: Callable[[Path], Any], name: str) -> Callable[[Path, list[str]], Any]:
        return lambda folder, _: reader(folder / name)

    dataset = where / "dataset"
    of_dataset = by_suffix(dataset, of_json, ".json") | by_suffix(dataset, of_text, ".toml") | by_suffix(dataset, of_npz, ".npz")
    of_dataset |= by_suffix(dataset, of_parquet, ".parquet") | {"SHA256SUMS": of_text}
    evaluation = where / "evaluation"
    of_evaluation = by_suffix(evaluation, of_json, ".json") | by_suffix(evaluation, of_npz, ".npz")
    of_evaluation |= by_suffix(evaluation, of_safetensors, ".safetensors")
    return {
        "headers": Target(records, by_suffix(records, of_header, ".hea"), _read_records, weight=3),
        "signals": Target(records, by_suffix(records, of_bytes, ".dat"), _read_records, sealed=True),
        "annotations": Target(records, by_suffix(records, of_bytes, ".atr"), _read_records, weight=2, sealed=True),
        "models": Target(models, by_suffix(models, of_safetensors, ".safetensors"), _read_models),
        "gates": Target(gates, {"gate.safetensors": of_safetensors}, lambda folder, _: Gate.load(folder / "gate.safetensors").check(few)),
        "checkpoints": Target(
            where / "resumed", {"checkpoint": of_safetensors}, lambda folder, _: _resume(folder, split.train), weight=0.5
        ),
        "npz": Target(where / "beats", {"beats.npz": of_npz}, read_of(es.Beats.load, "beats.npz"), weight=2),
        "Parquet": Target(
            where / "parquet", {"beats.parquet": of_parquet}, lambda folder, _: read_parquet([folder / "beats.parquet"]), weight=2
        ),
        "parts": Target(
            where / "parts", {HEAD: of_json, part_name(0): of_parquet}, lambda folder, _: _read_parts(folder), weight=2, sealed=True
        ),
        "CSV": Target(where / "parquet", {"beats.csv": of_text}, read_of(read_csv, "beats.csv"), weight=0.8),
        "splits": Target(
            where / "splits" / "split",
            {"split.json": of_json, "val.npz": of_npz},
            lambda folder, _: es.Split.load(folder).summary(),
            weight=0.7,
            sealed=True,
        ),
        "recipes": Target(recipes, {"recipe.toml": of_recipe}, _read_recipe),
        "policies": Target(recipes, {"policy.toml": of_text}, read_of(Policy.load, "policy.toml")),
        "review keys": Target(where / "reviews", {"key.json": of_json}, _read_review, weight=0.1),
        "review answers": Target(where / "reviews", {"answers.json": of_json}, _read_review, weight=1.1),  # what comes from many hands
        "datasets": Target(dataset, of_dataset, _read_dataset, weight=0.5, sealed=True),
        "evaluations": Target(evaluation, of_evaluation, _read_evaluation, weight=0.3, sealed=True),
    }
