"""A recipe: all that says what a dataset of synthetic beats is made of, as TOML."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

from ecgsynth.errors import EcgsynthError
from ecgsynth.formats import FORMATS
from ecgsynth.generators import Request
from ecgsynth.generators.requests import MOST_BEATS, Interval
from ecgsynth.places import place
from ecgsynth.untrusted import SEEDS, of_toml

GATES = ("drop", "mark", "none")
"""What becomes of beats that the gate holds back: they are drawn again, they stay and are marked, or the gate is not asked.

What is not finite is drawn again in any case."""

MOST_QUOTAS, MOST_SPLITS = 1000, 20

_KINDS: dict[str, Any] = {"quotas": list | tuple, "formats": list | tuple, "splits": dict, "seed": int, "most_rejected": int | float}
_NAME = re.compile(r"[a-z][a-z0-9]*")


@dataclass(frozen=True)
class Quota:
    """So many beats of a label.

    Parameters
    ----------
    label : str
        AAMI class or symbol, as the model tells beats apart.
    count : int
        How many.
    lead : str, optional
        Of this lead only.
    rr_before, rr_after : (float, float), optional
        Whose RR intervals lie between these, s.
    """

    label: str
    count: int
    lead: str | None = None
    rr_before: Interval | None = None
    rr_after: Interval | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not isinstance(self.count, int) or isinstance(self.count, bool):
            raise EcgsynthError(f"a quota is a label and a whole number, not {self.label!r} and {self.count!r}")
        if self.lead is not None and (not isinstance(self.lead, str) or not self.lead):
            raise EcgsynthError(f"a quota's lead is a name, not {self.lead!r}: leave it out for any")
        if not all(math.isfinite(end) for interval in (self.rr_before, self.rr_after) for end in interval or ()):
            raise EcgsynthError("RR intervals lie between two numbers, neither of them infinite")
        self.request(self.count, seed=0, first=0)  # which refuses what cannot be asked for

    def request(self, count: int, *, seed: int, first: int) -> Request:
        """Ask for so many beats of this quota from number `first` on."""
        asked = {name: getattr(self, name) for name in ("lead", "rr_before", "rr_after")}
        return Request({self.label: count}, seed=seed, first=first, **asked)


@dataclass(frozen=True)
class Recipe:
    """What a dataset is made of; the same recipe makes the same dataset.

    Parameters
    ----------
    model : str
        A model file, or the name of one that comes with ecgsynth.
    quotas : sequence of Quota
        Which beats; `MOST_BEATS` and `MOST_QUOTAS` at most.
    seed : int
        Of sampling.
    formats : sequence of str
        Of `ecgsynth.formats.FORMATS`.
    splits : mapping of str to float
        Name -> share of each quota; they add up to 1. `MOST_SPLITS` at most.
    gate : str
        Of `GATES`.
    gate_file : str
        A gate file; if not given, the one that comes with ecgsynth for the model's own training beats.
    most_rejected : float
        The share of a label's beats that the gate may hold back; more, beyond chance, and the build stops.
    name, description, licence, date : str
        For the cards; the licence by its SPDX name, if one is given, the date of publication as 2026-01-31.
    run : str
        A folder of `ecgsynth evaluate`, whose numbers the data card shows.

    Raises
    ------
    EcgsynthError
        If something of it cannot be.
    """

    model: str
    quotas: Sequence[Quota]
    seed: int = 0
    formats: Sequence[str] = FORMATS
    splits: Mapping[str, float] = field(default_factory=lambda: {"train": 1.0})
    gate: str = "drop"
    gate_file: str = ""
    most_rejected: float = 0.5
    name: str = "synthetic-beats"
    description: str = ""
    licence: str = ""
    date: str = ""
    run: str = ""

    def __post_init__(self) -> None:
        for known in fields(self):
            if not isinstance(getattr(self, known.name), _KINDS.get(known.name, str)):
                raise EcgsynthError(f"a recipe's {known.name} cannot be {getattr(self, known.name)!r}")
        if not self.quotas:
            raise EcgsynthError("a recipe asks for at least one beat: give counts, as in N = 5000")
        if sum(quota.count for quota in self.quotas) > MOST_BEATS:
            raise EcgsynthError(f"a recipe asks for at most {MOST_BEATS:,} beats in all: make several datasets of more")
        if len(self.quotas) > MOST_QUOTAS or len(self.splits) > MOST_SPLITS:
            raise EcgsynthError(f"a recipe has at most {MOST_QUOTAS:,} quotas and {MOST_SPLITS} splits: make several datasets of more")
        if not 0 <= self.seed < SEEDS or isinstance(self.seed, bool):
            raise EcgsynthError(f"seeds are numbered from 0, below {SEEDS:,}")
        for known_as in ("model", "name", "licence", "date", "description"):
            text = getattr(self, known_as)
            if not all(letter.isprintable() or (letter == "\n" and known_as == "description") for letter in text):
                raise EcgsynthError(f"a recipe's {known_as} has characters that cannot be printed: {text!r}")
        if not self.name.strip() or self.licence.isspace():
            raise EcgsynthError("a recipe's name is not empty, nor is a licence that it gives")
        if not self.formats or any(name not in FORMATS for name in self.formats):
            raise EcgsynthError(f"a recipe's formats are some of {', '.join(FORMATS)}, not {list(self.formats)}")
        if self.gate not in GATES:
            raise EcgsynthError(f"a recipe's gate is one of {', '.join(GATES)}, not {self.gate!r}")
        numbers = all(isinstance(share, int | float) and share > 0 for share in self.splits.values())
        if not numbers or not all(_NAME.fullmatch(name) for name in self.splits):
            raise EcgsynthError("splits have names of small letters and digits, as train, and shares above 0")
        if not math.isclose(sum(self.splits.values()), 1.0):
            raise EcgsynthError(f"the shares of the splits add up to {sum(self.splits.values()):g}, not to 1")
        if not 0 <= self.most_rejected < 1:
            raise EcgsynthError("most_rejected is a share of the beats: from 0 to below 1")

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        given: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        given["quotas"] = [{key: value for key, value in quota.items() if value is not None} for quota in given["quotas"]]
        return given

    def to_toml(self) -> str:
        """Write it out, so that `load_recipe` reads the same."""
        known = self.to_dict()
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in known.items() if key not in ("quotas", "splits")]
        lines += ["", "[splits]", *(f"{name} = {json.dumps(share)}" for name, share in self.splits.items())]
        for quota in known["quotas"]:
            lines += ["", "[[quotas]]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in quota.items())]
        return "\n".join(lines) + "\n"


def _quota(*, rr_before: Any = None, rr_after: Any = None, **given: Any) -> Quota:
    return Quota(**given, rr_before=_interval(rr_before), rr_after=_interval(rr_after))


def _interval(given: Any) -> Interval | None:
    if given is None:
        return None
    low, high = given
    return float(low), float(high)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    ``[counts]`` is a table of label = count; ``[[quotas]]`` are tables with more to say: label, count, and lead, rr_before and
    rr_after where wanted. Everything else is a setting of `Recipe`.

    Raises
    ------
    EcgsynthError
        If there is no such file, or it is no recipe.
    """
    path = place(path)
    if not path.is_file():
        raise EcgsynthError(f"no recipe at {path}")
    try:
        return read_recipe(of_toml(path))
    except ValueError as error:
        raise EcgsynthError(f"{path} is no recipe: {error}") from error


def read_recipe(given: Mapping[str, Any]) -> Recipe:
    """Make a recipe of what its file says; see `load_recipe`.

    Raises
    ------
    EcgsynthError
        If something is unknown, missing or cannot be.
    """
    known = {item.name for item in fields(Recipe)} | {"counts"}
    if strange := sorted(set(given) - known):
        raise EcgsynthError(f"unknown setting {', '.join(strange)}; known: {', '.join(sorted(known))}")
    if "model" not in given:
        raise EcgsynthError("it does not say which model")
    counts, quotas = given.get("counts", {}), given.get("quotas", [])
    try:
        asked = [Quota(label, count) for label, count in counts.items() if count]
        asked += [_quota(**quota) for quota in quotas]
    except (TypeError, ValueError, AttributeError) as error:
        raise EcgsynthError(f"a quota cannot be read: {error}") from error
    rest = {key: value for key, value in given.items() if key not in ("counts", "quotas")}
    if isinstance(rest.get("date"), date):  # which TOML has a form of its own for
        rest["date"] = rest["date"].isoformat()
    return Recipe(quotas=asked, **rest)
