"""Kill every long command at random moments, run it again, and compare what it leaves with what an undisturbed run leaves.

    python scripts/kill.py --kills 20 -o results/reliability

Each command runs in a process of its own, killed by SIGKILL and SIGTERM in turn, up to three times before it may come to its end.
Whatever stands under a final name meanwhile must be as it is in the end, or as it was before; a folder that is said to be whole must be
so; and in the end there must be nothing else. A training that is stopped by SIGTERM saves the best so far, which must be a whole model.
It writes a checkpoint after every step here, so that many kills strike while one is written. A kill that comes when a command is done
does not count, and fewer than were asked for are a failure.
"""

import functools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import click
import numpy as np
from shared import markdown, write

import ecgsynth as es
from ecgsynth.cli import main as ecgsynth
from ecgsynth.cli.console import table
from ecgsynth.fetch import fetch
from ecgsynth.files import sha256
from ecgsynth.generators import load_generator, trained
from ecgsynth.records import write_record
from ecgsynth.simulate import simulate_records

Files = dict[str, bytes]

BRIEF = {"_SCORE_STEPS": 3, "_SCORED": 600, "_DETECTED": 200, "_SAVE_S": 0.0, "_SAVE_COST": 1e9}
"""What is changed of trainings: scores of few beats, and a checkpoint after every step."""

_AT_MOST = 3  # kills before a command may come to its end
_TRIALS = 3  # for each kill that is asked for, after which too few have struck
_TOO_LONG = 300  # seconds
_KEPT = (".part", ".checkpoint", "plan.json")  # ends of names of what is kept for going on
_HEADS = ("beats.json", "build.json", "split.json")  # files by which a folder is known that is whole
_TRAINED = ("--steps", "16", "--set", "hidden=32", "--set", "depth=1", "--set", "batch=32", "--set", "validations=2")
_JUDGED = ("--steps", "20", "--classifiers", "cnn", "--rows", "real,synthetic", "--families", "none", "--workers", "1", "--no-cache")
_LABELS = ("--count", "N=300", "--count", "V=60", "--count", "S=40")
_MANY = ("--no-gate", "--format", "parquet", "--count", "N=35000")  # of more beats than one worker makes at a time
_POLICY = '[[rule]]\nmeasure = "F1 of TSTR, cnn"\nat_least = 0\nwhy = "every evaluation holds it"\n'


def commands(work: Path, out: Path) -> dict[str, Callable[[], object]]:
    """Give what is run by name, each writing to `out`."""
    split, made = str(work / "split"), str(work / "synthetic.npz")
    reviewed = ["--key", str(work / "key.json"), "--dataset", str(out / "set")]
    held = ["--policy", str(work / "policy.toml"), "--run", str(work / "run"), "--steps", "20", "--workers", "1"]
    cut = ["beats", str(work / "archive"), "-o", str(out / "beats"), "--workers", "1"]
    judge = ["evaluate", made, "--split", split, "-o", str(out / "run"), *_JUDGED]
    ask = ["review", "make", made, "--real", str(Path(split) / "test.npz"), "-n", "20", "-o", str(out / "review.html")]
    run = ["run", str(work / "records"), "-g", "gaussian", "--classifier-steps", "2", "--families", "none", "-o", str(out / "run")]
    build = [
        "build",
        "-m",
        str(work / "model.safetensors"),
        "--gate",
        str(work / "gate.safetensors"),
        "--mark",
        *_LABELS,
        "-o",
        str(out / "set"),
    ]
    arguments = {
        "beats": ["beats", str(work / "records"), "-o", str(out / "beats.npz")],
        "split": ["split", str(work / "beats.npz"), "-o", str(out / "split")],
        "split of parts": ["split", str(work / "beats"), "-o", str(out / "split")],
        "train": ["train", split, "-g", "flow", "-o", str(out / "model.safetensors"), "--resume", *_TRAINED],
        "gate": ["gate", split, "-o", str(out / "gate.safetensors"), "--steps", "20"],
        "sample": ["sample", str(work / "model.safetensors"), "-o", str(out / "synthetic.npz"), "--count", "N=20000"],
        "sample folder": ["sample", str(work / "model.safetensors"), "-o", str(out / "synthetic"), "--count", "N=60000"],
        "evaluate": judge,
        "evaluate --force": [*judge, "--force"],
        "audit": ["audit", made, "--split", split, "-o", str(out / "run"), *held],
        "report": ["report", str(work / "run"), "-o", str(out / "report.html")],
        "beats folder": cut,
        "beats --force": [*cut, "--force"],
        "beats --workers 2": [*cut, "--workers", "2"],
        "beats --engine ray": [*cut, "--workers", "2", "--engine", "ray"],
        "build": build,
        "build --force": [*build, "--force"],
        "build --workers 2": ["build", "-m", str(work / "model.safetensors"), *_MANY, "--workers", "2", "-o", str(out / "set")],
        "review make": ask,
        "review make --force": [*ask, "--force"],
        "review score": ["review", "score", str(work / "answers.json"), *reviewed],
        "run": run,
        "run --force": [*run, "--force"],
    }
    found: dict[str, Callable[[], object]] = {name: functools.partial(ecgsynth, of) for name, of in arguments.items()}
    sums = {path.name: sha256(path) for path in sorted((work / "records").iterdir())}
    address = (work / "address").read_text() if (work / "address").is_file() else ""
    return {"fetch": lambda: fetch(out / "records", base_url=address, sums=sums), **found}


