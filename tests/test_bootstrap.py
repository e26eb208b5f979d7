import numpy as np
import pytest

from ecgsynth.metrics.bootstrap import Interval, confusion_by_patient, delete_half, macro_f1, over_beats, over_patients
from ecgsynth.metrics.utility import rates, score_classes


def guesses(share, n=600, seed=0):
    rng = np.random.default_rng(seed)
    annotated = rng.choice(list("NSV"), n, p=[0.7, 0.2, 0.1])
    predicted = np.where(rng.random(n) < share, annotated, rng.choice(list("NSV"), n))
    return annotated, predicted, np.repeat([f"p{number}" for number in range(12)], n // 12)


def confusions(share, seeds=3, data_seed=0):
    rng = np.random.default_rng(data_seed)
    annotated = rng.choice(list("NSV"), 600, p=[0.7, 0.2, 0.1])
    patients = np.repeat([f"p{number}" for number in range(12)], 50)
    parts = []
    for seed in range(seeds):
        own = np.random.default_rng(100 + seed)
        predicted = np.where(own.random(600) < share, annotated, own.choice(list("NSV"), 600))
        parts.append(confusion_by_patient(annotated=annotated, predicted=predicted, patients=patients, classes="NSV"))
    return np.stack(parts)


def gain(*, ours, base):
    return over_patients(lambda each: {"macro-F1": macro_f1(each)}, ours, base=base)["macro-F1"]


def test_patients_add_up_to_the_score_of_all_beats():
    annotated, predicted, patients = guesses(0.8)
    by_patient = confusion_by_patient(annotated=annotated, predicted=predicted, patients=patients, classes="NSV")
    assert by_patient.shape == (12, 3, 3)
    whole = score_classes(annotated=annotated, predicted=predicted, classes="NSV")
    assert by_patient.sum(axis=0).tolist() == whole.confusion
    assert macro_f1(by_patient.sum(axis=0)) == pytest.approx(whole.macro_f1)


def test_no_gain_over_itself_and_the_interval_holds_zero():
    same = confusions(0.7)
    found = gain(ours=same, base=same)
    assert found.value == 0
    assert found.low <= 0 <= found.high


def test_gains_change_sign_with_the_sides_and_grow_with_the_difference():
    worse, better, best = (confusions(share) for share in (0.5, 0.8, 1.0))
    up, down = gain(ours=better, base=worse), gain(ours=worse, base=better)
    assert up.value == pytest.approx(-down.value)
    assert up.low > 0 > down.high
    assert gain(ours=best, base=worse).value > up.value
    assert up == gain(ours=better, base=worse)


def test_seeds_are_compared_in_pairs_and_more_of_them_make_an_interval_narrower():
    poor, good = confusions(0.5, 1), confusions(0.9, 1)
    both = np.concatenate([poor, good])  # their scores differ much from seed to seed, but not between the sides
    assert gain(ours=both, base=both) == (0, 0, 0)
    crossed = [gain(ours=np.concatenate([both] * times), base=np.concatenate([both[::-1]] * times)) for times in (1, 8)]
    assert crossed[1].high - crossed[1].low < 0.6 * (crossed[0].high - crossed[0].low)


def test_more_patients_make_an_interval_narrower():
    few, many = (np.concatenate([confusions(0.7, 1, seed) for seed in range(times)], axis=1) for times in (1, 8))
    other = [np.concatenate([confusions(0.6, 1, seed) for seed in range(times)], axis=1) for times in (1, 8)]
    widths = [found.high - found.low for found in (gain(ours=few, base=other[0]), gain(ours=many, base=other[1]))]
    assert widths[1] < 0.6 * widths[0]


def mean(side):
    return {"mean": float(side.mean()), "twice": 2 * float(side.mean())}


def test_leaving_out_half_gives_the_interval_of_a_mean():
    values = np.random.default_rng(0).normal(3, 2, 1000)
    found = delete_half(mean, values, draws=500)
    once = found["mean"]
    assert once.value == values.mean()
    assert once.high - once.value == pytest.approx(1.96 * values.std() / 1000**0.5, rel=0.1)
    assert once.value - once.low == pytest.approx(once.high - once.value)
    assert tuple(found["twice"]) == pytest.approx([2 * part for part in once])
    assert delete_half(mean, values, draws=500) == found


def test_leaving_out_half_of_two_sides_adds_up_their_variances():
    one, other = np.random.default_rng(0).normal(0, 1, 400), np.random.default_rng(1).normal(0, 3, 900)
    found = delete_half(lambda a, b: {"gap": float(a.mean() - b.mean())}, one, other, draws=500)["gap"]
    assert found.high - found.value == pytest.approx(1.96 * (1 / 400 + 9 / 900) ** 0.5, rel=0.1)


def test_where_half_of_the_patients_are_left_out_the_interval_is_that_of_their_means():
    """Beats of a patient are alike: 30 patients of 40 beats tell of a mean what 30 numbers do."""
    rng = np.random.default_rng(0)
    usual = rng.normal(0, 1, 30)
    values, whose = np.repeat(usual, 40) + rng.normal(0, 0.1, 1200), np.repeat([f"p{number}" for number in range(30)], 40)
    order = rng.permutation(1200)
    found = delete_half(halves, values[order], patients=[whose[order]], draws=500)["mean"]
    assert found.high - found.value == pytest.approx(1.96 * usual.std() / 30**0.5, rel=0.1)
    alone = delete_half(halves, values[order], draws=500)["mean"]
    assert (alone.high - alone.low) < 0.3 * (found.high - found.low)
    odd = delete_half(halves, values[: 7 * 40], patients=[whose[: 7 * 40]], draws=500)["mean"]
    assert odd.high - odd.value == pytest.approx(2.447 * usual[:7].std() / 7**0.5, rel=0.25)
    assert np.isnan(delete_half(halves, values[:40], patients=[whose[:40]])["mean"].low)


@pytest.mark.parametrize("patients", [2, 3, 5, 10])
def test_an_interval_of_few_patients_covers_their_mean(patients):
    rng, hits = np.random.default_rng(0), 0
    for seed in range(200):
        values = np.repeat(rng.normal(0, 1, patients), 4)
        found = delete_half(halves, values, patients=[np.repeat(np.arange(patients).astype(str), 4)], seed=seed)["mean"]
        hits += found.low <= 0 <= found.high
    assert hits >= 180


def test_patients_of_one_side_leave_the_beats_of_the_other_to_be_drawn():
    whole, sizes = np.arange(20.0), []

    def told(one, other):
        sizes.append((sorted(set(one // 5)), len(other)))
        return {"x": float(one.mean() - other.mean())}

    delete_half(told, whole, whole, patients=[np.repeat(list("abcd"), 5), None], draws=30)
    assert {(len(kept), count) for kept, count in sizes[:-1]} == {(2, 10)}
    assert len({tuple(kept) for kept, _ in sizes[:-1]}) == 6  # every pair of four


def test_a_share_over_beats_has_the_interval_of_its_binomial():
    """90 of 100 beats are right: 0.90 and 1.96 standard errors of 0.03."""

    def share(confusions):
        return {"right": np.trace(confusions, axis1=-2, axis2=-1) / confusions.sum(axis=(-2, -1))}

    one = over_beats(share, np.array([[[60, 4], [6, 30]]]))["right"]
    assert one.value == pytest.approx(0.9)
    assert (one.high - one.low) / 2 == pytest.approx(1.96 * 0.03, rel=0.1)
    again = over_beats(share, np.array([[[60, 4], [6, 30]]] * 5))["right"]  # the same beats, judged alike five times: nothing more is known
    assert again.high - again.low == pytest.approx(one.high - one.low, rel=0.05)
    four = over_beats(share, np.array([[[240, 16], [24, 120]]]))["right"]
    assert four.high - four.low == pytest.approx((one.high - one.low) / 2, rel=0.15)


def test_seeds_that_differ_make_an_interval_over_beats_wider_and_its_middle_is_their_mean():
    def share(confusions):
        return {"right": np.trace(confusions, axis1=-2, axis2=-1) / confusions.sum(axis=(-2, -1))}

    found = over_beats(share, np.array([[[800, 200], [0, 0]], [[600, 400], [0, 0]]]))["right"]
    assert found.value == pytest.approx(0.7)
    assert (found.low + found.high) / 2 == pytest.approx(0.7, abs=0.01)
    assert found.low < 0.61 < 0.79 < found.high  # both seeds drawn twice is one draw of two


def test_one_patient_with_all_beats_of_a_class_makes_its_interval_wide():
    spread, alone = np.zeros((2, 1, 10, 2, 2), dtype=int)
    spread[0, :, 0, 0], alone[0, :, 0, 0] = 50, 50
    spread[0, :, 1] = (1, 4)
    alone[0, 0, 1], alone[0, 1, 1] = (2, 23), (8, 17)  # the same ten beats wrong of fifty, and of two patients only
    found = [over_patients(lambda each: rates(each, "NV"), side)["Se V"] for side in (spread, alone)]
    assert found[0].value == found[1].value == pytest.approx(0.8)
    assert found[1].high - found[1].low > 0.2 > found[0].high - found[0].low


def test_each_patient_has_a_row_and_a_column_for_every_class_even_without_such_beats():
    annotated, predicted, patients = np.array(list("NVN")), np.array(list("NNN")), np.array(["b", "b", "a"])
    found = confusion_by_patient(annotated=annotated, predicted=predicted, patients=patients, classes="VNS")
    assert found.tolist() == [[[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[0, 1, 0], [0, 1, 0], [0, 0, 0]]]


@pytest.mark.parametrize(
    ("confusion", "wanted"),
    [
        ([[1, 0], [2, 4]], (0.5 + 0.8) / 2),  # one beat is enough for a class to count
        ([[3, 1], [0, 0]], 6 / 7),  # a class that is only predicted does not
        ([[0, 0], [0, 0]], 0),
    ],
)
def test_macro_f1_is_the_mean_over_the_classes_annotated(confusion, wanted):
    assert macro_f1(np.array(confusion)) == pytest.approx(wanted)


def test_a_class_of_one_patient_counts_in_all_of_an_interval():
    """Without that patient a macro-F1 would be of the other class alone, which is always right."""
    each = np.zeros((1, 8, 2, 2), dtype=int)
    each[:, :, 0, 0] = 50
    each[:, 3, 1, 0] = 20  # never found
    found = over_patients(lambda stack: rates(stack, "NV"), each)
    assert found["macro-F1"].value == pytest.approx(400 / 410 / 2)
    assert found["macro-F1"].high < 0.5
    for name in ("Se V", "F1 V", "+P V"):
        assert found[name].value == 0
        assert np.isnan(found[name][1:]).all()  # what others with such beats would give, nobody knows
    both = each.copy()
    both[:, 4, 1, 0] = 20
    found = over_patients(lambda stack: rates(stack, "NV"), both)["Se V"]  # of two both are missed 2.5 of 100 times if 84 of 100 are found
    assert found == pytest.approx((0, 0, 1 - 0.025**0.5))
    each[:, :, 1, 1] = 5
    each[:, 3, 1] = (0, 20)
    assert over_patients(lambda stack: rates(stack, "NV"), each)["Se V"] == pytest.approx((1, 0.025 ** (1 / 8), 1))
    assert over_patients(lambda stack: rates(stack, "NV"), each, base=each)["Se V"] == (0, 0, 0)


@pytest.mark.parametrize(("patients", "least"), [(2, 170), (3, 170), (5, 180), (8, 180), (20, 180)])
def test_an_interval_of_a_class_that_few_patients_have_covers_what_others_would_give(patients, least):
    """Of 20 patients some have the class, each with an odd number of beats and a share found of its own, two of three in the mean."""
    rng, hits, widths = np.random.default_rng(0), 0, []
    for seed in range(200):
        each = np.zeros((1, 20, 2, 2), dtype=int)
        each[:, :, 0, 0] = 50
        counts, shares = rng.integers(50, 150, patients), rng.beta(2, 1, patients)
        each[0, :patients, 1, 1] = np.round(counts * shares)
        each[0, :patients, 1, 0] = counts - each[0, :patients, 1, 1]
        found = over_patients(lambda stack: {"Se": rates(stack, "NV")["Se V"]}, each, draws=300, seed=seed)["Se"]
        hits += found.low <= 2 / 3 <= found.high
        widths.append(found.high - found.low)
    assert hits >= least
    assert np.mean(widths) < (0.9 if patients < 4 else 2.5 / patients**0.5 - 0.3)  # nor is it by saying nothing


def test_an_interval_of_few_goes_no_further_than_a_rate_or_a_gain_can():
    each = np.zeros((1, 3, 2, 2), dtype=int)
    each[:, :, 0, 0] = 50
    each[0, :, 1] = [(9, 1), (5, 5), (0, 10)]
    none = each.copy()
    none[0, :, 1] = (10, 0)
    assert over_patients(lambda stack: rates(stack, "NV"), each)["Se V"][1:] == (0, 1)
    gain = over_patients(lambda stack: rates(stack, "NV"), each, base=none)["Se V"]
    assert gain.value == pytest.approx(16 / 30)
    assert -1 < gain.low < gain.value < gain.high == 1


def test_a_seed_that_never_calls_a_class_has_no_positive_predictivity_of_it_and_the_others_keep_theirs():
    finds = np.array([[[40, 0], [0, 10]]] * 6)
    blind = np.array([[[40, 0], [10, 0]]] * 6)
    found = over_patients(lambda stack: rates(stack, "NV"), np.stack([finds, blind]))
    assert found["+P V"] == (0.5, 0, 1)
    assert found["VEB +P"] == found["+P V"]


def halves(side):
    return {"mean": float(side.mean())}


@pytest.mark.parametrize(
    ("interval", "draws"),
    [
        (lambda **given: over_patients(lambda each: {"F1": macro_f1(each)}, confusions(0.7), **given)["F1"], 2000),
        (lambda **given: over_beats(lambda each: {"F1": macro_f1(each)}, confusions(0.7).sum(axis=1), **given)["F1"], 2000),
        (lambda **given: delete_half(halves, np.random.default_rng(0).normal(size=99), **given)["mean"], 40),
    ],
    ids=["patients", "beats", "halves"],
)
def test_intervals_are_of_so_many_draws_with_seed_0_unless_others_are_given(interval, draws):
    assert interval() == interval() == interval(draws=draws, seed=0)
    assert interval(seed=1) != interval() != interval(draws=draws + 1)


def test_an_interval_goes_from_the_40th_part_of_the_draws_to_the_last_40th_without_those_that_are_no_numbers():
    def counted(confusions):  # draw by draw 0 to 1000
        draws = np.arange(1001.0)
        draws = {"whole": draws, "gaps": np.where(draws % 2 == 0, draws, np.nan), "none": np.full(1001, np.nan)}
        return draws if len(confusions) == 1001 else dict.fromkeys(draws, np.array([7.0]))

    found = over_beats(counted, np.ones((1, 2, 2), int), draws=1001)
    assert found["whole"] == (7, 25, 975)
    assert found["gaps"] == (7, 25, 975)
    assert found["none"].value == 7
    assert np.isnan(found["none"][1:]).all()


@pytest.mark.parametrize(("known", "spread"), [([1, 2, 3, 6], 14 / 3), ([1, np.nan, 2, 3], 1), ([1, np.nan, np.nan, 3], np.nan)])
def test_the_interval_of_halves_is_that_of_their_standard_deviation_if_most_have_a_number(known, spread):
    """Variances of 14 / 3 and 1, and of two of four halves none."""
    values, sizes = iter([*known, 10.0]), []

    def told(side):
        sizes.append(len(side))
        return {"x": next(values)}

    found = delete_half(told, np.arange(5), draws=4)["x"]
    assert sizes == [3, 3, 3, 3, 5]
    reach = 2.7764451 * spread**0.5  # of Student's t of 4 degrees of freedom
    assert found == pytest.approx((10, 10 - reach, 10 + reach), nan_ok=True)
    assert str(found) == ("10.000 (4.002 to 15.998)" if known[1] == 2 else f"10.000 ({10 - reach:.3f} to {10 + reach:.3f})")


def test_halves_of_too_few_beats_are_not_asked():
    sizes = []

    def told(side):
        sizes.append(len(side))
        return {"x": float(side.mean())}

    whose = np.array(["a"] * 8 + ["b"] * 2)
    found = delete_half(told, np.arange(10.0), patients=[whose], fewest=3, draws=20)["x"]
    assert set(sizes) == {8, 10}
    assert 0 < sizes.count(8) < 20
    assert np.isfinite(found.low) == (sizes.count(8) > 10)
    assert np.isnan(delete_half(told, np.arange(10.0), patients=[whose], fewest=9, draws=20)["x"].low)


def test_what_rounds_to_zero_has_no_sign():
    assert str(Interval(-0.0001, -0.0021, 0.0004)) == "0.000 (-0.002 to 0.000)"
