"""The log of a training run: metrics as JSON lines and for TensorBoard, sample episodes, alarms, and progress."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from mmsearch_agents.alarms import Thresholds, alarms
from mmsearch_agents.learner import Learner, Source
from mmsearch_agents.processes import ALONE, Processes
from mmsearch_env.errors import TrajectoryError, missing_extra
from mmsearch_env.trajectory import Trajectory

METRICS, EPISODES = "metrics.jsonl", "episodes.jsonl"

_SHOWN = ("reward", "accuracy", "loss", "kl", "entropy")


class Board(Protocol):
    """What is needed of TensorBoard's `SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Note one figure."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class TrainingLog:
    """Writes down what happens in training; it is the `on_update` of `train`.

        with TrainingLog("runs/mine", total=100) as log:
            train(learner, log.watch(source), updates=100, on_update=log)

    metrics.jsonl   a line per update: `update`, the metrics, `seconds` of playing and learning, `tokens_per_second`
                    (of the episodes, prompts and all), and the `alarms` raised
    episodes.jsonl  a line per sample episode: `update`, question, moves, answer, reward
    tensorboard/    the figures again, if wanted

    Of several processes the main one writes and shows; its sample episodes are its own.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        total: int | None = None,
        begin: int = 0,
        thresholds: Thresholds | None = None,
        samples_every: int = 10,
        samples: int = 4,
        tensorboard: bool = False,
        console: Console | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """Write to `folder`.

        Args:
            folder: what it logged beyond update `begin` is dropped: it is played again from there.
            total: number of updates of the whole run, if it is known.
            begin: number of the first update: 0, or that of the checkpoint from which training goes on.
            thresholds: of the alarms; None for the usual ones.
            samples_every: after how many updates episodes are shown and noted.
            samples: how many of them.
            tensorboard: write event files as well.
            console: where progress is shown; None for standard error. Where that is no terminal, an update is a line.
            processes: that train; all call the log.

        Raises:
            MissingExtraError: if TensorBoard is wanted and not installed.
            TrajectoryError: if the log to go on with is broken.
        """
        self.folder = Path(folder)
        self._processes = processes
        self._history: list[dict[str, float]] = []
        if processes.main:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._history = _cut(self.folder / METRICS, begin)
            _cut(self.folder / EPISODES, begin)
        self._update, self._total = begin, total
        self._thresholds = Thresholds() if thresholds is None else thresholds
        self._every, self._samples = samples_every, samples
        self._board = _board(self.folder / "tensorboard", begin) if tensorboard and processes.main else None
        self._console = Console(stderr=True) if console is None else console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        shown = self._console.is_terminal and processes.main
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not shown)
        self._task: TaskID = self._bar.add_task("training", total=total, completed=begin)
        self._episodes: list[Trajectory] = []
        self._raised: set[str] = set()
        self._since = time.perf_counter()

    def __enter__(self) -> Self:
        self._bar.start()
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def watch(self, source: Source) -> Source:
        """Return the same source, whose episodes the log sees as they pass."""
        return _Watched(source, self)

    def see(self, trajectories: list[Trajectory]) -> None:
        """Take note of the episodes of the next update."""
        self._episodes = trajectories

    def __call__(self, update: int, metrics: Mapping[str, float]) -> None:
        """Log an update; `update` counts from where `train` began, the log from where training did."""
        read = sum(self._processes.gather(sum(len(trajectory) for trajectory in self._episodes)))
        if not self._processes.main:
            return
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        row: dict[str, Any] = {"update": self._update, **metrics, "seconds": round(seconds, 4)}
        if read:
            row["tokens_per_second"] = round(read / seconds, 1)
        self._history.append(dict(metrics))
        raised = {alarm.name: alarm.message for alarm in alarms(self._history, self._thresholds)}
        row["alarms"] = raised
        _append(self.folder / METRICS, row)
        if self._board is not None:
            for name, value in row.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, self._update)
        self._show(row, raised)
        if self._every and self._update % self._every == 0:
            self._show_samples()
        self._update += 1

    def _show(self, row: Mapping[str, Any], raised: Mapping[str, str]) -> None:
        figures = "  ".join(f"{name} {row[name]:.3f}" for name in _SHOWN if name in row)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._update + 1, description=figures)
        else:
            of = "" if self._total is None else f"/{self._total}"
            self._console.print(f"{self._update + 1}{of}  {figures}  {row['seconds']:.2f} s", highlight=False)
        for name in raised.keys() - self._raised:
            self._console.print(f"[bold red]{name}[/] {escape(raised[name])}", highlight=False)
        self._raised = set(raised)

    def _show_samples(self) -> None:
        # One episode each of different tasks first: the members of a group are much alike.
        by_task = {trajectory.task.id: trajectory for trajectory in reversed(self._episodes)}
        chosen = list(by_task.values())[::-1][: self._samples]
        if not chosen:
            return
        table = Table(title=f"update {self._update}", title_justify="left", show_lines=False)
        for name in ("question", "moves", "answer", "reward"):
            table.add_column(name, overflow="fold")
        for trajectory in chosen:
            sample = _sample(trajectory)
            _append(self.folder / EPISODES, {"update": self._update, **sample})
            answer = "–" if sample["answer"] is None else sample["answer"]
            moves = "\n".join(sample["moves"])
            table.add_row(escape(sample["question"]), escape(moves), escape(answer), f"{sample['reward']:.2f}")
        self._console.print(table)


class _Watched:
    def __init__(self, source: Source, log: TrainingLog) -> None:
        self._source, self._log = source, log

    def batches(self, learner: Learner) -> Iterator[list[Trajectory]]:
        """Yield the batches of the source."""
        for trajectories in self._source.batches(learner):
            self._log.see(trajectories)
            yield trajectories


def _sample(trajectory: Trajectory) -> dict[str, Any]:
    moves = []
    for turn in trajectory.turns:
        said = next((str(value) for value in turn.arguments.values()), "")
        moves.append(" ".join(part for part in (turn.kind, said, "(refused)" if turn.error else "") if part))
    return {
        "task": trajectory.task.id,
        "question": trajectory.task.question,
        "answers": list(trajectory.task.answers),
        "moves": moves,
        "answer": trajectory.answer,
        "reward": trajectory.reward,
    }


def read_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the lines of a log; a last one that was cut off is left out.

    Raises:
        TrajectoryError: if another line is broken.
    """
    file = Path(path)
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            row["update"] = int(row["update"])
        except (ValueError, KeyError, TypeError) as error:
            raise TrajectoryError(
                f"{file}, line {number}: Expected a line of a log, got {error!r}. Start anew."
            ) from error
        rows.append(row)
    return rows


def _cut(path: Path, begin: int) -> list[dict[str, float]]:
    """Drop the lines from update `begin` on; return the metrics of the others."""
    rows = [row for row in read_log(path) if row["update"] < begin]
    if path.exists():
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text("".join(_line(row) for row in rows), encoding="utf-8")
        partial.replace(path)
    return [{name: value for name, value in row.items() if isinstance(value, float)} for row in rows]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def _board(folder: Path, begin: int) -> Board:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_extra("tensorboard", "tensorboard") from error
    board: Board = SummaryWriter(str(folder), purge_step=begin)
    return board
