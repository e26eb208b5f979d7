"""Our generators beside those of other packages: same beats, same minutes of training, same classifiers, one core, one run.

    python scripts/compare_peers.py -o results/peers --minutes 5 --seeds 5

ecgen and tsgm are installed into DIR/venv and run there (`scripts/peers`); what fails is a row that says so. A run
that was stopped goes on: what is measured is kept in DIR/work. All learn waveforms of the training side alone, and are
asked for as many beats of each class as it has; who would sample for more than three times as long as it trained
makes fewer.

The first judge is ours (`ecgsynth.evaluate`), the second is ecgen's `tstr`: its classifier, trained for ten epochs on
at most 3,000 of the beats, as it takes long, tested on the whole test side.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

import ecgsynth as es
from ecgsynth.fetch import locate_records

TSTR_BEATS = 3_000
RECORDS = 40  # simulated, of a minute each
HERE = Path(__file__).parent
PEERS = {  # what to install for each; torch is that of constraints.txt
    "ecgen": ["ecgen==1.1.0", "--constraint", str(HERE.parent / "constraints.txt")],
    "tsgm": ["tsgm==0.1.0", "keras==3.11.3"],  # which keras 3.15 refuses a call of; it asks for an older networkx than the constraints
}
SCORES = ("macro_f1", "macro_auroc")
COLUMNS = ("TSTR macro-F1", "macro-AUROC by ecgen's `tstr`", "training minutes", "training steps", "sampling beats/s", "beats")

Made = tuple[es.Beats, dict[str, float | None]]


def run(*command: str | Path) -> str:
    """Run a command on one core and give what it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, env=environment).stdout


def install(peer: str, out: Path) -> Path:
    """Have the peer in the peers' environment, and give its python."""
    python = out / "venv" / "bin" / "python"
    done = out / "venv" / f"{peer}.installed"
    if not python.is_file():
        run(sys.executable, "-m", "venv", out / "venv")
    if not done.is_file():
        run(python, "-m", "pip", "install", "--quiet", "torch==2.13.0", *PEERS[peer])
        done.touch()
    return python


def ours(name: str, split: es.Split, minutes: float, seed: int, out: Path) -> Made:
    """Train a generator of this package, and sample."""
    generator = es.GENERATORS[name](minutes=minutes, steps=10**9, validations=1, seed=seed)
    begun = time.perf_counter()
    steps = sum(1 for _ in generator.fit_steps(split.train))
    trained = time.perf_counter()
    made = generator.sample(es.class_counts(split.train), seed=seed, workers=1)
    return made, {"minutes": (trained - begun) / 60, "steps": steps, "speed": len(made) / (time.perf_counter() - trained)}


def peer(name: str, split: es.Split, minutes: float, seed: int, out: Path) -> Made:
    """Have a peer's script train and sample."""
    python = install(name.split("_")[0], out)
    path = out / "work" / "made.npz"
    run(python, HERE / "peers" / f"{name}.py", out / "work" / "split" / "train.npz", path, "--minutes", str(minutes), "--seed", str(seed))
    with np.load(path, allow_pickle=False) as file:
        made = es.Beats(signals=file["signals"], classes=file["classes"], source=name)
        return made, {key: float(file[key]) for key in ("minutes", "steps", "speed")}


def smote(split: es.Split, minutes: float, seed: int, out: Path) -> Made:
    """Double every class by imbalanced-learn, and give the half that is new."""
    from imblearn.over_sampling import SMOTE

    begun = time.perf_counter()
    wanted = {name: 2 * count for name, count in split.train.counts().items()}
    signals, classes = SMOTE(sampling_strategy=wanted, random_state=seed).fit_resample(split.train.signals, split.train.classes)
    made = es.Beats(signals=signals[len(split.train) :], classes=classes[len(split.train) :], source="imbalanced-learn")
    return made, {"minutes": None, "steps": None, "speed": len(made) / (time.perf_counter() - begun)}


def neurokit(split: es.Split, minutes: float, seed: int, out: Path) -> Made:
    """Simulate records, cut out their beats, and hand these out under every class alike: all are normal."""
    import neurokit2 as nk

    begun = time.perf_counter()
    rng = np.random.default_rng(seed)
    records = []
    for number in range(RECORDS):
        heart_rate = rng.uniform(50, 110)
        ecg = nk.ecg_simulate(
            duration=60, sampling_rate=360, heart_rate=heart_rate, method="ecgsyn", random_state=int(rng.integers(2**31))
        )
        peaks = np.asarray(nk.ecg_peaks(ecg, sampling_rate=360)[1]["ECG_R_Peaks"], dtype=np.int64)
        records.append(es.Record(str(number), ecg[:, None].astype(np.float32), ("II",), 360.0, np.full(len(peaks), "N"), peaks))
    pool = es.extract_beats(records, lead="first", source="simulated")
    speed = len(pool) / (time.perf_counter() - begun)
    classes = split.train.classes
    made = es.Beats(signals=pool.signals[rng.integers(0, len(pool), len(classes))], classes=classes, source="neurokit2")
    return made, {"minutes": None, "steps": None, "speed": speed}


