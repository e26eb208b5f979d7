"""Our generators beside those of other packages: same beats, same minutes of training on one core, same classifiers.

    python scripts/compare_peers.py -o results/peers --minutes 5 --seeds 5

ecgen and tsgm are installed into DIR/venv and run there (`scripts/peers`); what fails is a row that says so. A run
that was stopped goes on: what is measured is kept in DIR/parts.

All learn the waveforms and classes of the training side; ours learn its RR intervals and leads as well, of which no
judge is told. The minutes of ours are those of steps, before which come principal components and clusters; those of peers begin
with their training. The table has the whole of both. `flow` and `flow-gan` compute in bfloat16 where the processor does, peers as they
do by themselves. All are asked for as many beats of each class as it has; a peer that would sample for more than three
times as long as it trained makes fewer. The first judge is ours (`ecgsynth.evaluate`), the second ecgen's `tstr`: its
classifier, trained for ten epochs on at most 3,000 of the beats, as it takes long, and tested on the whole test side.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import click
import neurokit2 as nk
import numpy as np
import torch
from imblearn.over_sampling import SMOTE
from shared import Found, chosen, machine, mitdb_split, part, versions, write
from threadpoolctl import threadpool_limits

import ecgsynth as es

CLASSIFIER = es.BeatClassifier()
TSTR_BEATS = 3_000
RECORDS = 40  # simulated, of a minute each
HERE = Path(__file__).parent
PEERS = {  # what to install for each, besides the torch of constraints.txt
    "ecgen": ["ecgen==1.1.0", "--constraint", HERE.parent / "constraints.txt"],
    "tsgm": ["tsgm==0.1.0", "keras==3.11.3"],  # keras 3.15 refuses how tsgm calls it; an older networkx than the constraints'
}
COLUMNS = {  # what is measured -> its title and digits; scores have three, and a standard deviation
    "macro_f1": ("TSTR macro-F1", 3),
    "macro_auroc": ("macro-AUROC by ecgen's `tstr`", 3),
    "minutes": ("training minutes", 1),
    "steps": ("training steps", 0),
    "speed": ("sampling beats/s", 0),
    "beats": ("beats", 0),
}

Made = tuple[es.Beats, dict[str, float]]


def run(*command: str | Path) -> str:
    """Run a command on one core and give what it prints."""
    one_core = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, env=os.environ | one_core).stdout


def reason(error: Exception) -> str:
    """Give the last line of what went wrong."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else f"{type(error).__name__}: {error}"
    return (said.strip() or str(error)).splitlines()[-1]


@cache
def install(peer: str, out: Path) -> str:
    """Have the peer in the peers' environment; gives why that failed, or nothing."""
    python, done = out / "venv" / "bin" / "python", out / "venv" / f"{peer}.installed"
    try:
        if not python.is_file():
            run(sys.executable, "-m", "venv", out / "venv")
        if not done.is_file():
            click.echo(f"installing {peer}", err=True)
            run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "torch==2.13.0", *PEERS[peer])
            done.touch()
    except (subprocess.CalledProcessError, OSError) as error:
        return reason(error)
    return ""


def run_peer(script: str, out: Path, *arguments: str | Path) -> str:
    """Run one of the scripts of the peers, whose name begins with the peer's, in their environment."""
    if why := install(script.split("_")[0], out):
        raise RuntimeError(why)
    return run(out / "venv" / "bin" / "python", HERE / "peers" / f"{script}.py", *arguments)


def ours(name: str, split: es.Split, minutes: float, seed: int, out: Path) -> Made:
    """Train a generator of this package, and sample."""
    generator = es.GENERATORS[name](minutes=minutes, steps=10**9, validations=1, seed=seed)
    begun = time.perf_counter()
    steps = sum(1 for _ in generator.fit_steps(split.train))
    trained = time.perf_counter()
    made = generator.sample(es.class_counts(split.train), seed=seed, workers=1)
    return made, {"minutes": (trained - begun) / 60, "steps": steps, "speed": len(made) / (time.perf_counter() - trained)}


