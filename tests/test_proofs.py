"""Scripts that look for faults say so when they find one, and when they looked too little."""

import contextlib
import io
import json
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from ecgsynth.checkpoints import read_checkpoint, write_checkpoint
from ecgsynth.recipe import Quota, Recipe

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")


def test_a_command_that_was_killed_less_often_than_asked_proves_nothing(tmp_path, monkeypatch):
    import kill

    monkeypatch.setattr(kill, "disturb_all", lambda *_: [kill.Row("split", 1.0, 2, [0.1, 0.2], 6)])
    enough = CliRunner().invoke(kill.main, ["--kills", "2", "-o", str(tmp_path)])
    assert enough.exit_code == 0, enough.output
    assert json.loads((tmp_path / "kills.json").read_text())["commands"][0]["kills"] == 2
    assert (tmp_path / "kills.md").read_text().splitlines()[2] == "| split | 1.0 | 2 | 0 1 1 0 0 0 0 0 0 0 | 6 of 6 |"
    few = CliRunner().invoke(kill.main, ["--kills", "3"])
    assert few.exit_code == 1
    assert "2 kills struck of the 3" in few.output


HEADER = "gaps/4 2 360 11200\nlay 0\ns1 5400\n~ 400\ns2 5400\n"


def spoilt(how, data, times=200):
    return [how(data, np.random.default_rng(seed)) for seed in range(times)]


def test_fuzzing_multiplies_segments_and_lets_gaps_of_low_rates_be_long():
    from shared.mutations import of_header

    headers = [text.decode("utf-8", errors="replace").splitlines() for text in spoilt(of_header, HEADER.encode())]
    assert any(len(lines) > 1000 and lines[0].startswith(f"gaps/{len(lines) - 1} ") for lines in headers)
    gaps = [line.split()[1] for lines in headers if lines and " 0.001 " in lines[0] for line in lines if line.startswith("~ ")]
    assert any(len(gap) > 9 for gap in gaps)


def test_fuzzing_leads_segments_in_circles_and_out_and_takes_leads_their_gain():
    from shared.mutations import OUT, of_header

    def names(header):
        texts = [text.decode("utf-8", errors="replace").splitlines()[1:] for text in spoilt(of_header, header.encode())]
        return [words for lines in texts for line in lines if (words := line.split())]

    segments = {words[0] for words in names(HEADER)}
    assert {"gaps", "fixed", *OUT} <= segments
    leads = names("s1 1 360 5400\ns1.dat 16 200/mV 16 0 0 0 0 MLII\n")
    assert {words[0] for words in leads} >= set(OUT)
    assert {words[2] for words in leads if len(words) > 2} >= {"0", "0(0)/mV"}


@pytest.mark.parametrize("name", ["../../outside/bait", "../../outside/bait.dat", "/etc/passwd"])
def test_a_reader_that_follows_a_name_out_of_its_folder_is_found_out(name, tmp_path):
    """A control, in the folders of `scripts/fuzz.py`: what `targets` makes lies as deep."""
    from shared.fuzzing import Target, attack

    folder, outside = tmp_path / "inputs" / "records", tmp_path / "outside"
    folder.mkdir(parents=True)
    outside.mkdir()
    for suffix in ("", ".dat"):
        (outside / f"bait{suffix}").write_bytes(b"bait")
    (folder / "header").write_text("header")

    def careless(where, _):
        return (where / (where / "header").read_text()).read_bytes()

    found = attack(Target(folder, {"header": lambda data, rng: name.encode()}, careless), 2, [0], outside)
    assert len(found.findings) == 2
    assert "trespasses: opens" in found.findings[0]


@pytest.mark.parametrize("how", [lambda: time.sleep(30), lambda: [None for _ in iter(int, 1)]], ids=["waits", "computes"])
def test_a_reader_that_hangs_is_found_out(how, tmp_path, monkeypatch):
    from shared import fuzzing

    monkeypatch.setattr(fuzzing, "SECONDS", 0.3)
    folder, outside = tmp_path / "inputs", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "file").write_bytes(b"sound")
    spoilt = {"file": lambda data, rng: b"spoilt"}

    def read(where, _):
        if (where / "file").read_bytes() == b"spoilt":
            how()

    (finding,) = fuzzing.attack(fuzzing.Target(folder, spoilt, read), 1, [0], outside).findings
    assert "takes more than 0.3 s" in finding


