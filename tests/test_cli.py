"""The command line as a user meets it."""

import json
import os
import re
import shutil
import socket
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import call

from ecgsynth.beats import Beats
from ecgsynth.records import write_record
from ecgsynth.splits import Split


def test_beats_counts_what_it_kept(work, records_folder, records):
    data = json.loads(call("beats", records_folder, "-o", work / "again.npz", "--json").stdout)
    assert data["annotations"] == sum(len(r.symbols) for r in records) == data["beats"] + sum(data["left_out"].values())
    assert data["beats"] == len(Beats.load(work / "again.npz"))


def test_beats_of_named_records_with_other_settings(work, records_folder):
    out = work / "two.npz"
    call("beats", records_folder / "sim01", records_folder / "sim02", "-o", out, "--band", "off", "--before", 0.25, "--after", 0.45)
    beats = Beats.load(out)
    assert set(beats.records) == {"sim01", "sim02"}
    assert beats.n_samples == 252
    (work / "patients.csv").write_text("sim01,p\nsim02,p\n")
    call("beats", records_folder, "-o", out, "--patients", work / "patients.csv", "--force")
    assert {"p"} == set(np.unique(Beats.load(out).patients)) - {f"sim{n:02}" for n in range(3, 13)}


def test_whose_records_are_is_read_with_care(work, records_folder, tmp_path):
    told, out = tmp_path / "patients.csv", tmp_path / "beats.npz"
    told.write_bytes("\ufeffsim01,ann\nsim02, ann\nsim03.hea,ann\nsim99,zed\n".encode())  # as a spreadsheet writes it
    said = call("beats", records_folder, "-o", out, "--patients", told).stderr
    assert "no record is called sim03.hea, sim99" in said
    found = Beats.load(out)
    assert set(found.patients[np.isin(found.records, ["sim01", "sim02"])]) == {"ann"}
    told.write_text("sim01,ann\nsim01,bob\n")
    refused = call("beats", records_folder, "-o", tmp_path / "b.npz", "--patients", told, ok=False)
    assert "gives record sim01 two patients, ann and bob" in refused.stderr


def test_split_json_is_the_summary(work):
    data = json.loads(call("split", work / "beats.npz", "-o", work / "patients", "--scheme", "patients", "--json").stdout)
    assert data["patients"] == Split.load(work / "patients").summary()["patients"]


def test_training_writes_its_curve_and_says_its_score(work):
    lines = (work / "model.safetensors.csv").read_text().splitlines()
    assert lines[0] == "step,generator_loss,critic_loss,score_gap,validation_score,detection,best"
    assert len(lines) == 4
    data = json.loads(call("train", work / "split", "-g", "class-mean", "-o", work / "mean.safetensors", "--json").stdout)
    assert data["finished"]
    assert data["generator"] == "class-mean"


def test_what_learns_from_patients_says_that_it_can_tell_of_them(work):
    for name, tells in (("gaussian", True), ("ecgsyn", False)):
        result = call("train", work / "split", "-g", name, "-o", work / f"{name}.safetensors")
        assert ("can tell which patients" in result.stderr) is tells


def test_the_card_of_a_model_file_says_what_it_learnt_and_what_it_holds(work):
    call("train", work / "split", "-g", "memorizer", "-o", work / "copies.safetensors")
    text = call("models", work / "copies.safetensors").stdout
    learnt = Beats.load(work / "split" / "train.npz")
    assert "| Generator | `memorizer` |" in text
    assert f"N {learnt.counts()['N']:,}" in text
    assert learnt.digest() in text
    assert "| Real beats | held in this file" in text