def theirs(script: str, split: es.Split, minutes: float, seed: int, out: Path) -> Made:
    """Have a peer train and sample."""
    path = out / "work" / "made.npz"
    run_peer(script, out, out / "work" / "split" / "train.npz", path, "--minutes", str(minutes), "--seed", str(seed))
    with np.load(path, allow_pickle=False) as file:
        made = es.Beats(signals=file["signals"], classes=file["classes"], source=script)
        return made, {key: float(file[key]) for key in ("minutes", "steps", "speed")}


def smote(split: es.Split, minutes: float, seed: int, out: Path) -> Made:
    """Double every class by imbalanced-learn, and give the half that is new."""
    begun = time.perf_counter()
    wanted = {name: 2 * count for name, count in split.train.counts().items()}
    signals, classes = SMOTE(sampling_strategy=wanted, random_state=seed).fit_resample(split.train.signals, split.train.classes)
    made = es.Beats(signals=signals[len(split.train) :], classes=classes[len(split.train) :], source="imbalanced-learn")
    return made, {"speed": len(made) / (time.perf_counter() - begun)}


def simulator(split: es.Split, minutes: float, seed: int, out: Path) -> Made:
    """Simulate records by neurokit2, cut out their beats, and hand these out under every class alike: all are normal."""
    begun = time.perf_counter()
    rng = np.random.default_rng(seed)
    records = []
    for number, rate in enumerate(rng.uniform(50, 110, RECORDS)):
        ecg = nk.ecg_simulate(60, sampling_rate=360, heart_rate=rate, method="ecgsyn", random_state=RECORDS * seed + number)
        peaks = nk.ecg_peaks(ecg, sampling_rate=360)[1]["ECG_R_Peaks"]
        records.append(es.Record(str(number), np.float32(ecg[:, None]), ("II",), 360.0, np.full(len(peaks), "N"), np.int64(peaks)))
    pool = es.extract_beats(records, lead="first", source="simulated")
    facts = {"speed": len(pool) / (time.perf_counter() - begun), "beats": len(pool)}
    signals = pool.signals[rng.integers(0, len(pool), len(split.train))]
    return es.Beats(signals=signals, classes=split.train.classes, source="neurokit2"), facts


# Row -> what the table calls it, and what makes its beats.
ROWS: dict[str, tuple[str, Callable[[es.Split, float, int, Path], Made]]] = {
    "real": ("real beats (TRTR)", lambda split, *_: (split.train, {})),
    "flow": ("ecgsynth: `flow`", partial(ours, "flow")),
    "flow-gan": ("ecgsynth: `flow-gan`", partial(ours, "flow-gan")),
    "cnn-gan": ("ecgsynth: `cnn-gan`", partial(ours, "cnn-gan")),
    "ecgen": ("ecgen 1.1.0: flow matching with a U-Net, 10 steps of Euler's method", partial(theirs, "ecgen_flow")),
    "tsgm": ("tsgm 0.1.0: conditional GAN with LSTM", partial(theirs, "tsgm_cgan")),
    "smote": (f"imbalanced-learn {version('imbalanced-learn')}: SMOTE, which mixes real beats", smote),
    "neurokit": (f"neurokit2 {version('neurokit2')}: ECGSYN, without classes: one pool of normal beats under every label", simulator),
}


def judge(name: str, made: es.Beats, split: es.Split, seed: int, out: Path) -> Found:
    """Score classifiers of these beats on the test side: ours, and ecgen's if that can be had."""
    row = "real" if name == "real" else "synthetic"
    judged = {"train": split.train, "test": split.test, "classifier": CLASSIFIER, "classifiers": ("cnn",)}
    scores = es.evaluate(synthetic=made, rows=(row,), seeds=(seed,), **judged)
    found = scores.rows[row][0].to_dict()
    if install("ecgen", out):
        return found
    order = np.random.default_rng(seed).permutation(len(made))
    counts = es.class_counts(made, total=min(TSTR_BEATS, len(made)))
    few = np.concatenate([order[made.classes[order] == label][:count] for label, count in counts.items()])
    made.take(few).save(out / "work" / "few.npz", force=True)
    try:
        said = json.loads(run_peer("ecgen_tstr", out, out / "work" / "few.npz", out / "work" / "split" / "test.npz", "--seed", str(seed)))
    except subprocess.CalledProcessError as error:  # ours has judged all the same
        return found | {"ecgen_tstr": {"failed": reason(error)}}
    return found | {"ecgen_tstr": said, "macro_auroc": said["macro_auroc"]}


