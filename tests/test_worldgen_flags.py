"""National flags and signal flags: every rendering exists, repeats, can be told apart and shows the right thing."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mmsearch_env.errors import ConfigurationError
from worldgen.draw import flags, signals
from worldgen.draw.designs import flat_picture, load_designs
from worldgen.draw.paint import COLOURS, paint

DOMAINS = [flags, signals]
STYLES = [(domain, style) for domain in DOMAINS for style in domain.SCENE_STYLES + domain.WEB_STYLES]


def drawn(domain: ModuleType, slug: str, style: str, *, seed: int = 0, size: int = 96) -> Image.Image:
    picture: Image.Image = domain.draw(slug, style, np.random.default_rng(seed), size)
    return picture


def colour_at(domain: ModuleType, slug: str, across: float, down: float) -> str:
    """Name the colour of the flat design at a place given in shares of its width and height."""
    picture = flat_picture(load_designs(domain.DOMAIN)[slug], 240)
    pixels = np.asarray(picture)
    red, green, blue, alpha = pixels[int(down * picture.height), int(across * picture.width)].tolist()
    if alpha < 128:
        return "nothing"
    known = {
        "white": (255, 255, 255),
        "black": (0, 0, 0),
        "red": (210, 20, 40),
        "blue": (0, 40, 130),
        "yellow": (253, 215, 10),
        "green": (0, 120, 60),
        "orange": (250, 120, 30),
    }
    return min(known, key=lambda name: sum((a - b) ** 2 for a, b in zip(known[name], (red, green, blue), strict=True)))


@pytest.mark.parametrize(("domain", "style"), STYLES)
def test_every_flag_is_drawn_in_every_style(domain: ModuleType, style: str) -> None:
    for slug in domain.SLUGS:
        picture = drawn(domain, slug, style, size=64)
        assert picture.mode == "RGBA"
        assert max(picture.size) == 64, (slug, picture.size)
        assert picture.getchannel("A").getextrema()[1] == 255, slug


@pytest.mark.parametrize(("domain", "style"), STYLES)
def test_the_same_seed_gives_the_same_bytes(domain: ModuleType, style: str) -> None:
    slug = domain.SLUGS[3]
    assert drawn(domain, slug, style, seed=5).tobytes() == drawn(domain, slug, style, seed=5).tobytes()


@pytest.mark.parametrize("style", flags.SCENE_STYLES)
def test_another_seed_gives_another_picture(style: str) -> None:
    assert drawn(flags, "norway", style, seed=1).tobytes() != drawn(flags, "norway", style, seed=2).tobytes()


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_two_flat_designs_look_alike(domain: ModuleType) -> None:
    small = []
    for slug in domain.SLUGS:
        on_grey = Image.new("RGBA", (48, 32), (128, 128, 128, 255))
        on_grey.alpha_composite(flat_picture(load_designs(domain.DOMAIN)[slug], 96).resize((48, 32)))
        small.append(np.asarray(on_grey.convert("RGB"), dtype=np.float32))
    pictures = np.stack(small)
    for index, slug in enumerate(domain.SLUGS[:-1]):
        distances = np.abs(pictures[index + 1 :] - pictures[index]).mean(axis=(1, 2, 3))
        nearest = int(distances.argmin())
        assert distances[nearest] > 5, (slug, domain.SLUGS[index + 1 + nearest])


@pytest.mark.parametrize("domain", DOMAINS)
def test_styles_of_scenes_and_pages_are_disjoint_and_slugs_sorted(domain: ModuleType) -> None:
    assert not set(domain.SCENE_STYLES) & set(domain.WEB_STYLES)
    assert list(domain.SLUGS) == sorted(set(domain.SLUGS))


@pytest.mark.parametrize(("domain", "style"), STYLES)
def test_a_rendering_keeps_every_part_of_the_flag_where_it_was(domain: ModuleType, style: str) -> None:
    # Mirrored, turned or inverted flags would be nearer to another colour than their own.
    slug = {"flags": "chile", "signals": "uniform"}[domain.DOMAIN]
    picture = drawn(domain, slug, style, seed=2).convert("RGB").resize((40, 40))
    corner, opposite = (np.array(picture.crop(box)).mean(axis=(0, 1)) for box in ((4, 9, 9, 13), (30, 9, 35, 13)))
    assert opposite.sum() - corner.sum() > 100


def test_there_are_at_least_110_countries_and_all_40_signals() -> None:
    assert len(flags.SLUGS) >= 110
    assert len(signals.SLUGS) == 26 + 10 + 1 + 3


@pytest.mark.parametrize(
    ("domain", "slug", "places"),
    [
        (flags, "france", {(0.1, 0.5): "blue", (0.5, 0.5): "white", (0.9, 0.5): "red"}),
        (flags, "italy", {(0.1, 0.5): "green", (0.9, 0.5): "red"}),
        (flags, "ireland", {(0.1, 0.5): "green", (0.9, 0.5): "orange"}),
        (flags, "ivory-coast", {(0.1, 0.5): "orange", (0.9, 0.5): "green"}),
        (flags, "germany", {(0.5, 0.1): "black", (0.5, 0.5): "red", (0.5, 0.9): "yellow"}),
        (flags, "poland", {(0.5, 0.2): "white", (0.5, 0.8): "red"}),
        (flags, "indonesia", {(0.5, 0.2): "red", (0.5, 0.8): "white"}),
        (flags, "norway", {(8 / 22, 0.1): "blue", (0.5, 0.1): "red", (6.4 / 22, 0.1): "white"}),
        (flags, "japan", {(0.5, 0.5): "red", (0.5, 0.25): "red", (0.5, 0.15): "white", (0.35, 0.5): "red"}),
        (flags, "united-states", {(0.01, 0.01): "blue", (0.9, 0.03): "red", (0.9, 0.97): "red"}),
        (flags, "south-korea", {(0.5, 0.37): "red", (0.5, 0.63): "blue"}),
        (flags, "nepal", {(0.9, 0.7): "nothing", (0.9, 0.1): "nothing"}),
        (signals, "alfa", {(0.2, 0.5): "white", (0.6, 0.5): "blue", (0.95, 0.5): "nothing", (0.95, 0.02): "blue"}),
        (signals, "bravo", {(0.2, 0.5): "red", (0.95, 0.5): "nothing"}),
        (signals, "lima", {(0.2, 0.2): "yellow", (0.8, 0.2): "black", (0.2, 0.8): "black"}),
        (signals, "oscar", {(0.8, 0.2): "red", (0.2, 0.8): "yellow"}),
        (signals, "zulu", {(0.5, 0.1): "yellow", (0.1, 0.5): "black", (0.9, 0.5): "blue", (0.5, 0.9): "red"}),
        (signals, "numeral-9", {(0.1, 0.3): "white", (0.7, 0.4): "black", (0.1, 0.7): "red", (0.7, 0.6): "yellow"}),
        (signals, "first-substitute", {(0.25, 0.5): "yellow", (0.05, 0.5): "blue", (0.9, 0.1): "nothing"}),
    ],
)
def test_colours_stand_where_they_belong(domain: ModuleType, slug: str, places: dict[tuple[float, float], str]) -> None:
    assert {place: colour_at(domain, slug, *place) for place in places} == places


def test_the_union_jack_looks_the_same_upside_down() -> None:
    jack = paint("jack 0 0 60 30 blue red", width=60, height=30, pixels=600)
    difference = np.abs(np.asarray(jack, dtype=int) - np.asarray(jack.rotate(180), dtype=int)).mean()
    mirrored = np.abs(np.asarray(jack, dtype=int) - np.asarray(jack)[:, ::-1].astype(int)).mean()
    assert difference < 2 < mirrored


@pytest.mark.parametrize(
    ("domain", "slug", "facts"),
    [
        (flags, "france", {"layout": "vertical stripes", "stripes": 3, "stars": 0, "symbol": None}),
        (flags, "norway", {"colours": ["red", "blue", "white"], "layout": "cross", "symbol": "cross"}),
        (flags, "united-states", {"stripes": 13, "stars": 50, "layout": "canton"}),
        (flags, "china", {"stars": 5, "colours": ["red", "yellow"]}),
        (flags, "new-zealand", {"stars": 4}),
        (flags, "australia", {"stars": 6}),
        (flags, "cape-verde", {"stars": 10}),
        (flags, "uzbekistan", {"stars": 12, "symbol": "crescent"}),
        (flags, "nepal", {"shape": "two pennants", "stars": 0}),
        (signals, "alfa", {"shape": "swallowtail", "colours": ["white", "blue"]}),
        (signals, "charlie", {"stripes": 5, "layout": "horizontal stripes"}),
        (signals, "numeral-1", {"shape": "pennant", "symbol": "disc"}),
    ],
)
def test_descriptions_state_what_can_be_seen(domain: ModuleType, slug: str, facts: dict[str, object]) -> None:
    seen = domain.describe(slug)
    assert {name: seen[name] for name in facts} == facts


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_flag_is_described_with_at_least_one_colour(domain: ModuleType) -> None:
    for slug in domain.SLUGS:
        seen = domain.describe(slug)
        assert set(seen["colours"]) <= set(COLOURS), slug
        assert len(seen["colours"]) > (slug not in {"bravo", "quebec"}), slug


def test_an_unknown_slug_style_or_size_is_refused_with_a_remedy() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigurationError, match="norway"):
        flags.draw("norwya", "flat", rng, 100)
    with pytest.raises(ConfigurationError, match="cloth"):
        flags.draw("norway", "clothe", rng, 100)
    with pytest.raises(ConfigurationError, match="16 pixels"):
        flags.draw("norway", "flat", rng, 3)
    with pytest.raises(ConfigurationError, match="drawing operation"):
        paint("dics red 1 1 1", width=2, height=2, pixels=20)
