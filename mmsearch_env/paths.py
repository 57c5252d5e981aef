"""Where the data that ships with the library lies, installed or in a checkout."""

from __future__ import annotations

from pathlib import Path


def bundled(*parts: str) -> Path:
    """Return the path of bundled data, e.g. `bundled("atlas", "world.json")`; it need not exist.

    A wheel carries the data in `mmsearch_env/fixtures`; a checkout keeps it in `fixtures` beside the package.
    """
    package = Path(__file__).resolve().parent
    inside = package / "fixtures"
    root = inside if inside.is_dir() else package.parent / "fixtures"
    return root.joinpath(*parts)