def test_training_with_differential_privacy_says_what_it_promises(work):
    quick = ("--steps", 2, "--set", "hidden=8", "--set", "depth=1", "--set", "batch=16")
    promised = ("--dp", "--epsilon", 4, "--delta", 1e-4)
    result = call("train", work / "split", *promised, "-o", work / "private.safetensors", *quick, "--json")
    data = json.loads(result.stdout)
    assert data["generator"] == "dp-flow"
    assert data["privacy"]["epsilon"] <= 4
    told = data["privacy"]
    words = (
        f"epsilon {told['epsilon']:g} at delta 0.0001 for each beat; sampling rate {told['sampling_rate']:.4g}, noise {told['noise']:.4g}"
    )
    assert f"{words}, 2 steps, {told['accountant']}; {told['beforehand']}" in result.stderr
    assert "can tell which patients" not in result.stderr
    assert f"| Differential privacy | epsilon {told['epsilon']}" in call("models", work / "private.safetensors").stdout
    assert not (work / "private.safetensors.csv").exists()
    like = call("sample", work / "private.safetensors", "--like", work / "split" / "train.npz", "-o", work / "p.npz")
    assert "no part of what the model promises" in like.stderr
    call("sample", work / "private.safetensors", "--total", 20, "-o", work / "own-counts.npz")
    assert "go with --dp" in call("train", work / "split", "--epsilon", 4, "-o", work / "x.safetensors", ok=False).stderr
    small = ("--steps", 2, "--set", "critic_steps=2", "--set", "batch=16", "--set", "critic_hidden=8", "--set", "width=4")
    gan = call("train", work / "split", "-g", "cgan", *promised, "-o", work / "private-gan.safetensors", *small, "--json")
    assert json.loads(gan.stdout)["generator"] == "dp-gan"
    refused = call("train", work / "split", "-g", "vae", "--dp", "-o", work / "x.safetensors", ok=False)
    assert "vae cannot be trained with differential privacy" in refused.stderr


def test_losses_are_not_shown_of_a_training_with_differential_privacy(work, monkeypatch):
    """They are of the training beats."""
    shown = []
    monkeypatch.setattr(sys.modules["ecgsynth.cli.models"], "progress", lambda what: nullcontext(lambda share, text="": shown.append(text)))
    train = ("train", work / "split", "-g", "cgan", "--steps", 2, "--set", "width=4", "--set", "batch=16")
    call(*train, "-o", work / "told.safetensors")
    assert shown
    assert all(re.fullmatch(r"critic -?\d.*  generator -?\d.*  real-generated [-+]\d.*", text) for text in shown)
    assert re.search(r"validation 0\.\d+.*  detection [01]\.\d+$", shown[-1])
    shown.clear()
    call(*train, "--dp", "--epsilon", 4, "--delta", 1e-4, "--set", "critic_steps=2", "-o", work / "untold.safetensors")
    assert set(shown) == {""}


def test_generators_are_listed_with_their_settings(work):
    listed = json.loads(call("train", "--list", "--json").stdout)
    assert {"cnn-gan", "rcgan", "flow", "smote", "ecgsyn", "memorizer", "class-mean"} <= set(listed)
    assert listed["smote"]["neighbors"] == 5


def test_sample_by_count_and_balance(work):
    call("sample", work / "model.safetensors", "-o", work / "v.npz", "--count", "V=20", "--count", "S=5", "--seed", 3)
    assert Beats.load(work / "v.npz").counts() == {"S": 5, "V": 20}
    balance = ("--balance", work / "split" / "train.npz", "--total", 50, "--json")
    out = call("sample", work / "model.safetensors", "-o", work / "e.npz", *balance)
    assert json.loads(out.stdout)["classes"] == dict.fromkeys("NSVFQ", 10)


def evaluated(beats, split, folder, *options):
    return call("evaluate", beats, "--split", split, "-o", folder, "--steps", 5, "--classifiers", "cnn", *options)


def test_evaluate_and_report(work):
    out = evaluated(work / "syn.npz", work / "split", work / "again", "--rows", "real", "--families", "privacy", "--json")
    found = json.loads(out.stdout)
    assert set(found["classifiers"]["cnn"]) == {"real"}
    assert {score["family"] for score in found["scores"]} == {"privacy", "utility"}
    assert all("of TRTR, cnn" in score["measure"] for score in found["scores"] if score["family"] == "utility")
    assert {score["family"] for score in json.loads((work / "run" / "evaluation.json").read_text())["scores"]} == {"utility"}
    call("report", work / "run", "--model", work / "model.safetensors", "--split", work / "split")
    assert "<html" in (work / "run" / "report.html").read_text()


