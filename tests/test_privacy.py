"""Attacks where the truth is known: a generator that copies is found out by all, one that knows only the population by none."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from ecgsynth.metrics.diversity import nearest_distances
from ecgsynth.metrics.privacy import (
    area_interval,
    attribute_votes,
    excess,
    likenesses,
    membership_auc,
    membership_scores,
    near_copies,
    nearer_than_fresh,
    nearest_errors,
    singled_out,
    train_over_control,
)

D = 6


def patients(n=20, each=60, seed=0):
    """Beats that scatter about the centre of each patient: (n * each, D), and whose they are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (n, 1, D))
    beats = centres + rng.normal(0, 0.3, (n, each, D))
    return beats.reshape(-1, D).astype(np.float32), np.repeat([f"p{seed}-{number:02d}" for number in range(n)], each)


def people(n, seed):
    """One beat of each of many patients: what a generator makes that knows the population and nobody in it."""
    return patients(n, 1, seed)[0]


TRAIN, WHOSE = patients(seed=1)
CONTROL, OTHERS = patients(seed=2)
REFERENCE, _ = patients(seed=3)
COPIES = TRAIN[np.random.default_rng(4).integers(len(TRAIN), size=1500)]
FRESH = people(1500, seed=5)
MEAN = TRAIN.mean(axis=0) + np.random.default_rng(6).normal(0, TRAIN.std(axis=0), (1500, D)).astype(np.float32)


def scores(synthetic):
    members = membership_scores(beats=TRAIN, records=WHOSE, synthetic=synthetic, reference=REFERENCE)
    others = membership_scores(beats=CONTROL, records=OTHERS, synthetic=synthetic, reference=REFERENCE)
    return members, others


def named(values, side):
    return {f"{side}{number}": float(value) for number, value in enumerate(values)}


def test_copies_are_near_copies():
    assert near_copies(synthetic=COPIES, train=TRAIN, control=CONTROL).all()
    assert near_copies(synthetic=CONTROL, train=TRAIN, control=CONTROL).mean() == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize("synthetic", [FRESH, MEAN], ids=["population", "class mean"])
def test_beats_of_nobody_are_no_near_copies(synthetic):
    assert near_copies(synthetic=synthetic, train=TRAIN, control=CONTROL).mean() < 0.02


def ratios(*, synthetic, train, control):
    to_train, to_control = (nearest_distances(beats=synthetic, among=side) for side in (train, control))
    return train_over_control(to_train=to_train, to_control=to_control)


def test_noise_on_copies_hides_them_by_and_by_from_every_attack():
    noise = np.random.default_rng(0).normal(0, 1, COPIES.shape)
    told = {"near copies": [], "distances": [], "one patient": [], "records": []}
    for spread in (0, 0.1, 0.3, 1, 3):
        noisy = COPIES + spread * noise
        told["near copies"].append(near_copies(synthetic=noisy, train=TRAIN, control=CONTROL).mean())
        told["distances"].append(-np.median(ratios(synthetic=noisy, train=TRAIN, control=CONTROL)))
        told["one patient"].append(-np.median(singled_out(beats=noisy, train=TRAIN, patients=WHOSE)))
        members, others = (np.mean(list(side.values())) for side in scores(noisy))
        told["records"].append(members - others)
    for name, each in told.items():
        assert each == sorted(each, reverse=True), name
        assert each[0] > each[-1], name


def test_the_distance_to_the_training_beats_is_a_share_of_that_to_others():
    found = ratios(synthetic=np.array([[0.0], [3.0], [4.0]]), train=np.array([[1.0], [4.0]]), control=np.array([[-2.0], [6.0]]))
    np.testing.assert_allclose(found, [1 / 2, 1 / 3, 1e-9 / 2], rtol=1e-6)
    assert (ratios(synthetic=COPIES, train=TRAIN, control=CONTROL) < 1e-6).all()
    for beats in (FRESH, COPIES):  # 0 over 0 is 1
        assert (ratios(synthetic=beats, train=TRAIN, control=TRAIN) == 1).all()


