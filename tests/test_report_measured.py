"""What was measured stands in the report with words that say how to read it, and what speaks against a release comes first."""

import dataclasses
from dataclasses import replace
from html import escape

import numpy as np
from reported import make_evaluation

from ecgsynth import report
from ecgsynth.families import FAMILIES
from ecgsynth.metrics.bootstrap import Interval
from ecgsynth.report import charts, render
from ecgsynth.report.measured import tables, warnings, worth_added
from ecgsynth.scores import AS_REAL, Score


def measured(number, *, real, label="all"):
    scores = []
    for family in FAMILIES:
        names = [*family.goals, *(PATIENTS if family.name == "privacy" else ())]
        scores += [Score(family.name, name, label, Interval(number, number - 0.01, number + 0.01), AS_REAL, real, 1.0) for name in names]
    return tuple(scores)


PATIENTS = (
    "membership of a patient, area",
    "sex of a patient, excess",
    "age of a patient, excess",
    "recognition of a patient, area",
)


def test_what_added_beats_are_worth_is_drawn_for_each_classifier_over_their_share():
    evaluation = make_evaluation()
    rows = evaluation.classifiers["cnn"]
    worth = worth_added(replace(evaluation, classifiers={"cnn": rows, "trees": rows}))
    assert list(worth) == ["cnn", "trees"]
    assert list(worth["trees"]) == [0, 0.25, 0.5, 1]
    assert worth["cnn"][0.5] == evaluation.intervals("real+half")["macro-F1"]
    axes = charts.added(worth).axes
    assert [each.get_title(loc="left") for each in axes] == ["cnn", "trees"]
    line = axes[0].containers[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), [worth["cnn"][share].value for share in line.get_xdata()])
    assert not worth_added(make_evaluation(rows=("real", "synthetic")))
    assert not worth_added(make_evaluation(rows=("synthetic", "real+synthetic")))
    assert "share of the synthetic beats added" in render(evaluation)
    assert "share of the synthetic beats added" not in render(make_evaluation(rows=("real", "synthetic")))


def test_every_number_that_is_measured_is_shown_with_its_own_words():
    evaluation = make_evaluation(measured=measured(0.123, real=0.2))
    page = report.render(evaluation)
    words = {}
    for table in tables(evaluation):
        for line in table.lines:
            assert line.measure in page
            words.setdefault(line.words, []).append(line.measure)
    assert page.count("0.12<span") == sum(len(table.lines) for table in tables(evaluation))
    shared = [names for names in words.values() if len(names) > 1]
    assert all(" moved, " in name for names in shared for name in names)  # each else has words of its own
    assert "r 0.20 · c 1.00" in page
    assert "fresh simulated beats" not in page


def test_what_speaks_against_a_release_is_said_first_and_only_then():
    bad = make_evaluation(measured=measured(0.9, real=0.05))
    said = warnings(bad)
    assert len(said) == 5
    page = report.render(bad)
    assert all(f'<p class="bad">{escape(text, quote=False).split(chr(39))[0]}' in page for text in said)
    assert warnings(make_evaluation(measured=measured(0.0, real=0.05))) == []
    assert warnings(make_evaluation()) == []


def test_all_classifiers_stand_in_the_table_of_scores():
    one = make_evaluation()
    page = report.render(dataclasses.replace(one, classifiers={"cnn": one.rows, "trees": one.rows}))
    assert "Gradient-boosted trees" in page
    assert "Gradient-boosted trees" not in report.render(one)