def test_fuzzing_asks_for_many_quotas_and_splits():
    from shared.mutations import of_recipe

    sound = Recipe("mitdb", [Quota("N", 12), Quota("V", 6)], splits={"train": 0.5, "test": 0.5}).to_toml()
    recipes = []
    for text in spoilt(of_recipe, sound.encode(), 60):
        with contextlib.suppress(ValueError, RecursionError):
            recipes.append(tomllib.loads(text.decode("utf-8", errors="replace")))
    assert any(len(recipe.get("quotas", ())) > 100 for recipe in recipes)
    assert any(len(recipe.get("splits", ())) > 100 and sum(recipe["splits"].values()) == pytest.approx(1) for recipe in recipes)


def test_fuzzing_repeats_long_text_of_which_a_file_keeps_one_copy():
    from shared.mutations import of_parquet

    table = pa.table({"class": ["N"] * 64, "rr": [0.8] * 64}).replace_schema_metadata({"ecgsynth": "{}"})
    sound = io.BytesIO()
    pq.write_table(table, sound)
    grown = 0
    for data in spoilt(of_parquet, sound.getvalue(), 100):
        with contextlib.suppress(pa.ArrowException, OSError):
            text = pq.read_table(io.BytesIO(data), columns=["class"]).column(0)
            grown = max(grown, text.nbytes / len(data))
    assert grown > 60


def test_fuzzing_damages_what_a_checkpoint_holds_and_not_only_its_bytes(tmp_path):
    from shared.mutations import of_safetensors

    whole = {"step": 3, "model": {"weight": torch.ones(2, 2), "bias": torch.zeros(3)}, "history": [{"step": 1}, {"step": 2}]}
    write_checkpoint(tmp_path / "sound", whole)
    states = []
    for data in spoilt(of_safetensors, (tmp_path / "sound").read_bytes(), 600):
        (tmp_path / "spoilt").write_bytes(data)
        with contextlib.suppress(Exception):
            states.append(read_checkpoint(tmp_path / "spoilt"))
    states = [state for state in states if isinstance(state, dict)]
    assert any(set(state) < set(whole) for state in states)
    assert any("step" in state and state["step"] != 3 for state in states)
    assert any("history" in state and state["history"] != whole["history"] for state in states)
    assert any(isinstance(state.get("model"), dict) and state["model"].keys() != {"weight", "bias"} for state in states)


def test_one_mutation_in_twenty_is_of_review_answers(tmp_path):
    from shared.targets import make_targets

    weights = {name: target.weight for name, target in make_targets(tmp_path).items()}
    assert weights["review answers"] >= sum(weights.values()) / 20


def test_memory_must_be_shown_to_grow_by_little():
    import soak

    def rounds(memory):
        return [{"seconds": 60.0 * number, "memory_mb": 700 + memory(number), "files": 0} for number in range(40)]

    rng = np.random.default_rng(0)
    noise = rng.normal(size=40)
    assert not soak.verdict(rounds(lambda number: 0.1 * noise[number]))[1]
    assert soak.verdict(rounds(lambda number: 0.2 * number + 0.1 * noise[number]))[1]  # 12 MB an hour
    line, adds_up = soak.verdict(rounds(lambda number: 20 * noise[number]))  # which could be anything
    low, high = soak.slope(rounds(lambda number: 20 * noise[number]))[1:]
    assert low < soak.MOST_SLOPE < high
    assert adds_up, line


