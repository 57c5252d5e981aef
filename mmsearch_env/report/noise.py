"""What can be told from noisy figures: smoothed curves with intervals, and whether a rise is more than noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression, variance

# The 97.5 % points of Student's t for 1, 2, … degrees of freedom.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def smooth(values: Sequence[float], window: int = 9) -> list[Estimate]:
    """Return for each value the mean of those around it, and how sure that mean is.

    The interval follows from the scatter of the values in the window (Student, 1908) and nothing else: whatever makes
    them vary, tasks or sampling, is in it. A trend inside the window widens it.

    Args:
        values: figures in order, e.g. the mean reward of each batch.
        window: how many values a mean is over; fewer at both ends.
    """
    reach = window // 2
    return [_mean(values[max(0, place - reach) : place + reach + 1]) for place in range(len(values))]


@dataclass(frozen=True, slots=True)
class Rise:
    """How much a straight line through some figures rises: its two ends, the difference and its 95 % interval."""

    first: float
    last: float
    difference: Estimate

    @property
    def beyond_noise(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.difference.low > 0

    def __str__(self) -> str:
        one = self.difference
        verdict = "a rise beyond the noise" if self.beyond_noise else "no rise beyond the noise"
        return (
            f"from {self.first:.3f} to {self.last:.3f}, by {one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f}, 95 % "
            f"interval from the scatter about the line): {verdict}"
        )


def rise(values: Sequence[float]) -> Rise | None:
    """Lay a straight line through `values` by least squares; None if there are fewer than six.

    The interval is Student's for the rise of the line. Where the figures bend, its ends are not theirs, and may lie
    beyond what a figure can be; it tells whether they rise, and not by how much the last lies above the first.
    """
    count = len(values)
    if count < 6:
        return None
    risen = [value - values[0] for value in values]  # exactly 0 where nothing changes, so that no rounding is a rise
    slope, start = linear_regression(range(count), risen)
    missed = math.fsum((value - start - slope * place) ** 2 for place, value in enumerate(risen))
    error = math.sqrt(missed / (count - 2) / (count * (count**2 - 1) / 12))
    first, span = values[0] + start, count - 1
    difference, spread = slope * span, _t95(count - 2) * error * span
    return Rise(first, first + difference, Estimate(difference, difference - spread, difference + spread))


def sign_test(gained: int, lost: int) -> float:
    """Return how probable it is that changes are shared out at least so unevenly by chance (McNemar, 1947; exact)."""
    changed = gained + lost
    tail = sum(math.comb(changed, few) for few in range(min(gained, lost) + 1))
    return min(1.0, 2 * math.ldexp(tail, -changed))


def _mean(values: Sequence[float]) -> Estimate:
    mean = fmean(values)
    if len(values) < 2:
        return Estimate(mean, mean, mean)
    spread = _t95(len(values) - 1) * math.sqrt(variance(values) / len(values))
    return Estimate(mean, mean - spread, mean + spread)


def _t95(freedom: int) -> float:
    """Return the 97.5 % point of Student's t; beyond the table by two terms of Abramowitz and Stegun's 26.7.5."""
    if freedom <= len(_T95):
        return _T95[max(freedom, 1) - 1]
    first, second = (_Z95**3 + _Z95) / 4, (5 * _Z95**5 + 16 * _Z95**3 + 3 * _Z95) / 96
    return _Z95 + first / freedom + second / freedom**2
