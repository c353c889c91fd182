"""The figures: what each is called, what it must reach, and the table of what was measured."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Figure:
    """`must` is the least that will do and `aim` what is hoped for; the most, where `at_most`.

    A `share` has no spread: it counts edits that are as they should be, or is of all edits together.
    """

    name: str
    must: float | None = None
    aim: float | None = None
    at_most: bool = False
    share: bool = False
    digits: int = 3


FIGURES = (
    Figure("parse right", 0.98, share=True),
    Figure("mask IoU", 0.85),
    Figure("object found", 0.95, share=True),
    Figure("absent object refused", 0.95, share=True),
    Figure("right one of two", 0.90, share=True),
    Figure("judge on true renders, kind", 0.98, share=True),
    Figure("judge on true renders, colour", 0.98, share=True),
    Figure("replace, asked kind", 0.99, share=True),
    Figure("replace, asked colour", 0.99, share=True),
    Figure("replace, old kind seen", 0.0, at_most=True, share=True),
    Figure("replace, background in the corners: PSNR, dB", 38, digits=1),
    Figure("replace, background in the corners: share that is exact", aim=1.0),
    Figure("replace, sharpness against a true render", 0.82, 0.9),
    Figure("recolour, same kind", share=True),
    Figure("recolour, asked colour", share=True),
    Figure("recolour, gradient correlation with the truth", 0.93, 0.97),
    Figure("recolour, PSNR to the truth, object + 3 px, dB", 23, 27, digits=1),
    Figure("recolour, parts that are not paint: ΔE2000", 2, 1, at_most=True, digits=2),
    Figure("recolour to #RRGGBB, paint: ΔE2000", 6, 3, at_most=True, digits=2),
    Figure("remove, no object seen", 0.90, share=True),
    Figure("remove, PSNR to the truth in the mask, dB", 32, 35, digits=1),
    Figure("remove, shadow left", 0.05, 0.01, at_most=True),
    Figure("edit_score, area under the curve", 0.9, 0.97, share=True),
    Figure("edit_score, wrong after automatic tries over before", 0.4, 0.2, at_most=True, share=True),
    Figure("edit_score, right edits tried again", at_most=True, share=True),
    Figure("edit_score, server could look", share=True),
    Figure("background untouched", 1.0, share=True),
    Figure("edit answered", share=True),
)
BY_NAME = {figure.name: figure for figure in FIGURES}


@dataclass
class Tally:
    """Collects values by the name of their figure, and figures that are no mean of values."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    whole: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, value: float | bool) -> None:
        """Raises KeyError for a name that is not in FIGURES."""
        self.values[BY_NAME[name].name].append(float(value))

    def put(self, name: str, value: float, *, count: int) -> None:
        """A figure as it is, of `count` edits."""
        self.whole[BY_NAME[name].name] = {"value": round(value, 4), "count": count}

    def figures(self) -> dict[str, dict[str, Any]]:
        """By name, in the order of FIGURES: the mean as `value`, the `count` and, but for shares, how it spreads."""
        means = {name: summary(BY_NAME[name], values) for name, values in self.values.items()}
        measured = means | self.whole
        return {figure.name: measured[figure.name] for figure in FIGURES if figure.name in measured}


def summary(figure: Figure, values: list[float]) -> dict[str, Any]:
    """`value` is the mean (of dB, too); a tenth of the edits is no better than `worst tenth`."""
    parts = {"value": np.mean(values)}
    if not figure.share:
        parts |= {"median": np.median(values), "worst tenth": np.percentile(values, 90 if figure.at_most else 10)}
    return {part: round(float(value), 4) for part, value in parts.items()} | {"count": len(values)}


def table(figures: dict[str, dict[str, Any]]) -> str:
    """A Markdown table of what `Tally.figures` gave."""
    lines = ["| figure | measured | median | worst tenth | must | aim | of |", "|---|---|---|---|---|---|---|"]
    for name, measured in figures.items():
        figure = BY_NAME[name]
        sign = "≤" if figure.at_most else "≥"
        spread = [_shown(measured.get(part), figure) for part in ("value", "median", "worst tenth")]
        wanted = [f"{sign} {limit:g}" if limit is not None else "" for limit in (figure.must, figure.aim)]
        lines.append(f"| {' | '.join([name, *spread, *wanted, str(measured['count'])])} |")
    return "\n".join(lines)


def _shown(value: float | None, figure: Figure) -> str:
    return "" if value is None else f"{value:.{figure.digits}f}"
