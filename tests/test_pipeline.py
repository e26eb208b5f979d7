"""The whole job in one folder."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from ecgsynth.beats import Beats
from ecgsynth.cli import main
from ecgsynth.generators import TrainingStep, load_generator
from ecgsynth.generators.statistics import Gaussian
from ecgsynth.records import write_record


def run(*arguments):
    result = CliRunner().invoke(main, ["run", *map(str, arguments), "-g", "gaussian", "--families", "none", "--classifier-steps", "2"])
    assert result.exit_code == 0, result.output
    return result.stderr


@pytest.fixture(scope="module")
def with_few(records, tmp_path_factory):
    """Records of which two have one ventricular beat each, and three have three fusion beats each; others have none."""
    folder, left = tmp_path_factory.mktemp("few") / "records", {"V": [1, 1], "F": [3, 3, 3]}
    for record in records:
        kept = np.ones(len(record.symbols), dtype=bool)
        for symbol, of_each in left.items():
            own = np.flatnonzero(record.symbols == symbol)
            kept[own[of_each.pop(0) if of_each and len(own) >= of_each[0] else 0 :]] = False
        write_record(replace(record, symbols=record.symbols[kept], samples=record.samples[kept]), folder)
    assert not any(left.values())
    return folder


@pytest.mark.parametrize("scheme", ["beats", "patients"])
def test_what_is_too_rare_to_learn_is_left_out_and_named(with_few, tmp_path, scheme):
    said = run(with_few, "-o", tmp_path / "run", "--scheme", scheme)
    counts = Beats.load(tmp_path / "run" / "split" / "train.npz").counts()
    few = [name for name, count in counts.items() if 2 <= count < 10]
    rare = [name for name, count in counts.items() if count < 2]
    assert (few, rare) == (["F"], ["V"])
    assert said.count("\n") == 1
    assert f"note: few training beats of class F ({counts['F']}): new" in said
    assert "class V (1) left out: fewer than 2 training beats" in said
    learnt = {name: count for name, count in counts.items() if name not in rare}
    assert load_generator(tmp_path / "run" / "model.safetensors").counts == learnt
    assert Beats.load(tmp_path / "run" / "synthetic.npz").counts() == learnt
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_run_of_another_version_is_not_gone_on_with(records_folder, tmp_path, monkeypatch):
    run(records_folder, "-o", tmp_path / "run")
    before = (tmp_path / "run" / "settings.json").stat().st_mtime_ns
    run(records_folder, "-o", tmp_path / "run")  # whose stages are kept
    monkeypatch.setattr("ecgsynth.__version__", "0.0.9")
    with pytest.raises(AssertionError, match="holds a run with other settings, or of another version: give another name, or --force"):
        run(records_folder, "-o", tmp_path / "run")
    assert (tmp_path / "run" / "settings.json").stat().st_mtime_ns == before
    run(records_folder, "-o", tmp_path / "run", "--force")
    assert (tmp_path / "run" / "settings.json").stat().st_mtime_ns > before


def test_a_run_that_was_to_replace_another_goes_on_where_it_was(records_folder, tmp_path):
    folder = tmp_path / "run"
    run(records_folder, "-o", folder)
    first = (folder / "beats.npz").stat().st_mtime_ns
    run(records_folder, "-o", folder, "--force", "--seed", "1")  # which begins anew
    again = (folder / "beats.npz").stat().st_mtime_ns
    assert again > first
    (folder / "report.html").unlink()  # as if it had been stopped before
    run(records_folder, "-o", folder, "--force", "--seed", "1")
    assert (folder / "beats.npz").stat().st_mtime_ns == again
    run(records_folder, "-o", folder, "--force", "--seed", "1")  # of one that is whole
    assert (folder / "beats.npz").stat().st_mtime_ns > again


def test_a_score_that_fell_is_told_of(records_folder, tmp_path, monkeypatch):
    def steps(self, train, validation, checkpoint):
        yield from real(self, train, validation, checkpoint)
        for step, score in enumerate((0.8, 0.2), 1):
            yield TrainingStep(step, step / 2, 1.0, validation_score=score, detection=0.5, best=step == 1)

    real = Gaussian._fit_steps
    monkeypatch.setattr(Gaussian, "_fit_steps", steps)
    assert "note: the validation score fell from 0.800 to 0.200" in run(records_folder, "-o", tmp_path / "run")


def test_a_folder_is_not_taken_for_records_that_are_not_there(records_folder, tmp_path):
    few = ("-g", "class-mean", "--families", "none", "--classifier-steps", "2")
    wrong = CliRunner().invoke(main, ["run", str(tmp_path / "nothing"), "-o", str(tmp_path / "run"), *few])
    assert wrong.exit_code == 1
    assert str(tmp_path / "nothing") in wrong.stderr
    assert list(tmp_path.iterdir()) == []
    run(records_folder, "-o", tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecgsynth.pipeline.find_records", lambda _: pytest.fail("a run whose beats are cut asks for its records"))
        run(records_folder, "-o", tmp_path / "run")