def test_the_population_is_as_far_from_either_side_in_the_mean():
    found = [
        np.log(ratios(synthetic=FRESH, train=patients(seed=10 + seed)[0], control=patients(seed=50 + seed)[0])).mean() for seed in range(20)
    ]
    assert np.mean(found) == pytest.approx(0, abs=3 * np.std(found) / 20**0.5)


def test_fresh_beats_are_nearer_to_the_larger_side():
    """In D dimensions the nearest of so many times more lies nearer by the D-th root of that."""
    found = ratios(synthetic=people(4000, seed=5), train=people(9000, seed=8), control=people(3000, seed=7))
    assert np.exp(np.log(found).mean()) == pytest.approx(3 ** (-1 / D), abs=0.02)


def test_copies_point_at_one_patient():
    ratios = {name: np.median(singled_out(beats=b, train=TRAIN, patients=WHOSE)) for name, b in {"copies": COPIES, "fresh": FRESH}.items()}
    assert ratios["copies"] < 0.001
    assert ratios["fresh"] > 0.6
    by_hand = singled_out(beats=np.array([[0.0], [4.0]]), train=np.array([[1.0], [2.0], [6.0]]), patients=np.array(["a", "a", "b"]))
    np.testing.assert_allclose(by_hand, [1 / 6, 1.0])
    with pytest.raises(ValueError, match="two training patients"):
        singled_out(beats=TRAIN, train=TRAIN, patients=np.full(len(TRAIN), "a"))


def test_records_that_were_copied_are_found_out_and_no_others():
    members, others = scores(COPIES)
    assert min(members.values()) > max(others.values())
    found = membership_auc([members], [others])
    assert found.value == found.high == 1
    assert 0.6 < found.low < 1  # of so few records another might not have been


def test_the_interval_of_an_area_is_that_of_the_paper_and_turns_with_the_sides():
    """At a true area its own standard error away lies each end: worked from Hanley and McNeil's exponential variance."""
    for area, members, others in ((0.8, 16, 22), (0.97, 30, 50)):
        found = area_interval(area, members, others)
        for end in found[1:]:
            q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
            like = (members + others) / 2 - 1
            variance = (end * (1 - end) + like * (q1 - end**2) + like * (q2 - end**2)) / (members * others)
            assert abs(area - end) == pytest.approx(1.96 * variance**0.5, rel=1e-6)
        turned = area_interval(1 - area, others, members)
        assert (1 - turned.high, 1 - turned.low) == pytest.approx(found[1:])
    one, none = area_interval(1.0, 16, 22), area_interval(0.0, 16, 22)
    assert 0.7 < one.low < one.high == 1
    assert (none.low, none.high) == pytest.approx((0, 1 - one.low), abs=1e-6)


@pytest.mark.parametrize(("apart", "area"), [(1.19, 0.8), (2.33, 0.95), (2.9, 0.98)])
def test_the_interval_holds_a_high_area_about_as_often_as_it_says(apart, area):
    rng, inside = np.random.default_rng(3), 0
    for seed in range(200):
        found = membership_auc([named(rng.normal(apart, 1, 16), "m")], [named(rng.normal(0, 1, 22), "o")], draws=200, seed=seed)
        inside += found.low <= area <= found.high
    assert inside / 200 >= 0.93


@pytest.mark.parametrize("synthetic", [FRESH, MEAN], ids=["population", "class mean"])
def test_records_are_not_found_out_by_what_knows_nobody(synthetic):
    found = membership_auc(*([side] for side in scores(synthetic)))
    assert found.low < 0.5 < found.high


def test_a_generator_that_copies_some_patients_is_found_out_by_these():
    some = np.isin(WHOSE, np.unique(WHOSE)[:5])
    half = np.concatenate([FRESH, TRAIN[some]])
    members = np.array(list(scores(half)[0].values()))
    assert members[:5].min() > members[5:].max()


