"""The release gate: what was found, held against the limits that a team has written down."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecgsynth.classifiers import CLASSIFIERS
from ecgsynth.errors import EcgsynthError
from ecgsynth.places import place
from ecgsynth.rows import ROWS
from ecgsynth.scores import Score
from ecgsynth.untrusted import of_toml

DEFAULT_POLICY = Path(__file__).with_name("policy.toml")
"""Limits with their reasons: to be copied and changed."""

ENDS = ("value", "low", "high")


class _Limit(NamedTuple):
    """What of a number and its yardsticks, fresh real beats and copies, is limited, to which side, and how a breach is put in words."""

    of: Callable[[float, float, float], float]
    least: bool
    words: str

    def breached(self, number: float, score: Score, limit: float) -> str | None:
        found = self.of(number, score.real, score.memorizer)
        if np.isnan(found) and not np.isnan(number):
            return "what it is held against was not measured"
        holds = found >= limit if self.least else found <= limit  # neither holds of what is no number
        return None if holds else self.words.format(found, limit)


def _share(number: float, of: float) -> float:
    """Give how much of a yardstick is reached; of one that is 0 or below, all or nothing."""
    return number / of if of > 0 or np.isnan(of) else np.inf if number >= of else -np.inf


_LIMITS = {
    "at_least": _Limit(lambda number, real, copies: number, True, "{:.3f} is below {:g}"),
    "at_most": _Limit(lambda number, real, copies: number, False, "{:.3f} is above {:g}"),
    "of_real_at_least": _Limit(lambda number, real, copies: _share(number, real), True, "{:.3f} of real beats' is below {:g}"),
    "over_real_at_most": _Limit(lambda number, real, copies: number - real, False, "{:.3f} over real beats' is above {:g}"),
    "of_copies_at_least": _Limit(lambda number, real, copies: _share(number, copies), True, "{:.3f} of copies' is below {:g}"),
    "over_copies_at_most": _Limit(lambda number, real, copies: number - copies, False, "{:.3f} over copies' is above {:g}"),
}


@dataclass(frozen=True)
class Rule:
    """A limit on numbers of an evaluation.

    Parameters
    ----------
    measure, label : str
        Names of the numbers, in which ``*`` stands for anything.
    end : str
        Which end of the interval is held against the limit: ``"value"``, ``"low"`` or ``"high"``.
    at_least, at_most : float, optional
        Of the number.
    of_real_at_least : float, optional
        Of the number's share of what real beats reach in the place of synthetic ones.
    over_real_at_most : float, optional
        Of its difference to that.
    of_copies_at_least, over_copies_at_most : float, optional
        The same of what copies of training beats reach: all that can be had of the patients learnt from, where fresh real beats are
        of few others. Not for what tells of memory.
    where_real_at_least : float, optional
        Numbers whose yardstick of real beats is less hold by themselves, as those of a class that these do not teach either.
    optional : bool
        Whether it holds where there is no such number.
    why : str
        The reason.
    """

    measure: str
    label: str = "*"
    end: str = "value"
    at_least: float | None = None
    at_most: float | None = None
    of_real_at_least: float | None = None
    over_real_at_most: float | None = None
    of_copies_at_least: float | None = None
    over_copies_at_most: float | None = None
    where_real_at_least: float | None = None
    optional: bool = False
    why: str = ""

    def __post_init__(self) -> None:
        if self.end not in ENDS:
            raise EcgsynthError(f"a policy's end is one of {', '.join(ENDS)}, not {self.end!r}")
        if all(getattr(self, name) is None for name in _LIMITS):
            raise EcgsynthError(f"the policy's rule for {self.measure!r} has no limit: give one of {', '.join(_LIMITS)}")

    def finds(self, score: Score) -> bool:
        """Say whether this rule is about a number."""
        return fnmatchcase(score.measure, self.measure) and fnmatchcase(score.label, self.label)

    def breaches(self, score: Score) -> list[str]:
        """Say which limits a number breaks; one that is not known breaks all."""
        if self.where_real_at_least is not None and score.real < self.where_real_at_least:
            return []
        number = getattr(score.value, self.end)
        limits = {name: limit for name in _LIMITS if (limit := getattr(self, name)) is not None}
        found = (_LIMITS[name].breached(number, score, limit) for name, limit in limits.items())
        return [breach for breach in found if breach]


@dataclass(frozen=True)
class Policy:
    """What synthetic beats must hold before they are released.

    Parameters
    ----------
    rules : tuple of Rule
        All of which must hold.
    learnt_here : bool
        Whether the beats must be of a model that learnt from the train side of the split, or from nobody.
    """

    rules: tuple[Rule, ...]
    learnt_here: bool = True

    @classmethod
    def load(cls, path: str | Path = DEFAULT_POLICY) -> "Policy":
        """Read a policy.

        Raises
        ------
        EcgsynthError
            If there is no such file, or it is no policy.
        """
        path = place(path)
        if not path.is_file():
            raise EcgsynthError(f"no policy at {path}: `ecgsynth audit --write-policy policy.toml` writes one to begin with")
        try:
            data = of_toml(path)
        except ValueError as error:
            raise EcgsynthError(f"{path} is not TOML ({error})") from error
        rules = data.pop("rule", [])
        _refuse_unknown(path, data, ["learnt_here"])
        if not isinstance(rules, list) or not rules:
            raise EcgsynthError(f"{path} has no [[rule]]: a policy without rules lets everything pass")
        if not isinstance(learnt_here := data.get("learnt_here", True), bool):
            raise EcgsynthError(f"{path}: learnt_here is true or false, not {learnt_here!r}")
        return cls(tuple(_rule(path, rule) for rule in rules), learnt_here)

    @property
    def needs(self) -> dict[str, list[str]]:
        """The classifiers and rows of an evaluation that the rules ask about, with the rows of copies that these are held against."""
        asked = [
            (row, name)
            for row, named in _NAMED_IN_MEASURES.items()
            for name in CLASSIFIERS
            if any(fnmatchcase(f"{rate} of {named}, {name}", rule.measure) for rate in _RATES for rule in self.rules)
        ]
        classifiers = [name for name in CLASSIFIERS if name in {name for _, name in asked}]
        rows = [row for row in _NAMED_IN_MEASURES if row in {row for row, _ in asked} - {"synthetic", "real"}]
        rows += [ROWS[row].copies for row in rows if ROWS[row].copies]
        return {"classifiers": classifiers or list(CLASSIFIERS)[:1], "rows": ["real", "synthetic", "memorizer", *rows]}


_RATES = ("macro-F1", "F1", "Se", "+P", *(f"{line} {rate}" for line in ("SVEB", "VEB") for rate in ("Se", "+P", "FPR", "Acc")))
_NAMED_IN_MEASURES = {"synthetic": "TSTR", "real": "TRTR", "real-on-synthetic": "TRTS"}
_NAMED_IN_MEASURES |= {row: f"{row} over real" for row in ("real+quarter", "real+half", "real+synthetic")}


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a number, or of there being none.

    Parameters
    ----------
    rule : Rule
        The rule.
    score : Score or None
        The number; None where there is none that it is about.
    breaches : tuple of str
        The limits broken; empty where it holds.
    """

    rule: Rule
    score: Score | None
    breaches: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is broken."""
        return not self.breaches

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain JSON."""
        return {
            "measure": self.score.measure if self.score else self.rule.measure,
            "label": self.score.label if self.score else self.rule.label,
            "holds": self.holds,
            "breaches": list(self.breaches),
            "why": self.rule.why,
            "score": self.score.to_dict() if self.score else None,
        }

    def __str__(self) -> str:
        label = self.score.label if self.score else self.rule.label
        name = f"{self.score.measure if self.score else self.rule.measure} ({label})" if label != "*" else self.rule.measure
        found = str(self.score.value) if self.score else "not measured" if self.rule.optional else ""
        return f"{'holds' if self.holds else 'FAILS'}  {name:<52} {'; '.join(self.breaches) or found}".rstrip()


