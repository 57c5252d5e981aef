"""The metadata lists what is on disk, and everything that CI installs is pinned."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
TESTED_EXTRAS = ("agents", "deepspeed", "encoders", "sb3", "record", "report", "saliency", "tensorboard", "dev")


@pytest.fixture(scope="module")
def metadata():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {
        canonicalize_name(pin.name): pin
        for pin in map(Requirement, (line for line in lines if not line.startswith("#")))
    }


def folders(metadata):
    """The folder of each package that setup.cfg lists."""
    roots = dict(line.split(" = ") for line in metadata["options"]["package_dir"].strip().splitlines())
    for package in metadata["options"]["packages"].split():
        known = max((root for root in roots if f"{package}.".startswith(f"{root}.")), key=len)
        yield package, ROOT.joinpath(roots[known], *package[len(known) :].split("."))


def test_every_package_on_disk_is_listed(metadata):
    listed = set(metadata["options"]["packages"].split()) - {"mmsearch_env.fixtures"}
    on_disk = set()
    for root, package in ((ROOT, "mmsearch_env"), (ROOT / "agents", "mmsearch_agents")):
        for init in (root / package).rglob("__init__.py"):
            on_disk.add(".".join(init.parent.relative_to(root).parts))
    assert listed == on_disk


def test_every_data_file_on_disk_goes_into_the_wheel(metadata):
    packed, on_disk = set(), set()
    for package, folder in folders(metadata):
        for pattern in metadata["options.package_data"].get(package, "").split():
            packed |= {path for path in folder.glob(pattern) if path.is_file()}
    for root in ("mmsearch_env", "agents", "fixtures"):
        on_disk |= {path for path in (ROOT / root).rglob("*") if path.is_file()}
    on_disk = {path for path in on_disk if path.suffix not in {".py", ".pyc"}}
    assert sorted(packed) == sorted(on_disk)


def test_a_pattern_of_data_files_that_matches_nothing_is_a_mistake(metadata):
    for package, folder in folders(metadata):
        if package != "mmsearch_env.fixtures":  # those are what any bundled world may hold
            for pattern in metadata["options.package_data"].get(package, "").split():
                assert next(folder.glob(pattern), None), f"{package}: {pattern}"


def test_every_extra_of_the_contract_is_there(metadata):
    extras = set(metadata["options.extras_require"])
    assert {"agents", "sb3", "grounding", "record", "report", "dev", "all"} <= extras


def test_pyproject_holds_no_metadata():
    assert "[project]" not in (ROOT / "pyproject.toml").read_text()


def test_everything_that_is_installed_for_the_tests_is_pinned_within_its_range(metadata, pins):
    wanted = [metadata["options"]["install_requires"]]
    wanted += [metadata["options.extras_require"][extra] for extra in TESTED_EXTRAS]
    for requirement in (Requirement(line) for block in wanted for line in block.strip().splitlines()):
        assert canonicalize_name(requirement.name) in pins, requirement
        (pin,) = pins[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(pin.version), f"{requirement}, pinned {pin}"


def test_a_pin_is_one_public_version(pins):
    for pin in pins.values():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), pin
        assert pin.url is None, pin


def test_the_pins_are_closed_under_dependencies(pins):
    installed = {canonicalize_name(found.name): found.requires or [] for found in importlib.metadata.distributions()}
    for name in sorted(set(pins) & set(installed)):
        for needed in map(Requirement, installed[name]):
            applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
            if applies and canonicalize_name(needed.name) in installed:
                assert canonicalize_name(needed.name) in {*pins, "setuptools"}, f"{name}: {needed}"


def test_the_version_is_told_by_the_package_and_the_changelog():
    (version,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / "mmsearch_env" / "version.py").read_text(), re.MULTILINE)
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.skipif(os.name == "nt", reason="needs make and a POSIX shell")
def test_make_lists_every_target():
    targets = set(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())
    told = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {line.split()[1] for line in told.splitlines()} == targets
    assert {"demo", "test", "lint", "atlas", "bench", "clean"} <= targets


def test_continuous_integration_runs_what_a_developer_runs():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"
