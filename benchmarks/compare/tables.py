"""Repeats made into a table: medians, ratios within each repeat, targets, and the table's place in a README."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

BEGIN, END = "<!-- compare: begin -->", "<!-- compare: end -->"
COLUMNS = ("measured", "Recast", "rival", "rival's", "ratio (least … most)", "target", "met")


class Target(NamedTuple):
    """`sign` is ≥ or ≤, of the ratio Recast / rival."""

    sign: str
    value: float

    def met(self, ratio: float) -> bool:
        return ratio >= self.value if self.sign == "≥" else ratio <= self.value

    def __str__(self) -> str:
        return f"{self.sign} {self.value:.2f}"


@dataclass(frozen=True)
class Row:
    """One line of the table, as it is printed."""

    measured: str
    recast: str
    rival: str
    rivals: str
    ratio: str = ""
    target: str = ""
    met: str = ""


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Recast / rival within each repeat."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def compared(
    measured: str, ours: Sequence[float], rival: str, theirs: Sequence[float], target: Target | None = None
) -> Row:
    """A row of two systems' values, one a repeat; the median of the repeats' ratios decides on the target."""
    each = ratios(ours, theirs)
    middle = statistics.median(each)
    spread = f" ({min(each):.2f} … {max(each):.2f})" if len(each) > 1 else ""
    return Row(
        measured,
        f"{statistics.median(ours):.2f}",
        rival,
        f"{statistics.median(theirs):.2f}",
        f"{middle:.2f}{spread}",
        str(target) if target else "",
        said(target.met(middle)) if target else "",
    )


def said(met: bool) -> str:
    return "yes" if met else "**no**"


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(astuple(row)) + " |" for row in rows)])


def renewed(page: str, content: str) -> str:
    """The page with `content` between its two markers; ValueError unless it has exactly one pair."""
    pattern = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)
    page, count = pattern.subn(lambda _: f"{BEGIN}\n{content}\n{END}", page)
    if count != 1:
        raise ValueError(f"the page has {count} places between {BEGIN} and {END}; it should have one")
    return page