@dataclass
class Row:
    """What became of a command."""

    name: str
    seconds: float = 0.0
    kills: int = 0
    moments: list[float] = field(default_factory=list)
    """Share of the time of an undisturbed run after which each struck."""
    trials: int = 0
    problems: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Give the cells of its row in a table."""
        tenths = np.bincount((10 * np.clip(self.moments, 0, 0.999)).astype(int), minlength=10)
        right = self.trials - len(self.problems)
        return [self.name, f"{self.seconds:.1f}", str(self.kills), " ".join(map(str, tenths)), f"{right} of {self.trials}"]

    def failures(self, kills: int) -> list[str]:
        """Say what went wrong, and whether fewer kills struck than were asked for."""
        few = [f"{self.name}: {self.kills} kills struck of the {kills} that were asked for"] if self.kills < kills else []
        return self.problems + few


def start(call: Callable[[], object], log: Path) -> int:
    """Call something in a process of its own; gives its number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        call()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(child: int) -> int:
    """Wait for a process; gives its exit code, or minus the signal that ended it."""
    deadline = time.monotonic() + _TOO_LONG
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise click.ClickException(f"a process did not end within {_TOO_LONG} s")


def contents(folder: Path) -> Files:
    """Read all files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def final(files: Files) -> Files:
    """Leave out what does not stand under a final name."""
    return {
        name: data for name, data in files.items() if not any(part.startswith(".") or part.endswith(_KEPT) for part in Path(name).parts)
    }


def whole(files: Files, state: Files) -> bool:
    """Say whether all files are of one state, and folders that are said to be whole have all of it."""
    said = {Path(file).parent for file in files if Path(file).name in _HEADS}
    return files.items() <= state.items() and all(file in files for file in state if said & {*Path(file).parents})


def best_so_far(path: Path, wanted: bytes) -> bool:
    """Say whether a file of a training that was stopped is whole: what can be loaded, or the beginning of its course."""
    if path.suffix == ".csv":
        data = path.read_bytes()
        return data.endswith(b"\n") and wanted.startswith(data)
    return wait(start(lambda: load_generator(path), Path(os.devnull))) == 0


def as_it_may_be(name: str, out: Path, wanted: Files, before: Files, with_: signal.Signals) -> bool:
    """Say whether whatever stands under a final name is as it will be in the end, or as it was before."""
    files = final(contents(out))
    if name == "review score":  # the checksum of the card takes its name before the card does
        return all(data in (wanted.get(file), before.get(file)) for file, data in files.items())
    if name in STANDS_FOR_ALL and not any(Path(file).name == STANDS_FOR_ALL[name] for file in files):  # gone before the rest is replaced
        return all(data in (wanted.get(file), before.get(file)) for file, data in files.items())
    if name != "train":
        return whole(files, final(wanted)) or whole(files, before)
    changed = [file for file, data in files.items() if data not in (wanted.get(file), before.get(file))]
    return all(with_ == signal.SIGTERM and file in wanted and best_so_far(out / file, wanted[file]) for file in changed)


def disturb(name: str, work: Path, kills: int, rng: np.random.Generator) -> Row:
    """Kill a command so many times, in several trials; each must end as an undisturbed run does."""
    row = Row(name)
    undisturbed = out_of(work, f"{name}-undisturbed", name)
    begun = time.monotonic()
    if code := wait(start(commands(work, undisturbed)[name], work / "log")):
        raise click.ClickException(f"{name} ends with {code} when nobody disturbs it:\n{(work / 'log').read_text()[-500:]}")
    row.seconds = round(time.monotonic() - begun, 3)
    wanted = contents(undisturbed)
    while row.kills < kills and row.trials < _TRIALS * kills:
        out = out_of(work, f"{name}-{row.trials}", name)
        row.trials += 1
        problem = trial(row, commands(work, out)[name], out, wanted, rng)
        if problem:
            row.problems.append(problem)
    return row


def out_of(work: Path, folder: str, name: str) -> Path:
    """Make the folder that a command writes to, with what it is to replace."""
    shutil.copytree(work / "before" / name, work / folder) if (work / "before" / name).is_dir() else (work / folder).mkdir()
    return work / folder


def trial(row: Row, call: Callable[[], object], out: Path, wanted: Files, rng: np.random.Generator) -> str:
    """Kill a command some times and let it come to its end; gives what is wrong then."""
    log = out.with_name(out.name + ".log")
    for _ in range(_AT_MOST):
        before = final(contents(out))
        with_ = signal.SIGTERM if row.kills % 2 else signal.SIGKILL
        moment = rng.uniform(0, row.seconds)
        child = start(call, log)
        time.sleep(moment)
        os.kill(child, with_)
        code = wait(child)
        if code in (-with_, 128 + with_, 130):
            row.kills += 1
            row.moments.append(round(moment / row.seconds, 3))
        if not as_it_may_be(row.name, out, wanted, before, with_):
            return f"{row.name}: half-made files after {with_.name} at {moment:.2f} s"
        if code == 0:
            break
    code = wait(start(call, log))
    left = contents(out)
    if left == wanted and (code == 0 or "exists" in log.read_text() or "nothing to resume" in log.read_text()):
        return ""
    strange = sorted({*left.items()} ^ {*wanted.items()})
    return f"{row.name}: ends with {code}; differs in {', '.join(sorted({file for file, _ in strange}))}\n{log.read_text()[-500:]}"


def serve(folder: Path, address: Path) -> int:
    """Serve the files of a folder in a process of its own; gives its number."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        address.write_text(f"http://127.0.0.1:{server.server_port}/")
        return start(server.serve_forever, address.with_suffix(".log"))


