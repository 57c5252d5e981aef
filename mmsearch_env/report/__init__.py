"""Evaluations as a page and as plots; needs the extra `report`."""

from mmsearch_env.report.choosing import choose_episodes
from mmsearch_env.report.learning import Training, reward_rise
from mmsearch_env.report.page import write_report
from mmsearch_env.report.plots import plot_accuracy, plot_searches
from mmsearch_env.report.runs import Run, load_run

__all__ = [
    "Run",
    "Training",
    "choose_episodes",
    "load_run",
    "plot_accuracy",
    "plot_searches",
    "reward_rise",
    "write_report",
]