def test_the_area_is_that_of_scikit_learn_and_does_not_mix_draws():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    draws = [(rng.normal(0.5, 1, 12), rng.normal(0, 1, 9)) for _ in range(4)]
    oracle = [roc_auc_score(np.repeat([1, 0], [12, 9]), np.concatenate(sides)) for sides in draws]
    members, others = ([named(values, name) for values in side] for name, side in zip("mo", zip(*draws, strict=True), strict=True))
    found = membership_auc(members, others)
    assert found.value == pytest.approx(np.mean(oracle))
    assert found.low < found.value < found.high
    further = [[{name: value + 100 * k for name, value in each.items()} for k, each in enumerate(side)] for side in (members, others)]
    assert membership_auc(*further) == found
    assert membership_auc(others, members).value == pytest.approx(1 - found.value)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(120):
        found = membership_auc([named(rng.normal(size=20), "m")], [named(rng.normal(size=20), "o")], draws=300, seed=seed)
        inside += found.low <= 0.5 <= found.high
    assert 0.88 <= inside / 120 <= 1


def test_the_same_records_in_many_draws_give_no_more_than_they_know():
    """Records differ, and are members now and others then: the interval is narrower than of one draw, and right as often as it says."""
    rng, inside, widths = np.random.default_rng(2), 0, []
    for seed in range(120):
        usual, members, others = rng.normal(size=40), [], []
        for _ in range(8):
            order, found = rng.permutation(40), usual + 0.5 * rng.normal(size=40)
            members.append({str(name): float(found[name]) for name in order[:16]})
            others.append({str(name): float(found[name]) for name in order[16:32]})
        many, one = membership_auc(members, others, draws=300, seed=seed), membership_auc(members[:1], others[:1], draws=300, seed=seed)
        inside += many.low <= 0.5 <= many.high
        widths.append((many.high - many.low) / (one.high - one.low))
    assert 0.9 <= inside / 120 <= 1
    assert np.mean(widths) < 0.8


def test_the_interval_is_that_of_weighted_areas():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    members = [{"a": 0.3, "b": 1.0, "c": -0.5, "d": 0.8}, {"c": 0.1, "e": 0.9, "b": 0.2}]
    others = [{"e": 0.0, "f": 0.4, "g": 0.7}, {"a": 0.5, "d": -1.0, "f": 0.6}]
    names = list("abcdefg")
    times = rng.multinomial(7, np.full(7, 1 / 7), size=40)
    taken, drawn = rng.integers(2, size=(2, 40)), []
    for weights, picks in zip(times, taken.T, strict=True):
        each = []
        for pick in picks:
            own = [dict(zip(names, weights, strict=True))[name] for side in (members[pick], others[pick]) for name in side]
            truth = [1] * len(members[pick]) + [0] * len(others[pick])
            alone = min(sum(own[: len(members[pick])]), sum(own[len(members[pick]) :])) == 0
            scored = [*members[pick].values(), *others[pick].values()]
            each.append(np.nan if alone else roc_auc_score(truth, scored, sample_weight=own))
        drawn.append(np.mean(each))
    found = membership_auc(members, others, draws=40, seed=0)
    least = area_interval(found.value, 5, 5)  # a to e on one side or the other; a, d, e, f and g
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    np.testing.assert_allclose((found.low, found.high), (min(low, least.low), max(high, least.high)))
    assert found.low == pytest.approx(low) or found.high == pytest.approx(high)


def test_attributes_are_found_by_the_nearest_beat():
    """Beats on a line: of a woman's, one votes for F, one for M, and one for nobody; the man's one votes for M."""
    votes = attribute_votes(
        beats=np.array([[0.0], [1.0], [9.0], [5.0]]),
        patients=np.array(["a", "a", "a", "b"]),
        truth=np.array(["F", "F", "F", "M"]),
        synthetic=np.array([[0.1], [1.2], [4.0], [9.5]]),
        carried=np.array(["F", "M", "M", ""]),
    )
    assert {name: scores.tolist() for name, scores in votes.items()} == {"F": [0.5], "M": [1.0]}


