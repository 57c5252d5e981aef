"""Training stops between updates once its time is over."""

from __future__ import annotations

from typing import Any

from mmsearch_agents import train
from mmsearch_agents.time_budget import TimeBudget


class Endless:
    """A source without end, and a learner to which each update costs a second."""

    def __init__(self, monkeypatch):
        self.clock, self.learned = 0.0, []
        monkeypatch.setattr("mmsearch_agents.time_budget.time.monotonic", lambda: self.clock)

    def batches(self, learner):
        while True:
            yield [self]

    reward = 1.0

    def learn(self, trajectories):
        self.clock += 1
        return {}


def test_the_update_that_is_under_way_is_finished_and_no_other_begun(monkeypatch):
    endless: Any = Endless(monkeypatch)
    assert len(train(endless, TimeBudget(endless, 3.5))) == 4
    assert len(train(endless, TimeBudget(endless, 3.0))) == 3


def test_at_least_one_update_is_made(monkeypatch):
    endless: Any = Endless(monkeypatch)
    assert len(train(endless, TimeBudget(endless, 0.0))) == 1