def prepare(work: Path) -> int:
    """Make what the commands are given; gives the number of the process that serves records."""
    os.environ |= {"NO_PROXY": "127.0.0.1", "XDG_CACHE_HOME": str(work / "cache"), "OMP_NUM_THREADS": "1"}
    for name, value in BRIEF.items():
        setattr(trained, name, value)
    for record in simulate_records(n_patients=12, minutes=2, seed=0):
        write_record(record, work / "records")
    for record in simulate_records(n_patients=40, minutes=0.5, seed=1):
        write_record(record, work / "archive")
    server = serve(work / "records", work / "address")
    calls = commands(work, work)
    calls["train"] = functools.partial(ecgsynth, ["train", str(work / "split"), "-g", "gaussian", "-o", str(work / "model.safetensors")])
    calls["sample"] = functools.partial(
        ecgsynth,
        ["sample", str(work / "model.safetensors"), "-o", str(work / "synthetic.npz"), "--like", str(work / "split" / "train.npz")],
    )
    for name, (other, *changes) in BEFORE.items():
        (work / "before" / name).mkdir(parents=True)
        command = commands(work, work / "before" / name)[other]
        calls[name] = functools.partial(ecgsynth, [*command.args[0], *changes])
    (work / "policy.toml").write_text(_POLICY)
    calls["review make"] = functools.partial(_reviewed, work)
    for name in ("beats", "beats folder", "split", "train", "sample", "gate", "evaluate", *BEFORE, "review make"):
        if code := wait(start(calls[name], work / "log")):
            raise click.ClickException(f"{name} ends with {code}:\n{(work / 'log').read_text()[-500:]}")
    return server