def test_run_does_it_all_and_goes_on_where_it_stopped(work, records_folder):
    folder = work / "whole"
    arguments = ("run", records_folder, "-o", folder, "-g", "class-mean", "--families", "privacy", "--classifier-steps", 5)
    call(*arguments)
    first = (folder / "beats.npz").stat().st_mtime_ns
    (folder / "report.html").unlink()
    (folder / "evaluation.json").unlink()
    out = call(*arguments, "--json")
    assert json.loads(out.stdout)["report"] == str(folder / "report.html")
    assert (folder / "report.html").is_file()
    assert (folder / "beats.npz").stat().st_mtime_ns == first  # what was done is kept
    refused = call(*arguments, "--seed", 1, ok=False)
    assert "holds a run with other settings" in refused.stderr


def test_two_leads_by_symbol_with_rhythm_go_through_every_stage(work, records, tmp_path):
    for record in records:
        both = np.hstack([record.signals, -0.5 * np.roll(record.signals, 3)])
        write_record(replace(record, signals=both, leads=("MLII", "V1")), tmp_path / "records")
    folder = tmp_path / "run"
    choices = ("--lead", "all", "--by", "symbol", "--features", "shape+rr", "--families", "privacy", "--classifier-steps", 30)
    data = json.loads(call("run", tmp_path / "records", "-o", folder, "-g", "gaussian", *choices, "--json").stdout)
    assert data["settings"]["by"] == "symbol"
    assert data["settings"]["classifier"]["features"] == "shape+rr"
    made = Beats.load(folder / "synthetic.npz")
    assert made.n_leads == 2
    assert made.counts("symbol") == Beats.load(folder / "split" / "train.npz").counts("symbol")
    page = (folder / "report.html").read_text()
    assert "left bundle branch block" in page
    assert "MLII+V1, the first is shown" in page
    call("gate", folder / "split", "-o", tmp_path / "gate.safetensors", "--by", "symbol", "--steps", 20)
    made_by = ("-m", folder / "model.safetensors", "--gate", tmp_path / "gate.safetensors", "--mark")
    call("build", *made_by, "--count", "N=40", "--format", "wfdb", "--format", "parquet", "-o", tmp_path / "set")
    call("verify", tmp_path / "set", "--model", folder / "model.safetensors")
    call("review", "make", tmp_path / "set", "--real", folder / "split" / "test.npz", "-n", 10, "-o", tmp_path / "page.html")


def test_a_model_that_comes_with_the_package_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    call("sample", "--model", "mitdb", "-o", tmp_path / "beats.npz", "--count", "N=5", "--count", "F=2")
    assert Beats.load(tmp_path / "beats.npz").counts() == {"N": 5, "F": 2}


def test_any_network_joins_any_objective(work):
    settings = ("network=lstm", "objective=hinge", "width=4", "critic_width=4", "latent=4", "batch=16")
    chosen = [part for setting in settings for part in ("--set", setting)]
    out = call("train", work / "split", "-g", "cgan", "-o", work / "lstm.safetensors", "--steps", 2, *chosen, "--json")
    assert json.loads(out.stdout)["params"]["network"] == "lstm"


def test_a_model_that_comes_with_the_package_or_a_file_but_not_both(work):
    refused = call("sample", work / "model.safetensors", "--model", "mitdb", "-o", work / "x.npz", "--count", "V=1", ok=False)
    assert "say which model" in refused.stderr
    refused = call("sample", "--model", "nothing", "-o", work / "x.npz", "--count", "V=1", ok=False)
    assert "none of that name comes with ecgsynth" in refused.stderr


def test_labels_too_rare_to_learn_are_left_out_and_named(work):
    arguments = ("train", work / "split", "-g", "class-mean", "-o", work / "common.safetensors", "--at-least", 10_000, "--json")
    refused = call(*arguments, ok=False)
    assert "no class has 10000 training beats" in refused.stderr
    counts = Beats.load(work / "split" / "train.npz").counts("symbol")
    few = sorted(counts.values())[1]
    out = call("train", work / "split", "-g", "class-mean", "-o", work / "s.safetensors", "--by", "symbol", "--at-least", few)
    assert f"left out: fewer than {few} training beats" in out.stderr
    assert f"symbols {' '.join(name for name, count in counts.items() if count >= few)}" in out.stdout