def test_what_stays_adds_up_and_what_comes_and_goes_does_not():
    import soak

    def rounds(files):
        return [{"seconds": 60.0 * number, "memory_mb": 700 + 0.1 * (number % 2), "files": files(number)} for number in range(40)]

    assert not soak.verdict(rounds(lambda number: 3 + (number in (35, 38))))[1]
    assert "files (3 to 4)" in soak.verdict(rounds(lambda number: 3 + (number > 25)))[0]
    assert soak.verdict(rounds(lambda number: number // 8))[1]


def test_what_grows_with_an_archive_is_named():
    import bench_scale

    def sizes(seconds, memory):
        small, large = {"seconds": 10.0, "peak_mb": 500.0}, {"seconds": seconds, "peak_mb": memory}
        few = {"beats": 100_000, "commands": {"split": {"seconds": 0.1, "peak_mb": 50.0}}}  # are not compared
        return {5: few, 50: {"beats": 400_000, "commands": {"split": small}}, 500: {"beats": 4_000_000, "commands": {"split": large}}}

    def ray(one, two):
        return {"seconds": {"1": [one], "2": [two]}}

    assert bench_scale.verdict(sizes(119, 599), ray(16, 10)) == []
    assert ["among" in failure for failure in bench_scale.verdict(sizes(121, 599), ray(16, 10))] == [True]
    assert ["memory" in failure for failure in bench_scale.verdict(sizes(119, 601), ray(16, 10))] == [True]
    assert ["Ray" in failure for failure in bench_scale.verdict(sizes(119, 599), ray(15.9, 10))] == [True]
    one = {500: sizes(119, 599)[500]}
    assert ["nothing is compared" in failure for failure in bench_scale.verdict(one, ray(16, 10))] == [True]


def test_changes_that_no_test_notices_are_told_and_those_not_tried_prove_nothing(tmp_path):
    import mutants

    good, bad = Counter(killed=8, timeout=1, survived=1), Counter({"killed": 4, "no tests": 6})
    assert mutants.cells("a", good) == ["a", "10", "9", "1", "1", "0", "90"]
    assert mutants.cells("b", bad) == ["b", "10", "4", "0", "6", "6", "40"]
    assert mutants.failures({"a": good}) == []
    assert mutants.failures({"a": Counter(killed=80, survived=20)}) == []
    assert mutants.failures({"a": Counter(killed=79, survived=21)}) == ["79.0% of all killed, less than 80%"]
    assert mutants.failures({"a": Counter(killed=90, survived=1), "b": bad}) == ["b: 40% killed"]
    assert "not tried yet" in mutants.failures({"a": Counter({"killed": 99, "not checked": 1})})[0]
    assert "nothing was changed" in mutants.failures(mutants.outcomes(tmp_path, {}))[0]
    (tmp_path / "ecgsynth").mkdir()
    (tmp_path / "ecgsynth" / "beats.py.meta").write_text('{"exit_code_by_key": {"a": 1, "b": 0, "c": null, "d": 1}}')
    (tmp_path / "ecgsynth" / "errors.py.meta").write_text('{"exit_code_by_key": {}}')
    found = mutants.outcomes(tmp_path, {0: "survived", 1: "killed", None: "not checked"})
    assert found == {"ecgsynth/beats.py": Counter(killed=2, survived=1) + Counter({"not checked": 1})}


def test_memory_is_that_of_a_command_and_of_what_it_starts():
    import bench_scale

    code = "import subprocess, sys, time; a = b'x' * 60_000_000; {}; print('.', flush=True); sys.stdin.read()"
    child = f"p = subprocess.Popen([sys.executable, '-c', {code.format('0')!r}], stdin=sys.stdin, stdout=subprocess.PIPE); p.stdout.read(1)"
    process = subprocess.Popen([sys.executable, "-c", code.format(child)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.read(1)
    both = bench_scale.memory(process.pid)
    process.communicate(b"")
    assert both > 115_000  # kB
    assert bench_scale.memory(process.pid) == 0


def test_memory_of_a_command_is_none_of_what_measures_it(monkeypatch):
    import bench_scale

    held = np.ones(50_000_000)  # 400 MB
    monkeypatch.setattr(bench_scale, "LOOK_S", 0.01)
    code = "import sys, time; b'x' * {}; time.sleep(0.5)"
    monkeypatch.setattr(bench_scale, "COMMAND", [sys.executable, "-c", code.format(1)])
    small = bench_scale.run()["peak_mb"]
    monkeypatch.setattr(bench_scale, "COMMAND", [sys.executable, "-c", code.format("100_000_000")])
    assert held.nbytes / 2**20 > small + 250
    assert 90 < bench_scale.run()["peak_mb"] - small < 110


def test_records_of_an_archive_are_not_alike(tmp_path, monkeypatch):
    import bench_scale

    monkeypatch.setattr(bench_scale, "MINUTES", 0.5)
    monkeypatch.setattr(bench_scale, "DISTINCT", 1)
    folder = bench_scale.archive(tmp_path, 3)
    assert len({path.read_bytes() for path in folder.glob("*.dat")}) == 3