def audit(scores: Sequence[Score], policy: Policy, *, learnt_here: bool, released: Sequence[str] = ()) -> list[Verdict]:
    """Hold what was found against a policy.

    Parameters
    ----------
    scores : sequence of Score
        Of `Evaluation.scores`.
    policy : Policy
        The limits.
    learnt_here : bool
        Whether the beats are of a model that learnt from the train side of the split, or from nobody.
    released : sequence of str
        The classes of the beats: each must have been measured, by every rule that is about single classes.

    Returns
    -------
    list of Verdict
        One for each rule and number that it is about: released may be what they all hold for.
    """
    verdicts = []
    if policy.learnt_here:
        rule = Rule("learnt from this train side", at_least=1, why="beats of other origin cannot be shown to be private here")
        verdicts.append(Verdict(rule, None, () if learnt_here else ("they are of another model, or do not say of which",)))
    measured = {score.label for score in scores}
    for label in released:
        if label not in measured:
            rule = Rule("any", label, at_least=0, why="too few real beats of a class to measure it by: nothing is known of those released")
            verdicts.append(Verdict(rule, None, (f"class {label} is not measured",)))
    for rule in policy.rules:
        found = [score for score in scores if rule.finds(score)]
        verdicts += [Verdict(rule, score, tuple(rule.breaches(score))) for score in found]
        known = {score.label for score in found}
        if known & set(released) and not rule.optional:  # a class may be known to classifiers, and its beats too few for the rest
            missing = [name for name in released if name in measured - known and fnmatchcase(name, rule.label)]
            verdicts += [Verdict(replace(rule, label=name), None, (f"class {name} is not measured",)) for name in missing]
        if not found:
            verdicts.append(Verdict(rule, None, () if rule.optional else ("not measured",)))
    return verdicts


def _rule(path: str | Path, data: Any) -> Rule:
    if not isinstance(data, dict) or "measure" not in data:
        raise EcgsynthError(f"{path}: each [[rule]] needs a measure")
    _refuse_unknown(path, data, [field.name for field in fields(Rule)])
    numbers = (*_LIMITS, "where_real_at_least")
    strange = [name for name in numbers if name in data and (isinstance(data[name], bool) or not isinstance(data[name], int | float))]
    strange += [name for name in ("measure", "label", "end", "why") if not isinstance(data.get(name, ""), str)]
    if not isinstance(data.get("optional", False), bool):
        strange.append("optional")
    if strange:
        raise EcgsynthError(f"{path}: {', '.join(strange)} of the rule for {data['measure']!r} cannot be read")
    return Rule(**data)


def _refuse_unknown(path: str | Path, data: dict[str, Any], known: Sequence[str]) -> None:
    if strange := sorted(set(data) - set(known)):
        raise EcgsynthError(f"{path}: unknown {', '.join(strange)}; known: {', '.join(known)}")
