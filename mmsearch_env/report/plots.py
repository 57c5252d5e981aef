"""Plots over agents: how often each is right, and how much each searches for it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmsearch_env.errors import ConfigurationError, missing_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _SOFT, _LINE = "#1d2127", "#5c646e", "#e3e1da"
# Told apart by readers with any colour vision, and in grey.
_PARTS = (("true", "needs search", "#2560a8"), ("false", "needs no search", "#d98c1f"))
_KINDS = (("text", "text", "#2560a8"), ("image", "whole picture", "#d9b3e6"), ("crop", "region of it", "#8a3fa8"))
_WIDTH, _PER_ROW, _MARGIN = 7.6, 0.62, 0.12  # inches

Summaries = Sequence[Mapping[str, Any]]


def plot_accuracy(summaries: Summaries, path: str | os.PathLike[str]) -> None:
    """Draw each agent's accuracy with its 95 % interval, over tasks that need search and tasks that do not.

    Args:
        summaries: contents of `summary.json`, one per agent, the first on top.
        path: the PNG file to write.

    Raises:
        ConfigurationError: if there are no summaries.
        MissingExtraError: if matplotlib is not installed.
    """
    figure, axes = _figure(summaries)
    height = 0.36
    for offset, (part, label, colour) in zip((-height / 2, height / 2), _PARTS, strict=True):
        rows = [
            (y, row["by"]["needs_search"][part]) for y, row in enumerate(summaries) if part in row["by"]["needs_search"]
        ]
        if not rows:
            continue
        places = [y + offset for y, _ in rows]
        shares = [100 * row["accuracy"] for _, row in rows]
        lows = [max(100 * (row["accuracy"] - row["accuracy_ci95"][0]), 0) for _, row in rows]
        highs = [max(100 * (row["accuracy_ci95"][1] - row["accuracy"]), 0) for _, row in rows]
        counts = sorted({int(row["episodes"]) for _, row in rows})
        known = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
        axes.barh(places, shares, height, color=colour, label=f"{label} (n = {known})")
        axes.errorbar(shares, places, xerr=(lows, highs), fmt="none", ecolor=_INK, elinewidth=1.1, capsize=2.5)
        for place, share, high in zip(places, shares, highs, strict=True):
            axes.text(share + high + 1.2, place, f"{share:.0f}", va="center", color=_INK, fontsize=9)
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("accuracy, % (whiskers: 95 % Wilson interval)", color=_SOFT)
    _finish(figure, axes, "Accuracy", path)


def plot_searches(summaries: Summaries, path: str | os.PathLike[str]) -> None:
    """Draw each agent's mean searches per episode, by kind.

    Args:
        summaries: contents of `summary.json`, one per agent, the first on top.
        path: the PNG file to write.

    Raises:
        ConfigurationError: if there are no summaries.
        MissingExtraError: if matplotlib is not installed.
    """
    figure, axes = _figure(summaries)
    left = [0.0] * len(summaries)
    for kind, label, colour in _KINDS:
        widths = [float(row["searches"][kind]) for row in summaries]
        axes.barh(range(len(summaries)), widths, 0.56, left=left, color=colour, label=label)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    reach = max([*left, 0.1])
    for place, total in enumerate(left):
        axes.text(total + 0.012 * reach, place, f"{total:.2f}", va="center", color=_INK, fontsize=9)
    axes.set_xlim(0, 1.1 * reach)
    axes.set_xlabel("searches per episode", color=_SOFT)
    _finish(figure, axes, "Searches", path)


def _figure(summaries: Summaries) -> tuple[Figure, Axes]:
    if not summaries:
        raise ConfigurationError("Expected at least one summary to plot, got none.")
    try:
        # The Figure alone draws off screen and, unlike pyplot, keeps no state between plots.
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise missing_extra("matplotlib", "report") from error
    layout = ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN)
    figure = Figure(figsize=(_WIDTH, 1.7 + _PER_ROW * len(summaries)), dpi=160, layout=layout, facecolor="white")
    axes = figure.add_subplot()
    axes.set_yticks(range(len(summaries)), [str(row["agent"]) for row in summaries], fontsize=11)
    return figure, axes


def _finish(figure: Figure, axes: Axes, title: str, path: str | os.PathLike[str]) -> None:
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=_INK, pad=28)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, frameon=False, fontsize=9.5, borderaxespad=0.2)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_LINE)
    axes.tick_params(length=0, colors=_INK)
    axes.grid(axis="x", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    # Without the software's name the same results give the same bytes.
    figure.savefig(path, metadata={"Software": None})
