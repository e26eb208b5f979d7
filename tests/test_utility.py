import numpy as np
import pytest

from ecgsynth.labels import AAMI_CLASSES, MITDB_SYMBOLS, SYMBOL_TO_CLASS
from ecgsynth.metrics.utility import rates, score_classes


def test_scores_against_counts_worked_out_by_hand():
    annotated = np.array(list("NNNNVVF"))
    predicted = np.array(list("NNVVVVN"))
    scores = score_classes(annotated=annotated, predicted=predicted, classes="NVF")
    assert scores.confusion == [[2, 2, 0], [0, 2, 0], [1, 0, 0]]
    assert scores.sensitivity == {"N": 0.5, "V": 1.0, "F": 0.0}
    assert scores.positive_predictivity == pytest.approx({"N": 2 / 3, "V": 0.5, "F": 0.0})
    assert scores.f1 == pytest.approx({"N": 4 / 7, "V": 2 / 3, "F": 0.0})
    assert scores.macro_f1 == pytest.approx((4 / 7 + 2 / 3) / 3)
    assert scores.accuracy == pytest.approx(4 / 7)


def test_a_perfect_and_a_lazy_classifier():
    annotated = np.repeat(["N", "V"], [95, 5])
    assert score_classes(annotated=annotated, predicted=annotated, classes="NV").macro_f1 == 1
    lazy = score_classes(annotated=annotated, predicted=np.full(100, "N"), classes="NV")
    assert lazy.accuracy == 0.95
    assert lazy.macro_f1 < 0.5


def test_classes_that_are_not_scored_are_an_error():
    with pytest.raises(ValueError, match="beats of Q cannot be scored"):
        score_classes(annotated=np.array(["N", "Q"]), predicted=np.array(["N", "N"]), classes="N")


def test_ectopic_lines_excuse_what_could_not_be_told():
    """Worked out by hand from the equations of de Chazal: rows annotated, columns called N S V F Q."""
    confusion = np.array([[80, 5, 3, 1, 1], [4, 10, 1, 0, 0], [2, 1, 20, 1, 0], [1, 0, 6, 3, 0], [0, 2, 4, 0, 1]])
    found = rates(confusion, "NSVFQ")
    assert found["SVEB Se"] == pytest.approx(10 / 15)
    assert found["SVEB +P"] == pytest.approx(10 / (10 + 5 + 1))  # two Q called S are excused
    assert found["VEB +P"] == pytest.approx(20 / (20 + 3 + 1))  # six F and four Q called V are excused
    cleared = confusion.sum() - 24 - 34 + 20
    assert found["VEB FPR"] == pytest.approx(4 / (4 + cleared))
    assert found["VEB Acc"] == pytest.approx((20 + cleared) / (24 + 4 + cleared))
    assert found["F1 V"] == pytest.approx(2 * 20 / (24 + 34))
    stacked = rates(np.stack([confusion, confusion]), "NSVFQ")
    assert all(np.array_equal(value, [found[name]] * 2) for name, value in stacked.items())


def test_ectopic_lines_of_symbols_are_those_of_their_classes():
    """E is of V as V is, A, a, J of S, and what is paced is excused: the same numbers as of five classes."""
    rng = np.random.default_rng(0)
    confusion = rng.integers(1, 50, (3, len(MITDB_SYMBOLS), len(MITDB_SYMBOLS)))
    member = np.array([[SYMBOL_TO_CLASS[symbol] == name for name in AAMI_CLASSES] for symbol in MITDB_SYMBOLS], dtype=int)
    by_symbol, by_class = rates(confusion, MITDB_SYMBOLS, by="symbol"), rates(member.T @ confusion @ member, AAMI_CLASSES)
    lines = [name for name in by_class if name.startswith(("SVEB", "VEB"))]
    assert len(lines) == 8
    for name in lines:
        np.testing.assert_allclose(by_symbol[name], by_class[name])
    crossed = rates(np.array([[100, 0, 0], [0, 0, 50], [0, 50, 0]]), "NVE", by="symbol")  # each ectopic beat is called the other kind
    assert (crossed["VEB Se"], crossed["VEB +P"], crossed["VEB FPR"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("annotated", "predicted", "message"),
    [("NQ", "NF", "^beats of F, Q cannot be scored over N, V$"), ("", "", "^beats of no class cannot be scored over N, V$")],
)
def test_beats_that_cannot_be_scored_are_named(annotated, predicted, message):
    with pytest.raises(ValueError, match=message):
        score_classes(annotated=np.array(list(annotated)), predicted=np.array(list(predicted)), classes="NV")


def test_patients_are_scored_one_by_one_in_the_order_of_their_names_where_all_are_known():
    annotated, predicted, patients = np.array(list("NNVV")), np.array(list("NVVN")), np.array(["b", "b", "b", "a"])
    scores = score_classes(annotated=annotated, predicted=predicted, classes="NV", patients=patients)
    assert scores.by_patient == [[[0, 0], [1, 0]], [[1, 1], [0, 1]]]
    assert scores.to_dict()["by_patient"] == scores.by_patient
    for unknown in (None, np.array(["b", "b", "", "a"])):
        assert score_classes(annotated=annotated, predicted=predicted, classes="NV", patients=unknown).by_patient is None


@pytest.mark.parametrize(("classes", "lines"), [("NVF", ["VEB"]), ("NS", ["SVEB"]), ("NSVFQ", ["SVEB", "VEB"]), ("NF", [])])
def test_numbers_are_named_after_their_classes_and_the_ectopic_lines_that_these_have(classes, lines):
    found = rates(np.ones((len(classes), len(classes)), dtype=int), classes)
    each = [f"{name} {label}" for label in classes for name in ("F1", "Se", "+P")]
    assert list(found) == ["macro-F1", *each, *(f"{line} {name}" for line in lines for name in ("Se", "+P", "FPR", "Acc"))]


def test_what_could_be_neither_right_nor_wrong_is_no_number_and_no_fault():
    with np.errstate(all="raise"):
        found = rates(np.array([[3, 0], [0, 0]]), "NV")
    assert {name for name, value in found.items() if np.isnan(value)} == {"F1 V", "Se V", "+P V", "VEB Se", "VEB +P"}
    assert (found["VEB FPR"], found["VEB Acc"], found["macro-F1"]) == (0, 1, 1)
