"""The question that the demo answers by resampling, its data, and the estimate.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13 (percentile interval).
The data: Gorman, Williams and Fraser (2014), PLoS ONE 9(3): e90081, in the public domain (CC0).
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from importlib.resources import files
from statistics import fmean, quantiles
from typing import Final

FIRST: Final = "Chinstrap"
SECOND: Final = "Adelie"
TIMES: Final = 10_000
SEED: Final = 2014

_FORTIETHS: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Body masses of two species, in grams."""

    first_g: list[int]
    second_g: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The difference of the means, in grams, and its 95 % percentile interval."""

    observed_g: float
    low_g: float
    high_g: float
    values_g: list[float]
    calls_per_s: float

    @property
    def interval(self) -> str:
        """The interval in words."""
        return f"{signed(self.low_g)} g to {signed(self.high_g)} g"

    @property
    def verdict(self) -> str:
        """What the interval says about the question."""
        if self.low_g <= 0 <= self.high_g:
            return f"{self.interval} holds zero: these birds do not tell."
        heavier = FIRST if self.low_g > 0 else SECOND
        return f"{self.interval} leaves zero out: {heavier} penguins are heavier."


def signed(grams: float) -> str:
    """Write a whole number with its sign; zero has none."""
    return f"{grams:+.0f}".replace("-", "\N{MINUS SIGN}") if round(grams) else "0"


def read_penguins() -> Question:
    """Read the body masses; birds that were not weighed are left out."""
    text = files("fanfold_server.demo").joinpath("penguins.csv").read_text(encoding="utf-8")
    masses: dict[str, list[int]] = {}
    for row in csv.DictReader(text.splitlines()):
        if row["body_mass_g"]:
            masses.setdefault(row["species"], []).append(int(row["body_mass_g"]))
    return Question(first_g=masses[FIRST], second_g=masses[SECOND])


def body(question: Question, *, service: str, parallel: int | None) -> str:
    """Write the request's body: the data travel as keyword arguments."""
    parameters = {"first": question.first_g, "second": question.second_g}
    members: dict[str, object] = {
        "times": TIMES,
        "parallelFlag": True,
        "service": service,
        "seed": SEED,
        "parameters": json.dumps(parameters, separators=(",", ":")),
    }
    if parallel is not None:
        members["parallel"] = parallel
    return json.dumps(members)


def estimate(question: Question, values_g: list[float], *, elapsed_s: float) -> Estimate:
    """Turn the resampled differences into an interval."""
    cuts = quantiles(values_g, n=_FORTIETHS, method="inclusive")
    return Estimate(
        observed_g=fmean(question.first_g) - fmean(question.second_g),
        low_g=cuts[0],
        high_g=cuts[-1],
        values_g=values_g,
        calls_per_s=len(values_g) / elapsed_s,
    )
