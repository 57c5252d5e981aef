"""The manifest of a world: `world.json`, which pins every other file by size and sha256."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmsearch_env.errors import WorldError
from mmsearch_env.worlds.problems import Problem

FORMAT_VERSION = 1
MANIFEST = "world.json"
TASKS, DOCUMENTS, PICTURES = "tasks.jsonl", "documents.jsonl", "images.jsonl"

_SHA256 = re.compile(r"[0-9a-f]{64}")


def canonical_json(value: Any, *, indent: int | None = None) -> bytes:
    """Write `value` as JSON in the one form that the hashes of a world rest on, with a final newline.

    Raises:
        ValueError: if `value` holds what JSON cannot (NaN included).
    """
    separators = (",", ": ") if indent else (",", ":")
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    return text.encode() + b"\n"


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return the bytes of `world.json`."""
    return canonical_json(dict(manifest), indent=1)


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """Return the hash of a world: sha256 of its manifest, and so of everything in it."""
    return hashlib.sha256(manifest_bytes(manifest)).hexdigest()


def file_entry(data: bytes) -> dict[str, Any]:
    """Return the manifest's entry for a file that holds `data`."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def path_fault(name: str) -> str | None:
    """Say why `name` may not be listed as a file of a world, or return None if it may."""
    parts = name.split("/")
    if name == MANIFEST:
        return f"Expected 'files' not to list {MANIFEST} itself, which cannot hold its own hash. Remove the entry."
    if (
        not name.isprintable()
        or name.startswith("/")
        or "\\" in name
        or ":" in name
        or any(part in ("", ".", "..") for part in parts)
    ):
        return (
            f"Expected a relative path inside the world's folder, got {name!r}. A world may not point outside itself."
        )
    return None


def inside(root: Path, name: str) -> Path | None:
    """Return the path of the world's file `name`, or None if it (or a link on the way) leads out of `root`."""
    path = root / name
    if (name != MANIFEST and path_fault(name)) or not Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(root)
    ):
        return None
    return path


def manifest_problems(manifest: object) -> list[Problem]:
    """Check the shape of a manifest, without looking at any other file."""

    def problem(message: str) -> Problem:
        return Problem(MANIFEST, None, message)

    if not isinstance(manifest, dict):
        return [problem(f"Expected a JSON object, got {type(manifest).__name__}.")]
    version = manifest.get("format_version")
    if type(version) is not int or version < 1:
        return [problem(f"Expected 'format_version' to be {FORMAT_VERSION}, got {version!r}. Is this a world?")]
    if version > FORMAT_VERSION:
        return [
            problem(
                f"Expected format version {FORMAT_VERSION}, got {version}: the world was written by a newer version "
                "of mmsearch-env. Upgrade with `pip install -U mmsearch-env`."
            )
        ]
    problems = [
        problem(f"Expected {key!r} to be a non-empty string, got {manifest.get(key)!r}.")
        for key in ("name", "version")
        if not isinstance(manifest.get(key), str) or not manifest[key]
    ]
    problems += [
        problem(f"Expected {key!r} to be a string or null, got {manifest[key]!r}.")
        for key in ("title", "licence", "description", "created_by", "encoder")
        if not isinstance(manifest.get(key), str | None)
    ]
    for key in ("counts", "splits"):
        counts = manifest.get(key)
        if not isinstance(counts, dict) or any(type(count) is not int or count < 0 for count in counts.values()):
            problems.append(problem(f"Expected {key!r} to map names to whole numbers, got {counts!r}."))
    files = manifest.get("files")
    if not isinstance(files, dict):
        return [*problems, problem(f"Expected 'files' to map paths to sizes and hashes, got {type(files).__name__}.")]
    for name, entry in files.items():
        fault = path_fault(name)
        if fault:
            problems.append(problem(fault))
        elif not _is_entry(entry):
            problems.append(problem(f'Expected {{"bytes": …, "sha256": …}} for {name!r}, got {entry!r}.'))
    problems += [
        problem(f"Expected 'files' to list {name!r}, which every world has. Write the world again.")
        for name in (TASKS, DOCUMENTS, PICTURES)
        if name not in files
    ]
    return problems


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == {"bytes", "sha256"}
        and type(entry["bytes"]) is int
        and entry["bytes"] >= 0
        and isinstance(entry["sha256"], str)
        and _SHA256.fullmatch(entry["sha256"]) is not None
    )


def parse_manifest(root: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Read `world.json` in `root`; return it (`{}` if it cannot be read) and what is wrong with it."""
    path = inside(root, MANIFEST)
    if path is None or not path.is_file():
        return {}, [Problem(MANIFEST, None, f"Expected a world's folder at {root}, but it has no {MANIFEST}.")]
    try:
        manifest = json.loads(path.read_bytes().decode())
        canonical_json(manifest)  # refuses NaN and broken Unicode, which have no hash
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        return {}, [Problem(MANIFEST, line, f"Expected JSON, got something else ({error}). Is the file whole?")]
    problems = manifest_problems(manifest)
    return (manifest if isinstance(manifest, dict) else {}), problems


def content_problem(root: Path, name: str, files: Mapping[str, Any]) -> tuple[bytes, Problem | None]:
    """Read the world's file `name`; return its bytes (as far as there are any) and what is wrong with them."""
    if name not in files:
        return b"", Problem(name, None, f"Expected the file to be listed in {MANIFEST}, but it is not.")
    path = inside(root, name)
    if path is None:
        return b"", Problem(name, None, "Expected a file inside the world's folder, got a path or a link out of it.")
    if not path.exists():
        return b"", Problem(name, None, "Expected the file that the manifest lists, but it is missing.")
    if not path.is_file():
        return b"", Problem(name, None, "Expected a file, got a folder or a device.")
    try:
        data = path.read_bytes()
    except OSError as error:
        return b"", Problem(name, None, f"Expected a readable file, got: {error.strerror}.")
    entry = files[name]
    if len(data) != entry["bytes"]:
        message = (
            f"Expected {entry['bytes']} bytes, got {len(data)}: the file was cut or changed. Fetch the world again."
        )
        return data, Problem(name, None, message)
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry["sha256"]:
        message = (
            f"Expected sha256 {entry['sha256'][:16]}…, got {digest[:16]}…: the file was changed after the world was "
            "written. Fetch the world again."
        )
        return data, Problem(name, None, message)
    return data, None


def refuse(root: Path, problems: list[Problem]) -> None:
    """Raise for the first problem, if there is one.

    Raises:
        WorldError: naming the world, the file and, where there is one, the line.
    """
    if problems:
        more = f" ({len(problems) - 1} more: `mmsearch verify` lists them all.)" if len(problems) > 1 else ""
        raise WorldError(f"{root.name}/{problems[0]}{more}")
