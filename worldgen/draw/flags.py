"""National flags, drawn from geometry; of each pair that cannot be told apart only one is here."""

from __future__ import annotations

import numpy as np
from PIL import Image

from worldgen.draw import cloth
from worldgen.draw.designs import find_design, load_designs, visible_facts

DOMAIN: str = "flags"
SLUGS: tuple[str, ...] = tuple(load_designs(DOMAIN))
SCENE_STYLES: tuple[str, ...] = tuple(cloth.SCENE)
WEB_STYLES: tuple[str, ...] = tuple(cloth.WEB)


def draw(slug: str, style: str, rng: np.random.Generator, size: int) -> Image.Image:
    """Draw the flag of a country.

    Args:
        slug: one of `SLUGS`.
        style: one of `SCENE_STYLES` or `WEB_STYLES`.
        rng: decides about folds, light and wear.
        size: of the longest side in pixels, at least 16.

    Returns:
        An RGBA picture, transparent outside the flag.

    Raises:
        ConfigurationError: `slug` or `style` does not exist, or `size` is too small.
    """
    return cloth.render(find_design(load_designs(DOMAIN), slug), style, rng, size)


def describe(slug: str) -> dict[str, object]:
    """Say what can be seen on the flag: `colours`, `layout`, `shape`, `stripes`, `stars` and `symbol`.

    Raises:
        ConfigurationError: `slug` does not exist.
    """
    return visible_facts(find_design(load_designs(DOMAIN), slug))