def test_beats_of_chosen_rhythm(work):
    call("sample", work / "model.safetensors", "-o", work / "r.npz", "--count", "N=20", "--rr-before", "0.3,3", "--first", 7)
    beats = Beats.load(work / "r.npz")
    assert ((beats.rr_before >= 0.3) & (beats.rr_before <= 3)).all()
    assert beats.samples.min() >= 7
    for wrong in ("0.5", "a,b", "1,0.5"):
        refused = call("sample", work / "model.safetensors", "-o", work / "q.npz", "--total", 5, "--rr-after", wrong, ok=False)
        assert "--rr-after" in refused.stderr


def test_run_on_simulated_records(work):
    call("run", "--simulated", "-o", work / "sim", "-g", "class-mean", "--families", "none", "--classifier-steps", 5)
    assert Beats.load(work / "sim" / "beats.npz").source == "simulated"


def test_without_records_and_network_the_run_is_simulated_and_says_so(work, monkeypatch, tmp_path):
    import ecgsynth.fetch

    monkeypatch.delenv("ECGSYNTH_MITDB", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ecgsynth.fetch, "network_is_there", lambda: False)
    out = call("run", "-o", work / "none", "-g", "class-mean", "--families", "none", "--classifier-steps", 5)
    assert "going on with simulated records" in out.stderr
    assert out.stderr.count("\n") == 1


def broken(records_folder, tmp_path, damage):
    for suffix in ("hea", "dat", "atr"):
        shutil.copy(records_folder / f"sim01.{suffix}", tmp_path)
    damage(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: [p.unlink() for p in f.iterdir()], "no WFDB record in"),
        (lambda f: (f / "sim01.atr").unlink(), "no annotations"),
        (lambda f: os.truncate(f / "sim01.atr", (f / "sim01.atr").stat().st_size // 2 + 1), "cut short"),
        (lambda f: (f / "sim01.dat").unlink(), "which is not there"),
    ],
    ids=["empty folder", "no annotations", "annotations cut", "no signal"],
)
def test_bad_records_give_one_line_and_no_file(records_folder, tmp_path, damage, message):
    (tmp_path / "in").mkdir()
    out = tmp_path / "out"
    result = call("beats", broken(records_folder, tmp_path / "in", damage), "-o", out / "b.npz", ok=False)
    assert message in result.stderr
    assert not out.exists()


