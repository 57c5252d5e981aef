"""What README and docs show works when pasted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPETS = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs_when_pasted(code, tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_pointed_to_exists(page):
    text = page.read_text()
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    targets += re.findall(r"`((?:benchmarks|examples|worldgen|docs)/[\w./-]+)`", text)
    for target in targets:
        assert (page.parent / target).exists() or (ROOT / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_is_one(page):
    commands = re.findall(r"^mmsearch (\w+)", page.read_text(), re.MULTILINE)
    code = "from mmsearch_env.cli import main; main()"
    shown = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True).stdout
    assert [command for command in commands if command not in shown] == []


@pytest.mark.parametrize("name", ["scripted_agents", "region_search"])
def test_the_tables_of_the_readme_are_those_that_were_measured(name):
    lines = (ROOT / "benchmarks" / "results" / f"{name}.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    shown = (ROOT / "README.md").read_text()
    assert len(rows) >= 3
    assert [row for row in rows if row not in shown] == []