# Row -> what the table calls it, and what makes its beats.
ROWS: dict[str, tuple[str, Callable[..., Made]]] = {
    "real": ("real beats (TRTR)", lambda split, *_: (split.train, {"minutes": None, "steps": None, "speed": None})),
    "flow": ("ecgsynth `flow`", lambda *given: ours("flow", *given)),
    "cnn-gan": ("ecgsynth `cnn-gan`", lambda *given: ours("cnn-gan", *given)),
    "ecgen": ("ecgen 1.1.0: flow matching, U-Net, 10 steps of Euler's method", lambda *given: peer("ecgen_flow", *given)),
    "tsgm": ("tsgm 0.1.0: conditional GAN, LSTM", lambda *given: peer("tsgm_cgan", *given)),
    "smote": (f"imbalanced-learn {version('imbalanced-learn')}: SMOTE (mixes real beats)", smote),
    "neurokit": (f"neurokit2 {version('neurokit2')}: ECGSYN (has no classes: normal beats under every label)", neurokit),
}


def judge(made: es.Beats, split: es.Split, seed: int, out: Path) -> dict[str, Any]:
    """Score classifiers of these beats on the test side: ours, and ecgen's if it is there."""
    row = "synthetic" if made.is_synthetic else "real"
    stand_in = made if made.is_synthetic else es.GENERATORS["class-mean"]().fit(split.train).sample(split.train.counts())
    scores = es.evaluate(synthetic=stand_in, train=split.train, test=split.test, seeds=(seed,), rows=(row,)).rows[row][0].to_dict()
    try:
        python = install("ecgen", out)
        order = np.random.default_rng(seed).permutation(len(made))
        few = es.class_counts(made, total=min(TSTR_BEATS, len(made)))
        few_made = made.take(np.concatenate([order[made.classes[order] == name][:count] for name, count in few.items()]))
        few_made.save(out / "work" / "few.npz", force=True)
        script = HERE / "peers" / "ecgen_tstr.py"
        theirs = json.loads(run(python, script, out / "work" / "few.npz", out / "work" / "split" / "test.npz", "--seed", str(seed)))
    except Exception as error:
        theirs = {"tstr_error": reason(error)}
    return scores | {"ecgen_tstr": theirs, "macro_auroc": theirs.get("macro_auroc"), "beats": len(made)}


def reason(error: Exception) -> str:
    """Give the last line of what went wrong."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else f"{type(error).__name__}: {error}"
    return (said.strip() or str(error)).splitlines()[-1]


def table(rows: dict[str, list[dict[str, Any]]], failed: dict[str, str]) -> str:
    """Set means, of scores with the standard deviation over seeds, in Markdown; best TSTR first, then what failed."""

    def cell(seeds: list[dict[str, Any]], key: str) -> str:
        values = [seed[key] for seed in seeds if seed[key] is not None]
        digits = 3 if key in SCORES else 1 if key == "minutes" else 0
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if key in SCORES and len(values) > 1 else ""
        return f"{np.mean(values):,.{digits}f}{spread}" if values else ""

    lines = ["| generator | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in sorted(rows, key=lambda name: -np.mean([seed["macro_f1"] for seed in rows[name]])):
        cells = [cell(rows[name], key) for key in (*SCORES, "minutes", "steps", "speed", "beats")]
        lines.append(f"| {ROWS[name][0]} | " + " | ".join(cells) + " |")
    lines += [f"| {ROWS[name][0]} | failed: {why.replace('|', ' ')} |" + " |" * (len(COLUMNS) - 1) for name, why in failed.items()]
    return "\n".join(lines)


@click.command()
@click.option("-o", "--out", default=Path("results/peers"), type=click.Path(path_type=Path))
@click.option("--minutes", default=5.0, help="Of training, for each that trains.")
@click.option("--seeds", default=5, type=click.IntRange(min=1))
@click.option("--only", default=",".join(ROWS), help="Only these rows, by comma.")
def main(out: Path, minutes: float, seeds: int, only: str) -> None:
    """Measure, and write the table."""
    import torch

    folder = locate_records()
    if folder is None:
        raise click.ClickException("needs the MIT-BIH records: `ecgsynth fetch DIR`, then set ECGSYNTH_MITDB=DIR")
    out = out.absolute()
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "split").is_dir():
        es.split_beats(es.extract_beats(es.read_records(folder, lead=es.LEADS)), scheme="beats", seed=0).save(work / "split")
    split = es.Split.load(work / "split")
    torch.set_num_threads(1)
    rows: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for seed in range(seeds):
        for name in only.split(","):
            part = work / f"{name}-{minutes:g}min-{seed}.json"
            try:
                if not part.is_file() and name not in failed:
                    with threadpool_limits(1):
                        made, facts = ROWS[name][1](split, minutes, seed, out)
                        part.write_text(json.dumps(facts | judge(made, split, seed, out)))
            except Exception as error:
                failed[name] = reason(error)
            if part.is_file():
                rows.setdefault(name, []).append(json.loads(part.read_text()))
            click.echo(f"seed {seed}  {name:<10} {failed.get(name) or format(rows[name][-1]['macro_f1'], '.3f')}", err=True)
    failed = {name: why for name, why in failed.items() if name not in rows}
    made_by = {"ecgsynth": es.__version__, "python": platform.python_version(), "torch": torch.__version__}
    found = made_by | {"minutes": minutes, "rows": rows, "failed": failed}
    (out / "peers.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "peers.md").write_text(table(rows, failed) + "\n")
    click.echo(table(rows, failed))


if __name__ == "__main__":
    main()
