"""The release gate: what is limited holds or fails by the numbers written down, and copies do not pass."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from ecgsynth.audit import DEFAULT_POLICY, Policy, Rule, audit
from ecgsynth.beats import Beats
from ecgsynth.classifiers import CLASSIFIERS
from ecgsynth.cli import main
from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.families import FAMILIES
from ecgsynth.findings import Evaluation
from ecgsynth.generators import GENERATORS, class_counts
from ecgsynth.metrics.bootstrap import Interval
from ecgsynth.rows import ROWS
from ecgsynth.scores import AS_REAL, Score
from ecgsynth.simulate import simulate_records
from ecgsynth.splits import split_beats

NEAR = Score("privacy", "near copies", "V", Interval(0.04, 0.02, 0.06), AS_REAL, real=0.01, memorizer=1.0)
F1 = Score("utility", "F1 of TSTR, cnn", "V", Interval(0.8, 0.7, 0.9), "more is better", real=0.9, memorizer=0.9)


@pytest.mark.parametrize(
    ("limit", "score", "breach"),
    [
        ({"at_most": 0.04}, NEAR, None),
        ({"at_most": 0.039}, NEAR, "0.040 is above 0.039"),
        ({"at_most": 0.05, "end": "high"}, NEAR, "0.060 is above 0.05"),
        ({"at_most": 0.02, "end": "low"}, NEAR, None),
        ({"over_real_at_most": 0.03}, NEAR, None),
        ({"over_real_at_most": 0.02}, NEAR, "0.030 over real beats' is above 0.02"),
        ({"of_real_at_least": 0.88}, F1, None),
        ({"of_real_at_least": 0.9}, F1, "0.889 of real beats' is below 0.9"),
        ({"at_least": 0.75, "end": "low"}, F1, "0.700 is below 0.75"),
        ({"of_copies_at_least": 0.9}, F1._replace(memorizer=0.85), None),
        ({"of_copies_at_least": 0.95}, F1._replace(memorizer=0.85), "0.941 of copies' is below 0.95"),
        ({"of_copies_at_least": 0.1}, F1._replace(memorizer=np.nan), "what it is held against was not measured"),
        ({"over_copies_at_most": 0.02}, NEAR._replace(memorizer=0.03), None),
        ({"over_copies_at_most": 0.005}, NEAR._replace(memorizer=0.03), "0.010 over copies' is above 0.005"),
        ({"of_real_at_least": 0.9}, F1._replace(value=Interval(-0.3, -0.4, -0.2), real=0.0), "-inf of real beats' is below 0.9"),
        ({"of_real_at_least": 0.9}, F1._replace(value=Interval(0.1, 0.0, 0.2), real=0.0), None),
        ({"of_real_at_least": 0.9, "where_real_at_least": 0.1}, F1._replace(value=Interval(0.0, 0.0, 0.0), real=0.09), None),
        ({"at_least": 0.5, "where_real_at_least": 0.1}, F1._replace(value=Interval(0.0, 0.0, 0.0), real=0.1), "0.000 is below 0.5"),
        ({"at_least": 0.5}, F1._replace(value=Interval(np.nan, np.nan, np.nan)), "nan is below 0.5"),
        ({"of_real_at_least": 0.5}, F1._replace(real=0.0), None),  # where real beats reach nothing, nothing is asked
    ],
)
def test_a_limit_holds_or_says_by_how_much_it_is_broken(limit, score, breach):
    assert Rule("*", **limit).breaches(score) == ([breach] if breach else [])


def test_a_rule_is_about_the_measures_and_labels_it_names():
    rule = Rule("near *", label="V", at_most=1)
    assert rule.finds(NEAR)
    assert not rule.finds(NEAR._replace(label="N"))
    assert not rule.finds(F1)


def test_what_is_not_measured_fails_unless_it_is_optional():
    asked, spared = Rule("beauty", at_most=1), Rule("beauty", at_most=1, optional=True)
    verdicts = audit([NEAR], Policy((asked, spared)), learnt_here=True)
    assert [verdict.holds for verdict in verdicts] == [True, False, True]
    assert verdicts[1].breaches == ("not measured",)


def test_a_class_that_was_not_measured_fails_and_wildcards_ask_for_all_classifiers():
    policy = Policy((Rule("near copies", at_most=1), Rule("F1 of TSTR, *", at_least=0, optional=True)))
    verdicts = audit([NEAR], policy, learnt_here=True, released=("V", "Q"))
    assert [verdict.breaches for verdict in verdicts if not verdict.holds] == [("class Q is not measured",)]
    assert policy.needs["classifiers"] == list(CLASSIFIERS)


def test_a_class_must_be_measured_by_every_rule_that_is_about_classes():
    """Its beats may be enough to test a classifier by, and too few for the rest."""
    policy = Policy((Rule("near copies", at_most=1), Rule("F1 of TSTR, *", at_least=0)))
    known = [NEAR, F1, F1._replace(label="F"), F1._replace(measure="macro-F1 of TSTR, cnn", label="all")]
    failed = [verdict for verdict in audit(known, policy, learnt_here=True, released=("V", "F")) if not verdict.holds]
    assert [str(verdict).split() for verdict in failed] == [["FAILS", "near", "copies", "(F)", "class", "F", "is", "not", "measured"]]
    named = Policy((Rule("near copies", label="V", at_most=1),))
    assert all(verdict.holds for verdict in audit(known, named, learnt_here=True, released=("V", "F")))
    assert all(verdict.holds for verdict in audit([*known, NEAR._replace(label="F")], policy, learnt_here=True, released=("V", "F")))


def test_a_limit_against_what_was_not_measured_fails_and_says_so():
    alone = F1._replace(memorizer=np.nan, real=np.nan)
    for limit in ("of_copies_at_least", "over_copies_at_most", "of_real_at_least", "over_real_at_most"):
        assert Rule("F1 of TSTR, cnn", **{limit: 0.5}).breaches(alone) == ["what it is held against was not measured"]


def test_beats_that_learnt_elsewhere_fail_unless_the_policy_allows_them():
    rule = Rule("near copies", at_most=1)
    assert [v.holds for v in audit([NEAR], Policy((rule,)), learnt_here=False)] == [False, True]
    assert [v.holds for v in audit([NEAR], Policy((rule,), learnt_here=False), learnt_here=False)] == [True]


def test_every_rule_of_the_default_policy_gives_its_reason_and_names_what_is_measured():
    policy = Policy.load()
    assert all(rule.why for rule in policy.rules)
    known = [goal for family in FAMILIES for goal in family.goals]
    known += ["macro-F1 of TSTR, cnn", "F1 of TSTR, cnn"]
    known += ["membership of a patient, area", "recognition of a patient, area"]
    patients = ["sex of a patient, excess", "age of a patient, excess"]
    for rule in policy.rules:
        assert any(rule.finds(NEAR._replace(measure=measure)) for measure in (patients if rule.optional else known)), rule.measure
    assert policy.needs == {"classifiers": ["cnn"], "rows": ["real", "synthetic", "memorizer"]}


def test_an_evaluation_for_an_audit_holds_what_its_rules_name():
    rules = (Rule("macro-F1 of TSTR, trees", at_least=0), Rule("macro-F1 of TRTS, cnn", at_least=0))
    needs = Policy((*rules, Rule("macro-F1 of real+half over real, cnn", at_least=0))).needs
    assert needs == {
        "classifiers": ["cnn", "trees"],
        "rows": ["real", "synthetic", "memorizer", "real-on-synthetic", "real+half", "real-on-memorizer"],
    }
    assert set(needs["classifiers"]) <= set(CLASSIFIERS)
    assert set(needs["rows"]) <= set(ROWS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]\n", "is not TOML"),
        ("learnt_here = true\n", "has no"),
        ("strict = true\n[[rule]]\nmeasure = 'x'\nat_most = 1\n", "unknown strict"),
        ("[[rule]]\nat_most = 1\n", "needs a measure"),
        ("[[rule]]\nmeasure = 'x'\n", "has no limit"),
        ("[[rule]]\nmeasure = 'x'\nat_most = '1'\n", "at_most of the rule for 'x' cannot be read"),
        ("[[rule]]\nmeasure = 'x'\nat_most = 1\nend = 'middle'\n", "end is one of"),
        ("[[rule]]\nmeasure = 'x'\nat_mots = 1\n", "unknown at_mots"),
        ("[[rule]]\nmeasure = 'x'\nat_most = 1\noptional = 'false'\n", "optional of the rule for 'x' cannot be read"),
        ("learnt_here = 'no'\n[[rule]]\nmeasure = 'x'\nat_most = 1\n", "learnt_here is true or false, not 'no'"),
    ],
)
def test_a_policy_with_a_slip_is_refused(tmp_path, text, message):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(EcgsynthError, match=message):
        Policy.load(path)
    with pytest.raises(EcgsynthError, match="no policy at"):
        Policy.load(tmp_path / "none.toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    beats = extract_beats(simulate_records(n_patients=16, minutes=2, seed=1), source="simulated")
    split = split_beats(beats.take(np.isin(beats.classes, ["N", "V"])), scheme="patients", seed=0)
    split.save(folder / "split")
    for name in ("memorizer", "gaussian"):
        made = GENERATORS[name]().fit(split.train).sample(class_counts(split.train), seed=0)
        made.save(folder / f"{name}.npz")
    return folder


def call(*arguments):
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


def test_copies_do_not_pass_the_gate(folder):
    result = call(folder / "memorizer.npz", "--split", folder / "split", "--steps", 60, "-o", folder / "run")
    assert result.exit_code == 1
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILS")]
    for measure in ("near copies (N)", "near copies (V)", "membership of a patient", "recognition of a patient"):
        assert any(measure in line for line in failed), measure
    assert "do not release" in result.stdout
    assert "beats are being copied" in result.stdout


def test_beats_that_do_not_say_what_they_learnt_from_do_not_pass_for_beats_of_this_split(folder):
    beats = Beats.load(folder / "gaussian.npz")
    replace(beats, info={}).save(folder / "unknown.npz")
    (folder / "any.toml").write_text("[[rule]]\nmeasure = '*'\nat_most = 1e9\n")
    results = [
        call(folder / name, "--split", folder / "split", "--steps", 60, "--policy", folder / "any.toml", "--json")
        for name in ("gaussian.npz", "unknown.npz")
    ]
    learnt = [next(verdict["holds"] for verdict in json.loads(result.stdout)["verdicts"]) for result in results]
    assert learnt == [True, False]
    assert results[1].exit_code == 1


def test_beats_of_some_of_the_classes_are_audited_in_these(tmp_path):
    beats = extract_beats(simulate_records(n_patients=16, minutes=2, seed=1), source="simulated")
    split = split_beats(beats.take(np.isin(beats.classes, ["N", "V", "Q"])), scheme="patients", seed=0)
    split.save(tmp_path / "split")
    GENERATORS["gaussian"]().fit(split.train).sample({"N": 300, "V": 200}).save(tmp_path / "two.npz")
    (tmp_path / "policy.toml").write_text("[[rule]]\nmeasure = 'macro-F1 of TSTR, cnn'\nat_least = 0.1\n")
    result = call(tmp_path / "two.npz", "--split", tmp_path / "split", "--steps", 60, "--policy", tmp_path / "policy.toml", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["holds"]


def test_what_holds_passes_and_an_evaluation_can_be_used_again(folder):
    (folder / "mild.toml").write_text("[[rule]]\nmeasure = 'near copies'\nat_most = 1\n")
    (folder / "strict.toml").write_text("[[rule]]\nmeasure = 'near copies'\nat_most = 0.5\n")
    kept = (folder / "memorizer.npz", "--split", folder / "split", "--run", folder / "run", "--steps", 60, "--json")
    passed, failed = (call(*kept, "--policy", folder / name) for name in ("mild.toml", "strict.toml"))
    assert passed.exit_code == 0
    assert json.loads(passed.stdout)["holds"]
    assert failed.exit_code == 1
    assert [verdict["label"] for verdict in json.loads(failed.stdout)["verdicts"] if not verdict["holds"]] == ["N", "V", "all"]
    usual = call(folder / "memorizer.npz", "--split", folder / "split", "--run", folder / "run")
    assert "another protocol, network or kind of labels" in usual.stderr
    beats = Beats.load(folder / "memorizer.npz")
    replace(beats, rr_before=beats.rr_before + 0.1).save(folder / "later.npz")
    for name in ("gaussian.npz", "later.npz"):
        other = call(folder / name, "--split", folder / "split", "--run", folder / "run", "--steps", 60)
        assert other.exit_code == 1
        assert "is of other beats" in other.stderr


def test_an_evaluation_by_symbol_says_nothing_of_classes(folder):
    """Its V and F are symbols."""
    kept = Evaluation.load(folder / "run")
    replace(kept, settings=kept.settings | {"by": "symbol"}).save(folder / "by-symbol")
    result = call(folder / "memorizer.npz", "--split", folder / "split", "--run", folder / "by-symbol", "--steps", 60)
    assert result.exit_code == 1
    assert "kind of labels" in result.stderr


def test_the_default_policy_is_written_to_begin_with(folder):
    path = folder / "policy.toml"
    assert call("--write-policy", path).exit_code == 0
    assert path.read_text() == DEFAULT_POLICY.read_text()
    assert Policy.load(path) == Policy.load()
    again = call("--write-policy", path)
    assert again.exit_code != 0
    assert "exists" in again.stderr


def test_real_beats_are_not_audited(folder):
    result = call(folder / "split" / "test.npz", "--split", folder / "split")
    assert result.exit_code == 1
    assert "must be synthetic" in result.stderr
