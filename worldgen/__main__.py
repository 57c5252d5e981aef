"""`python -m worldgen OUT` builds the world `atlas` in the folder OUT."""

from __future__ import annotations

import argparse
from pathlib import Path

from worldgen.build import build_world


def main() -> None:
    """Build the world that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m worldgen", description="Build the world `atlas`.")
    parser.add_argument("out", type=Path, help="the folder to make; a world that is there is replaced")
    parser.add_argument("--limit", type=int, help="at most so many entities of each domain and split, for a trial")
    arguments = parser.parse_args()
    path = build_world(arguments.out, limit=arguments.limit, overwrite=True)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    print(f"{path}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