def _reviewed(work: Path) -> None:
    """Make the page of a dataset, its key, and what someone answers who takes all beats for real."""
    made = work / "before" / "review score" / "set"
    arguments = ["review", "make", str(made), "--real", str(work / "split" / "test.npz"), "-n", "20"]
    ecgsynth([*arguments, "-o", str(work / "page.html"), "--key", str(work / "key.json")], standalone_mode=False)
    key = json.loads((work / "key.json").read_text())
    answers = {token: {"verdict": "real", "label": "N", "usable": True} for token in key["items"]}
    (work / "answers.json").write_text(json.dumps({"review": key["review"], "reviewer": "ann", "answers": answers}))


BEFORE = {
    "beats --force": ("beats --force", "--band", "off"),
    "build --force": ("build --force", "--seed", "1"),
    "evaluate --force": ("evaluate --force", "--seeds", "2"),
    "review make --force": ("review make --force", "--seed", "1"),
    "run --force": ("run --force", "--seed", "1"),
    "review score": ("build",),
}
"""What stands there before a command that replaces it: the command that makes it, and its other options."""

NAMES = ("fetch", "beats", "beats folder", "beats --force", "beats --workers 2", "beats --engine ray", "split", "split of parts")
NAMES += ("train", "gate", "sample", "sample folder", "evaluate", "evaluate --force", "audit", "report", "build", "build --force")
NAMES += ("build --workers 2", "review make", "review make --force", "review score", "run", "run --force")

STANDS_FOR_ALL = {"evaluate --force": "evaluation.json", "review make --force": "review.html"}
"""The file of an output of several without which the others say nothing."""

HEADS = ("command", "seconds", "kills", "in each tenth of its time", "ended alike")


def disturb_all(names: tuple[str, ...], kills: int, seed: int, work: Path) -> list[Row]:
    """Disturb commands one after the other."""
    server = prepare(work)
    try:
        rows = []
        for name in names:
            rows.append(disturb(name, work, kills, np.random.default_rng([seed, NAMES.index(name)])))
            click.echo(f"{name}: {rows[-1].kills} kills, {len(rows[-1].problems)} problems", err=True)
        return rows
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


@click.command()
@click.option("--kills", default=20, show_default=True, type=click.IntRange(min=1), help="Of each command.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="This command; repeatable. Others are kept as they are in OUT.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A folder for what was found: kills.json and kills.md.")
def main(kills: int, seed: int, only: tuple[str, ...], out: Path | None) -> None:
    """Print a table; the exit code is 1 if a command did not end as it does undisturbed, or was killed too seldom."""
    with tempfile.TemporaryDirectory() as folder:
        rows = disturb_all(only or NAMES, kills, seed, Path(folder))
    told = {"ecgsynth": es.__version__, "kills": kills, "seed": seed}
    if out and only and (out / "kills.json").is_file():
        known = json.loads((out / "kills.json").read_text())
        if {name: known.get(name) for name in told} == told:
            found = {row["name"]: Row(**row) for row in known["commands"]} | {row.name: row for row in rows}
            rows = [found[name] for name in NAMES if name in found]
    cells = [row.cells() for row in rows]
    if out:
        write(out / "kills.json", json.dumps(told | {"commands": [asdict(row) for row in rows]}, indent=1) + "\n")
        write(out / "kills.md", markdown(HEADS, cells))
    click.echo(table(cells, list(HEADS)))
    failures = [failure for row in rows for failure in row.failures(kills)]
    if failures:
        raise click.ClickException("\n".join(failures))


if __name__ == "__main__":
    main()
