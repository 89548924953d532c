"""Medians and ratios of interleaved rounds, printed as the tables of the documentation."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Results:
    """Figures by row and peer, one for each round; `better` is "more" or "less" for each row."""

    rows: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    units: dict[str, tuple[str, str]] = field(default_factory=dict)

    def note(self, row: str, peer: str, figure: float, unit: str, better: str = "more") -> None:
        """Keep one figure."""
        self.rows[row][peer].append(figure)
        self.units[row] = (unit, better)

    def table(self, ours: str, peer: str) -> str:
        """Return a Markdown table: medians with their range, and how many times better we are."""
        lines = [f"| work | {peer} | {ours} | {ours} is better by |", "|---|--:|--:|--:|"]
        for row, figures in self.rows.items():
            unit, better = self.units[row]
            theirs, mine = figures.get(peer), figures.get(ours)
            if not mine:
                continue
            ratio = "–"
            if theirs:
                a, b = statistics.median(mine), statistics.median(theirs)
                ratio = f"{(a / b if better == 'more' else b / a):.2f}×" if a and b else "–"
            lines.append(f"| {row} ({unit}) | {_spread(theirs)} | {_spread(mine)} | {ratio} |")
        return "\n".join(lines)


def _spread(figures: list[float] | None) -> str:
    if not figures:
        return "–"
    middle = statistics.median(figures)
    return f"{_short(middle)} ({_short(min(figures))}–{_short(max(figures))})"


def _short(figure: float) -> str:
    if figure >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.2f}" if figure >= 1 else f"{figure:.4f}"