def test_excess_is_a_difference_of_means_with_its_interval():
    rng = np.random.default_rng(0)
    members, others = ({"F": rng.normal(mean, 0.1, 40), "M": rng.normal(mean + 0.1, 0.1, 20)} for mean in (0.7, 0.5))
    found = excess(members, others)
    means = [(side["F"].mean() + side["M"].mean()) / 2 for side in (members, others)]
    assert found.value == pytest.approx(means[0] - means[1])
    expected = 1.96 * np.sqrt(sum(scores.var() / len(scores) for side in (members, others) for scores in side.values())) / 2
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.1)
    assert (found.high + found.low) / 2 == pytest.approx(found.value)
    alone = excess({"F": members["F"]}, {"F": others["F"]})
    known = ttest_ind(members["F"], others["F"], equal_var=False).confidence_interval(0.95)
    assert tuple(alone[1:]) == pytest.approx(tuple(known))


@pytest.mark.parametrize("patients", [3, 4, 8])
def test_the_interval_of_an_excess_covers_it_of_few_patients(patients):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(500):
        members, others = ({name: rng.beta(2, 2, patients) for name in "FM"} for _ in range(2))
        found = excess(members, others)
        hits += found.low <= 0 <= found.high
    assert 465 <= hits <= 490


def test_who_always_guesses_the_same_finds_out_nothing_however_usual_it_is():
    members, others = {"F": np.ones(12), "M": np.zeros(4)}, {"F": np.ones(3), "M": np.zeros(19)}
    assert tuple(excess(members, others)) == (0, 0, 0)


def test_copies_are_taken_for_those_copied_and_beats_of_strangers_and_of_nobody_for_either():
    known = {"known": np.concatenate([TRAIN, CONTROL]), "patients": np.concatenate([WHOSE, OTHERS])}

    def area(synthetic):
        found = likenesses(synthetic=synthetic, **known)
        assert sum(found.values()) == pytest.approx(1)
        return membership_auc(*([{name: found[name] for name in np.unique(side)}] for side in (WHOSE, OTHERS)))

    assert area(COPIES).low > 0.6
    for nobody in (FRESH, REFERENCE, MEAN):
        found = area(nobody)
        assert found.low < 0.5 < found.high


def test_a_beat_as_near_as_the_threshold_is_a_near_copy():
    found = near_copies(synthetic=np.array([[1.0], [1.1], [0.5]]), train=np.array([[0.0]]), control=np.ones((3, 1)))
    assert found.tolist() == [True, False, True]


def test_copies_are_found_where_some_fresh_beats_are_training_beats_to_the_last_bit():
    """As flat ones are: the distance that counts as near is 0."""
    control = np.concatenate([TRAIN[:8], CONTROL[:392]])
    assert near_copies(synthetic=TRAIN[10:60], train=TRAIN, control=control).all()
    assert not near_copies(synthetic=CONTROL[400:500], train=TRAIN, control=control).any()


def test_the_share_of_near_copies_is_a_hundredth_unless_given():
    known = {"synthetic": CONTROL, "train": TRAIN, "control": CONTROL}
    np.testing.assert_array_equal(near_copies(**known), near_copies(**known, near=0.01))
    assert near_copies(**known, near=0.1).sum() == 120
    ours, fresh = np.array([0.5, 1.0, 1.5]), np.arange(1.0, 202.0)
    assert nearer_than_fresh(ours, fresh).tolist() == [True, True, True]  # than 3, the hundredth part of the way from 1 to 201
    assert nearer_than_fresh(ours, fresh, near=0).tolist() == [True, True, False]