def bad_inputs(work, records_folder):
    model, train, foreign = work / "model.safetensors", work / "split" / "train.npz", work / "foreign.npz"
    three, learn = ("sample", model, "--count", "V=3"), ("train", work / "split")
    return {
        "lead that is not there": (("beats", records_folder, "--lead", "V9"), "no lead V9; there are MLII"),
        "output exists": (("beats", records_folder, "-o", work / "beats.npz"), "exists: give another name, or --force"),
        "unknown class": (("sample", model, "--count", "X=3"), "unknown class X; this model has learnt"),
        "count is no number": (("sample", model, "--count", "V=many"), "write LABEL=N"),
        "total without proportions": ((*three, "--total", "5"), "--total and --power do not go with --count"),
        "folder of other things": (("split", work / "beats.npz", "-o", work, "--force"), "is a folder of other things"),
        "unknown family": (("evaluate", work / "syn.npz", "--split", work / "split", "--families", "beauty"), "unknown family beauty"),
        "unknown class scored": (("evaluate", work / "syn.npz", "--split", work / "split", "--classes", "N,X"), "unknown class X"),
        "nothing asked for": (("sample", model), "one of --count, --like, --balance and --total"),
        "no model": (("sample", train, "--count", "V=3"), "is no model of ecgsynth"),
        "no beats file": (("split", model), "is no beats file"),
        "no split": (("train", work), "no split in"),
        "unknown generator": ((*learn, "-g", "x"), "is not one of gan, cgan"),
        "unknown setting": ((*learn, "--set", "speed=3"), "no 'speed'; its settings are"),
        "setting of another kind": ((*learn, "--set", "batch=big"), "batch takes int"),
        "switch of another kind": ((*learn, "-g", "acgan", "--set", "classify_generated=maybe"), "classify_generated takes bool"),
        "nothing to resume": ((*learn, "--resume", "-o", model), "nothing to resume"),
        "real beats evaluated": (("evaluate", train, "--split", work / "split"), "must be synthetic"),
        "band that is none": (("beats", records_folder, "--band", "wide"), "is no band"),
        "no evaluation": (("report", work / "split"), "no evaluation in"),
        "beats as CSV": (("beats", records_folder, "-o", "bts.csv"), "for CSV `ecgsynth build --format csv`"),
        "new beats as CSV": ((*three, "-o", "v.csv"), "a file called .npz, or a folder, without a suffix"),
        "beats of a capital suffix": ((*three, "-o", "V.NPZ"), "a file called .npz, or a folder"),
        "a model called text": ((*learn, "-g", "gaussian", "-o", "gm.txt"), "called so: gm.safetensors"),
        "a gate called nothing": (("gate", work / "split", "--steps", 2, "-o", "gate"), "called so: gate.safetensors"),
        "evaluation into a split": (("evaluate", work / "syn.npz", "--split", work / "split", "-o", work / "split"), "holds a split: give"),
        "a folder that is a file": ((*three, "-o", train / "w.npz"), f"{train} is a file, not a folder: give"),
        "where nothing can be made": ((*three, "-o", "/proc/w.npz"), "cannot write /proc/w.npz: No such file or directory. Give another"),
        "minutes of no use": (
            ("train", work / "split", "-g", "gaussian", "--minutes", 5),
            "Invalid value for --minutes: this generator has",
        ),
        "sampling rate of none": (
            ("beats", records_folder, "--fs", 0),
            "the sampling rate of the beats (--fs) must be 1 to 100000 Hz, not 0",
        ),
        "seed that no library takes": ((*three, "--seed", 2**32), "is not in the range 0<=x<=4294967295"),
        "rate that is no number": ((*learn, "--set", "rate=nan"), "rate must be a number above 0"),
        "count in other digits": (("sample", model, "--count", "V=²"), "write LABEL=N"),
        "power that is no number": (("sample", model, "--total", 50, "--power", "nan"), "a power from -10 to 10, not nan"),
        "window that is no number": (("beats", records_folder, "--before", "nan"), "is empty, or has no end"),
        "window without end": (("beats", records_folder, "--after", "inf"), "is empty, or has no end"),
        "window of a file": (
            ("beats", records_folder, "--before", 200, "--after", 200),
            "are too long: 131,072 at most",
        ),
        "batch of none": ((*learn, "--set", "batch=-1"), "ecgsynth: batch must be at least 2, not -1"),
        "beats of another program": (("split", foreign), f"{foreign} is no beats file of ecgsynth: it has no array called head"),
        "no such patients file": (("beats", records_folder, "--patients", work / "nothing.csv"), "no CSV of record,patient"),
    }


@pytest.mark.parametrize("case", bad_inputs(*[Path()] * 2))
def test_bad_input_gives_one_line_and_no_file(case, work, records_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = bad_inputs(work, records_folder)[case]
    if "-o" not in arguments:
        arguments = (*arguments, "-o", tmp_path / ("out.safetensors" if arguments[0] == "train" else "out"))
    result = call(*arguments, ok=False)
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_beats_of_another_split_are_evaluated_with_a_warning(work, tmp_path):
    call("split", work / "beats.npz", "-o", tmp_path / "other", "--seed", 5)
    only = ("--rows", "synthetic", "--families", "none")
    out = evaluated(work / "syn.npz", tmp_path / "other", tmp_path / "run", *only)
    assert "may have seen the test side" in out.stderr
    same = evaluated(work / "syn.npz", work / "split", tmp_path / "same", *only)
    assert same.stderr == ""
