"""What the benchmarks share: repeated timing, the machine's description, and the table that each of them writes.

A benchmark is a module with `run(world, *, quick) -> Report` and `main()`. Times are given as the least and the median
of several repeats: on a shared machine the least one says what the code costs, the median what a user sees. Budgets are
about the median. Ratios are of the least times, and both sides of a ratio were measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median

from mmsearch_env import World, load_world

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("mmsearch-env", "gymnasium", "numpy", "tokenizers", "requests", "requests-cache")
SCALES = {"s": 1.0, "ms": 1e3, "µs": 1e6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        what: what was timed.
        unit: `s`, `ms` or `µs`.
        least: the least time of all repeats.
        median: their median.
        repeats: how many there were.
        reference: `what` of the row that this one is compared with, or None.
        budget: what the median may be at most, or None.
    """

    what: str
    unit: str
    least: float
    median: float
    repeats: int
    reference: str | None = None
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one benchmark.

    Attributes:
        name: names the files, e.g. `steps`.
        title: says in a line what was timed.
        rows: the table.
        notes: what to know when reading it.
    """

    name: str
    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = field(default=())

    def row(self, what: str) -> Row:
        """Return the row with this name.

        Raises:
            KeyError: if there is none.
        """
        return {row.what: row for row in self.rows}[what]

    def ratio(self, row: Row) -> float | None:
        """Return how many times the reference's least time a row takes, or None if it has no reference."""
        if row.reference is None:
            return None
        reference = self.row(row.reference)
        return row.least / SCALES[row.unit] / (reference.least / SCALES[reference.unit])


def time_calls(function: Callable[[], object], *, repeats: int, loops: int = 1) -> list[float]:
    """Call `function` `loops` times in each repeat, after one call that is not timed.

    Returns:
        Seconds per call, one number per repeat.
    """
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(loops):
            function()
        seconds.append((time.perf_counter() - start) / loops)
    return seconds


def as_row(
    what: str,
    seconds: Sequence[float],
    *,
    unit: str = "µs",
    reference: str | None = None,
    budget: float | None = None,
) -> Row:
    """Make a row of measured seconds; `budget` is in `unit`."""
    scale = SCALES[unit]
    least, middle = round(min(seconds) * scale, 4), round(median(seconds) * scale, 4)
    return Row(
        what=what,
        unit=unit,
        least=least,
        median=middle,
        repeats=len(seconds),
        reference=reference,
        budget=budget,
    )


def describe_machine() -> dict[str, object]:
    """Return processor, cores, load and versions."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def as_markdown(report: Report, machine: dict[str, object], date: str) -> str:
    """Word the report as a table with the machine and the notes below."""
    lines = [f"# {report.title}", "", f"`python -m benchmarks.{report.name}`, {date}", ""]
    lines += ["| what | least | median | compared with | times | budget |", "|---|---:|---:|---|---:|---:|"]
    for row in report.rows:
        ratio = report.ratio(row)
        cells = [
            row.what,
            f"{_number(row.least)} {row.unit}",
            f"{_number(row.median)} {row.unit}",
            row.reference or "",
            "" if ratio is None else _number(ratio),
            ""
            if row.budget is None
            else f"≤ {row.budget:g} {row.unit}{'' if row.median <= row.budget else ': missed'}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"* {note}" for note in report.notes]
    versions = machine["packages"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else ""
    lines.append(
        f"* Machine: {machine['processor']}, {machine['cores']} cores, load average {machine['load']}, "
        f"{machine['system']}, Python {machine['python']}, {named}."
    )
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """Round to three digits that count."""
    if value == 0:
        return "0"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}" if value >= 0.1 else f"{value:.2g}"


def write_report(report: Report, out: Path) -> None:
    """Write the table as `<name>.md` and, with all numbers, as `<name>.json`; print it."""
    machine, date = describe_machine(), datetime.now(UTC).date().isoformat()
    text = as_markdown(report, machine, date)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{report.name}.md").write_text(text, encoding="utf-8")
    content = {
        "name": report.name,
        "title": report.title,
        "date": date,
        "machine": machine,
        "rows": [asdict(row) | {"ratio": report.ratio(row)} for row in report.rows],
        "notes": list(report.notes),
    }
    (out / f"{report.name}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(text)


def main(run: Callable[..., Report], description: str, arguments: Sequence[str] | None = None) -> None:
    """Read the command line, run the benchmark and write its report.

    Args:
        run: `run(world, quick=…)`.
        description: what `--help` says.
        arguments: the command line; None takes the process's own.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--world", default="atlas", help="name of a bundled world, or a world's folder")
    parser.add_argument("--quick", action="store_true", help="a few repeats only, to see that it works")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(arguments)
    world: World = load_world(options.world)
    write_report(run(world, quick=options.quick), options.out)
