"""What came of a blind review: how often reviewers told real from synthetic, and whether they agreed with the labels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecgsynth import places
from ecgsynth.errors import EcgsynthError
from ecgsynth.labels import AAMI_CLASSES
from ecgsynth.metrics.bootstrap import Interval
from ecgsynth.review.page import FORMAT, REAL, SYNTHETIC
from ecgsynth.untrusted import conform, of_json

ALL = "all reviewers"
"""Whose answers are those of several together."""

_REMARK = 2000  # characters of a remark that are read
_LARGEST = 10_000_000  # bytes of a file of answers
_ITEM = {"kind": {REAL, SYNTHETIC}, "label": set(AAMI_CLASSES), "shown": {"beat", "strip"}}
_KEY = {"format": lambda value: value == FORMAT, "review": str, "items": {str: _ITEM}, "dataset_sha256?": str}


@dataclass(frozen=True)
class Answers:
    """What one reviewer said.

    Parameters
    ----------
    reviewer : str
        Who.
    review : str
        The name of the page that was judged.
    items : dict of str to dict
        Item -> ``verdict`` (real or synthetic), ``label``, ``usable`` and ``remark``, each only if given.
    """

    reviewer: str
    review: str
    items: dict[str, dict[str, Any]]


class Judged(NamedTuple):
    """What came of one reviewer, or of all.

    Parameters
    ----------
    reviewer : str
        Who.
    told : int
        Items of which was said whether they are real.
    accuracy : Interval
        The share that was said rightly, with Wilson's 95 % interval; 0.5 is guessing. Of several reviewers the interval is over
        items, as those who judge the same item do not err by themselves.
    by_label : dict of str to Interval
        The same of each class.
    by_shown : dict of str to Interval
        The same of beats alone and of strips.
    called_real : dict of str to Interval
        How often real and synthetic ones were called real.
    kappa : dict of str to Interval
        Cohen's kappa of the reviewer's class and the label, of real and of synthetic ones, with a 95 % interval over items; NaN
        where there is nothing to compare.
    usable : dict of str to Interval
        How often real and synthetic ones were called usable.
    remarks : int
        How many have a remark.
    """

    reviewer: str
    told: int
    accuracy: Interval
    by_label: dict[str, Interval]
    by_shown: dict[str, Interval]
    called_real: dict[str, Interval]
    kappa: dict[str, Interval]
    usable: dict[str, Interval]
    remarks: int

    def lines(self) -> list[str]:
        """Say it in words, a line a finding."""
        found = [f"told real from synthetic: {self.accuracy} of {self.told}; guessing is 0.5"]
        found += [f"  of class {label}: {value}" for label, value in self.by_label.items()]
        found += [f"  shown as a {shown}: {value}" for shown, value in self.by_shown.items()]
        found += [f"called {kind} ones real: {value}" for kind, value in self.called_real.items()]
        found += [
            f"agrees with the labels of {kind} ones: kappa {value}" for kind, value in self.kappa.items() if value.value == value.value
        ]
        found += [f"calls {kind} ones usable: {value}" for kind, value in self.usable.items() if value.value == value.value]
        return [*found, f"remarks: {self.remarks}"] if self.remarks else found


def read_answers(path: str | Path, key: Mapping[str, Any]) -> Answers:
    """Read what the page of a review exported.

    Raises
    ------
    EcgsynthError
        If there is no such file, it is none, or it is of another review.
    """
    path = places.place(path)
    if not path.is_file():
        raise EcgsynthError(f"no answers at {path}")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is far too large")
        data = of_json(path.read_text(encoding="utf-8"))
        review, reviewer = str(data["review"]), _plain(str(data.get("reviewer") or path.stem))
        items = {str(token): _answer(answer) for token, answer in data["answers"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EcgsynthError(f"{path} holds no answers of a review ({error})") from error
    if review != key["review"] or not set(items) <= set(key["items"]):
        raise EcgsynthError(f"{path} is of another review than the key")
    return Answers(reviewer, review, items)


def _answer(given: Mapping[str, Any]) -> dict[str, Any]:
    known = {"verdict": (REAL, SYNTHETIC), "label": AAMI_CLASSES, "usable": (True, False)}
    answer = {name: given[name] for name, values in known.items() if given.get(name) in values and given.get(name) is not None}
    remark = _plain(str(given.get("remark") or ""))[:_REMARK]
    return answer | ({"remark": remark} if remark else {})


def _plain(text: str) -> str:
    """Leave out what a terminal would obey."""
    return "".join(character for character in text if character.isprintable())[:_REMARK]


def read_key(path: str | Path) -> dict[str, Any]:
    """Read the key of a review.

    Raises
    ------
    EcgsynthError
        If there is no such file, or it is none.
    """
    try:
        key: dict[str, Any] = conform(of_json(places.place(path).read_text(encoding="utf-8")), _KEY)
        return key
    except FileNotFoundError as error:
        raise EcgsynthError(f"no key at {path}") from error
    except (ValueError, OSError) as error:
        raise EcgsynthError(f"{path} is no key of a review ({error})") from error


def score_review(answers: Sequence[Answers], key: Mapping[str, Any]) -> list[Judged]:
    """Compare what was said with what is so.

    Parameters
    ----------
    answers : sequence of Answers
        Of one reviewer or more.
    key : mapping
        What `make_review` gave beside the page.

    Returns
    -------
    list of Judged
        Of each reviewer; and if there are several, of all together.

    Raises
    ------
    EcgsynthError
        If nothing was answered.

    References
    ----------
    Wilson EB. J Am Stat Assoc 22:209-212 (1927), doi:10.1080/01621459.1927.10502953. Cohen J. Educ Psychol Meas 20:37-46 (1960),
    doi:10.1177/001316446002000104; as implemented in scipy and scikit-learn.
    """
    for place, of in enumerate(answers):
        for other in answers[:place]:
            if of.reviewer == other.reviewer or (of.items and of.items == other.items):
                raise EcgsynthError(f"the answers of {of.reviewer} were given twice: give each reviewer's once")
    found = [_judged(of.reviewer, [of], key["items"]) for of in answers]
    if len(answers) > 1:
        found.append(_judged(ALL, answers, key["items"]))
    if not any(judged.told or judged.kappa for judged in found):
        raise EcgsynthError("nothing was answered")
    return found


Pair = tuple[str, Mapping[str, Any], Mapping[str, Any]]  # an item, what it is, and what was said of it


def _judged(reviewer: str, answers: Sequence[Answers], known: Mapping[str, Any]) -> Judged:
    pairs = [(token, known[token], answer) for of in answers for token, answer in of.items.items()]
    told = [pair for pair in pairs if "verdict" in pair[2]]
    labels = [label for label in AAMI_CLASSES if any(item["label"] == label for _, item, _ in told)]
    kinds = [kind for kind in (REAL, SYNTHETIC) if any(item["kind"] == kind for _, item, _ in pairs)]

    def share(true: Callable[[Pair], bool], of: Iterable[Pair]) -> Interval:
        hits = [(pair[0], true(pair)) for pair in of]
        return wilson([hit for _, hit in hits]) if len(answers) == 1 else over_items(hits, lambda drawn: float(np.mean(drawn)))

    def right(pair: Pair) -> bool:
        return bool(pair[2]["verdict"] == pair[1]["kind"])

    def where(name: str, value: str, pairs: Sequence[Pair] = told) -> list[Pair]:
        return [pair for pair in pairs if pair[1][name] == value]

    usable = [pair for pair in pairs if "usable" in pair[2]]
    return Judged(
        reviewer,
        len(told),
        share(right, told),
        {label: share(right, where("label", label)) for label in labels},
        {shown: share(right, where("shown", shown)) for shown in ("beat", "strip") if where("shown", shown)},
        {kind: share(lambda pair: pair[2]["verdict"] == REAL, where("kind", kind)) for kind in kinds},
        {kind: _kappa(where("kind", kind, pairs)) for kind in kinds},
        {kind: share(lambda pair: bool(pair[2]["usable"]), where("kind", kind, usable)) for kind in kinds},
        sum("remark" in answer for _, _, answer in pairs),
    )


def over_items(values: Sequence[tuple[str, Any]], statistic: Callable[[list[Any]], float], *, draws: int = 1000) -> Interval:
    """Give a statistic with its 95 % interval over items: all that was said of an item is drawn together."""
    if not values:
        return Interval(np.nan, np.nan, np.nan)
    by_item: dict[str, list[Any]] = {}
    for token, value in values:
        by_item.setdefault(token, []).append(value)
    groups, rng = list(by_item.values()), np.random.default_rng(0)
    found = [statistic([value for place in rng.integers(len(groups), size=len(groups)) for value in groups[place]]) for _ in range(draws)]
    low, high = np.nanpercentile(found, [2.5, 97.5]) if np.isfinite(found).any() else (np.nan, np.nan)
    return Interval(statistic([value for _, value in values]), float(low), float(high))


def wilson(hits: Sequence[bool]) -> Interval:
    """Give a share with Wilson's 95 % interval; NaN of nothing."""
    from scipy.stats import binomtest

    if not hits:
        return Interval(np.nan, np.nan, np.nan)
    found = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return Interval(sum(hits) / len(hits), float(found.low), float(found.high))


def _kappa(pairs: Sequence[Pair]) -> Interval:
    return over_items(
        [(token, (item["label"], answer["label"])) for token, item, answer in pairs if "label" in answer], _agreement, draws=300
    )


def _agreement(pairs: Sequence[tuple[str, str]]) -> float:
    from sklearn.metrics import cohen_kappa_score

    if len({label for pair in pairs for label in pair}) < 2:
        return float("nan")
    return float(cohen_kappa_score(*zip(*pairs, strict=True)))
