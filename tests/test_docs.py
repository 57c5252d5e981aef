"""What README and docs show works when pasted.

Servers and checkpoints that a snippet names are replaced by ones on this machine that speak the same format.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loopback import Loopback, json_answer
from tests.loopback_providers import Catalogue, WebPage, serve
from tests.tiny_detectors import write_transformers_checkpoint

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLLOWING = {"learners.md"}
"""Pages whose snippets follow one another, and so are one."""


def blocks(page):
    """Return what a page shows to be pasted."""
    found = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    return ["\n".join(found)] if page.name in FOLLOWING else found


SNIPPETS = [
    pytest.param(code, id=f"{page.name}-{number}") for page in PAGES for number, code in enumerate(blocks(page))
]
TABLES = {
    "scripted_agents": "README.md",
    "region_search": "README.md",
    "croppers": "docs/tools.md",
    "sb3_ppo": "docs/learners.md",
    "tiny_policies": "docs/learners.md",
}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """What to put in the place of addresses and names that only the web knows."""
    reply = {"choices": [{"index": 0, "message": {"content": "A summary."}, "finish_reason": "stop"}]}
    tower = WebPage(title="Eiffel Tower", text="The Eiffel Tower is a lattice tower in Paris.")
    detector = write_transformers_checkpoint(tmp_path_factory.mktemp("detector"))
    with Loopback({"/v1/chat/completions": json_answer(reply)}) as chat, serve("mediawiki", Catalogue([tower])) as wiki:
        yield {
            "http://127.0.0.1:8000/v1": chat.url("/v1"),
            "https://simple.wikipedia.org/w/api.php": wiki.url("/w/api.php"),
            "IDEA-Research/grounding-dino-tiny": str(detector),
        }


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs_when_pasted(code, stand_ins, tmp_path):
    for name, stand_in in stand_ins.items():
        code = code.replace(name, stand_in)
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


def test_what_is_said_of_the_tiny_policies_is_what_was_measured():
    results = json.loads((ROOT / "benchmarks" / "results" / "tiny_policies.json").read_text())
    rows = {name: row["greedy"]["all"]["accuracy"] for name, row in results["agents"].items()}
    trained = [accuracy for name, accuracy in rows.items() if name.startswith("GRPO, seed")]
    gains = [accuracy - rows["tiny-sft"] for accuracy in trained]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"from {rows['tiny-sft']} per cent of atlas test to {trained[0]}, {trained[1]} and {trained[2]}" in readme
    learners = " ".join((ROOT / "docs" / "learners.md").read_text().split())
    each = ", ".join(f"{gain:+.1f}" for gain in gains)
    assert f"GRPO adds {sum(gains) / 3:.1f} points to `tiny-sft` (three seeds: {each})" in learners
    read = results["agents"]["tiny-base"]["reading"]
    assert f"`tiny-base` reads {read['all']} % of {read['tasks']} answers" in learners


@pytest.mark.parametrize(("name", "page"), TABLES.items())
def test_the_tables_that_are_shown_are_those_that_were_measured(name, page):
    lines = (ROOT / "benchmarks" / "results" / f"{name}.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    shown = (ROOT / page).read_text()
    assert len(rows) >= 3
    assert [row for row in rows if row not in shown] == []