def test_the_nearest_training_beat_is_off_by_so_many_millivolts_and_percent():
    """A distance of 4 from (3, 4), whose own length is 5; and of 5 from a beat that is nothing."""
    error, percent = nearest_errors(beats=np.array([[3.0, 0.0], [3.0, 4.0]]), train=np.array([[3.0, 4.0], [0.0, 10.0]]))
    np.testing.assert_allclose(error, [4 / 2**0.5, 0])
    np.testing.assert_allclose(percent, [80, 0])
    error, percent = nearest_errors(beats=np.array([[3.0, 4.0]]), train=np.zeros((1, 2)))
    np.testing.assert_allclose(error, [5 / 2**0.5])
    np.testing.assert_allclose(percent, [5e11])  # mV of 1e-9 mV


def test_equal_beats_are_a_millionth_of_a_millivolt_by_a_thousandth_apart():
    train, patients = np.array([[0.0], [0.0], [1.0]]), np.array(["a", "b", "c"])
    assert singled_out(beats=np.array([[0.0]]), train=train, patients=patients).tolist() == [1]  # two could have given it
    assert singled_out(beats=np.array([[1.0]]), train=train, patients=patients)[0] == pytest.approx(1e-9)
    found = membership_scores(
        beats=np.array([[0.0], [5.0]]), records=np.array(["a", "a"]), synthetic=np.array([[0.0], [7.0]]), reference=np.array([[1.0], [6.0]])
    )
    assert found == {"a": pytest.approx((np.log(1e9) + np.log(1 / 2)) / 2)}
    with pytest.raises(ValueError, match=r"^at least two training patients are needed$"):
        singled_out(beats=train, train=train, patients=np.full(3, "a"))


def test_an_excess_over_one_patient_has_no_interval():
    found = excess({"F": np.array([0.0, 1.0])}, {"F": np.array([0.0])})
    assert found.value == 0.5
    assert np.isnan(found[1:]).all()


@pytest.mark.parametrize("side", ["members", "others"])
def test_the_area_varies_with_the_records_of_either_side_as_a_share_does(side):
    """Forty records of one side, half of them above all of the other: as 20 of 40 heads."""
    split, same = np.repeat([0.0, 2.0], 20), np.ones(30)
    split, same = named(split, "s"), named(same, "t")
    found = membership_auc([split], [same]) if side == "members" else membership_auc([same], [split])
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.5 / 40**0.5, abs=0.02)


def test_there_are_2000_draws_of_seed_0_unless_given():
    rng = np.random.default_rng(0)
    sides = [[named(rng.normal(mean, 1, count), name)] for mean, count, name in ((0.5, 41, "m"), (0, 43, "o"))]
    usual = membership_auc(*sides)
    assert usual == membership_auc(*sides) == membership_auc(*sides, draws=2000, seed=0)
    assert usual not in (membership_auc(*sides, seed=1), membership_auc(*sides, draws=2001))


def test_draws_of_members_and_others_go_in_pairs():
    with pytest.raises(ValueError, match="zip"):
        membership_auc([{"a": 1.0}, {"a": 1.0}], [{"b": 1.0}])


def test_one_beat_of_a_patient_is_none_that_trees_could_know_by_itself():
    """Leaves have two beats or more, so of two patients with one each both are as likely."""
    known = np.array([[0.0], [1.0]])
    assert likenesses(synthetic=known[:1], known=known, patients=np.array(["a", "b"])) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize("seed", [0, 4])
def test_likenesses_are_those_of_the_forest_of_scikit_learn(seed):
    from sklearn.ensemble import ExtraTreesClassifier

    few = {"synthetic": CONTROL[:50], "known": TRAIN[::10], "patients": WHOSE[::10]}
    forest = ExtraTreesClassifier(200, min_samples_leaf=2, random_state=seed).fit(few["known"], few["patients"])
    wanted = dict(zip(forest.classes_, forest.predict_proba(few["synthetic"]).mean(axis=0), strict=True))
    assert likenesses(**few, seed=seed) == pytest.approx(wanted)
    assert likenesses(**few, seed=seed + 1) != pytest.approx(wanted)