def measured(name: str, minutes: float, seed: int, split: es.Split, out: Path) -> Found:
    """Have one row's beats made and judged, or read what was found before."""

    def measure() -> Found:
        made, facts = ROWS[name][1](split, minutes, seed, out)
        return {"beats": len(made)} | judge(name, made, split, seed, out) | facts

    settings: Found = {
        "classifier": vars(CLASSIFIER),
        "second judge": not install("ecgen", out),
        "peers": {peer: list(map(str, what[:1])) for peer, what in PEERS.items()},
        "train": split.train.digest(),
        "machine": machine(),
    }
    if name in es.GENERATORS and name != "smote":
        settings |= {"params": es.GENERATORS[name](seed=seed).params}
    return part(out / "parts" / f"{name}-{minutes:g}-{seed}.json", settings, measure)


def table(rows: dict[str, list[Found]], failed: dict[str, str]) -> str:
    """Set means over seeds, of scores with the standard deviation, in Markdown; best TSTR first, then what failed."""

    def cell(seeds: list[Found], key: str) -> str:
        values, digits = [seed[key] for seed in seeds if key in seed], COLUMNS[key][1]
        spread = f" ± {np.std(values, ddof=1):.3f}" if digits == 3 and len(values) > 1 else ""
        return f"{np.mean(values):,.{digits}f}{spread}" if values else ""

    lines = ["| generator | " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, seeds in sorted(rows.items(), key=lambda row: -np.mean([seed["macro_f1"] for seed in row[1]])):
        partly = f" (failed after {len(seeds)} of the seeds: {failed[name]})" if name in failed else ""
        lines.append(f"| {ROWS[name][0]}{partly} | " + " | ".join(cell(seeds, key) for key in COLUMNS) + " |")
    lines += [f"| {ROWS[name][0]} | failed: {why} |" + " |" * (len(COLUMNS) - 1) for name, why in failed.items() if name not in rows]
    return "\n".join(lines)


@click.command()
@click.option("-o", "--out", default=Path("results/peers"), type=click.Path(path_type=Path))
@click.option("--minutes", default=5.0, help="Of training, for each that trains.")
@click.option("--seeds", default=5, type=click.IntRange(min=1))
@click.option("--only", help="Only these rows, by comma; nothing is written but the parts.")
def main(out: Path, minutes: float, seeds: int, only: str | None) -> None:
    """Measure, and write the table."""
    out, names = out.absolute(), chosen(only, ROWS)
    if not (out / "work" / "split").is_dir():
        mitdb_split().save(out / "work" / "split")
    split = es.Split.load(out / "work" / "split")
    torch.set_num_threads(1)
    rows: dict[str, list[Found]] = {}
    failed: dict[str, str] = {}
    for seed, name in ((seed, name) for seed in range(seeds) for name in names):
        try:
            with threadpool_limits(1):
                found = measured(name, minutes, seed, split, out)
        except click.ClickException:
            raise
        except Exception as error:  # whatever it is, the others are measured
            failed[name] = reason(error).replace("|", " ")
        else:
            rows.setdefault(name, []).append(found)
        click.echo(f"seed {seed}  {name:<10} {failed.get(name) or format(found['macro_f1'], '.3f')}", err=True)
    made_by = {
        "ecgsynth": versions((out / "parts").glob("*.json")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "minutes": minutes,
    }
    if only:
        return click.echo(table(rows, failed))
    write(out / "peers.json", json.dumps(made_by | {"rows": rows, "failed": failed}) + "\n")
    write(out / "peers.md", table(rows, failed) + "\n")
    click.echo(table(rows, failed))


if __name__ == "__main__":
    main()
