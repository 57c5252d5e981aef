"""Star charts, spectra and outlines: every entity draws, deterministically, and shows the facts it was drawn from."""

from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from worldgen.draw import constellations, outlines, spectra, star_charts

DOMAINS = (constellations, spectra, outlines)


def pixels(image: Image.Image) -> NDArray[np.float64]:
    """Returns the picture before black, (H, W, 3)."""
    ground = Image.new("RGB", image.size)
    ground.paste(image, mask=image.getchannel("A"))
    return np.asarray(ground, dtype=np.float64)


def place_of(slug: str, name: str) -> tuple[float, float]:
    return next(point for star, point in star_charts.chart(slug).stars if star.name == name)


def column_of(picture: NDArray[np.float64], wavelength: float) -> NDArray[np.float64]:
    """Returns the colour (3,) at a wavelength, halfway down a spectrum."""
    height, width, _ = picture.shape
    colour: NDArray[np.float64] = picture[height // 2, round(spectra.position(wavelength) * width)]
    return colour


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.DOMAIN)
def test_every_entity_draws_in_every_style(domain: ModuleType) -> None:
    assert list(domain.SLUGS) == sorted(set(domain.SLUGS))
    assert not set(domain.SCENE_STYLES) & set(domain.WEB_STYLES)
    for slug, style in itertools.product(domain.SLUGS, domain.SCENE_STYLES + domain.WEB_STYLES):
        picture = domain.draw(slug, style, np.random.default_rng(3), 40)
        assert picture.mode == "RGBA"
        assert abs(max(picture.size) - 40) <= 1
        assert np.asarray(picture)[..., :3].std() > 4, (slug, style)


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.DOMAIN)
def test_the_same_seed_draws_the_same_bytes(domain: ModuleType) -> None:
    for style in domain.SCENE_STYLES + domain.WEB_STYLES:
        first, again = (domain.draw(domain.SLUGS[0], style, np.random.default_rng(5), 90).tobytes() for _ in range(2))
        assert first == again


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.DOMAIN)
def test_a_scene_rendering_wears_differently_under_another_seed(domain: ModuleType) -> None:
    for style in domain.SCENE_STYLES:
        first, other = (domain.draw(domain.SLUGS[0], style, np.random.default_rng(seed), 90) for seed in (1, 2))
        assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.DOMAIN)
def test_no_two_entities_look_alike(domain: ModuleType) -> None:
    for style in domain.SCENE_STYLES + domain.WEB_STYLES:
        shown = np.stack(
            [pixels(domain.draw(slug, style, np.random.default_rng(0), 64).resize((32, 32))) for slug in domain.SLUGS]
        )
        for index in range(len(shown) - 1):
            nearest = np.abs(shown[index + 1 :] - shown[index]).mean(axis=(1, 2, 3)).min()
            assert nearest > 2.5, (domain.SLUGS[index], style, nearest)


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.DOMAIN)
def test_unknown_names_are_refused_with_the_known_ones(domain: ModuleType) -> None:
    with pytest.raises(ValueError, match="got 'atlantis'"):
        domain.draw("atlantis", domain.SCENE_STYLES[0], np.random.default_rng(0), 50)
    with pytest.raises(ValueError, match="got 'baroque'"):
        domain.draw(domain.SLUGS[0], "baroque", np.random.default_rng(0), 50)
    with pytest.raises(ValueError, match="got 'atlantis'"):
        domain.describe("atlantis")


def test_there_are_enough_entities_of_each_kind() -> None:
    assert len(constellations.SLUGS) >= 45
    assert all(len(star_charts.chart(slug).stars) >= 4 for slug in constellations.SLUGS)
    assert len(spectra.SLUGS) >= 32
    assert len(outlines.SLUGS) >= 100


def test_every_figure_hangs_together_except_those_drawn_in_pieces() -> None:
    pieces = {}
    for slug in constellations.SLUGS:
        groups: list[set[tuple[float, float]]] = []
        for a, b in star_charts.chart(slug).lines:
            joined = {a, b}.union(*(group for group in groups if group & {a, b}))
            groups = [group for group in groups if not group & {a, b}] + [joined]
        if len(groups) > 1:
            pieces[slug] = len(groups)
    assert set(pieces) <= {"crux"}  # two beams that cross between the stars


def test_the_sky_is_seen_from_inside_north_up_and_east_left() -> None:
    betelgeuse, rigel = place_of("orion", "Betelgeuse"), place_of("orion", "Rigel")
    assert betelgeuse[0] < rigel[0]
    assert betelgeuse[1] < rigel[1]
    alkaid, dubhe = place_of("ursa-major", "Alkaid"), place_of("ursa-major", "Dubhe")
    assert alkaid[0] < dubhe[0], "the handle of the Plough points east"


def test_the_belt_of_orion_is_nearly_straight() -> None:
    (ax, ay), (bx, by), (cx, cy) = (place_of("orion", name) for name in ("Alnitak", "Alnilam", "Mintaka"))
    aspect = star_charts.chart("orion").aspect
    area = abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) * aspect
    length = (((cx - ax) * aspect) ** 2 + (cy - ay) ** 2) ** 0.5
    assert area / length < 0.08 * length


def test_the_brightest_star_is_placed_only_where_it_is_plain() -> None:
    assert constellations.describe("lyra")["brightest_star"] == "upper right"  # Vega
    assert constellations.describe("cassiopeia") == {"stars": 5, "lines": 4}  # two of its stars are equally bright


@pytest.mark.parametrize("style", spectra.WEB_STYLES)
def test_hydrogen_is_red_at_656_nm_and_dark_beside_it(style: str) -> None:
    picture = pixels(spectra.draw("hydrogen", style, np.random.default_rng(2), 240))
    red, green, blue = column_of(picture, 656.28)
    assert red > 180
    assert max(green, blue) < 90
    assert column_of(picture, 486.13).argmax() == 2
    assert all(column_of(picture, dark).max() < 60 for dark in (460, 520, 580, 620, 700))


def test_hydrogen_shows_four_lines_and_sodium_is_yellow() -> None:
    assert spectra.describe("hydrogen") == {"lines": 4, "brightest_colour": "red", "colours": ("violet", "blue", "red")}
    assert spectra.describe("sodium")["brightest_colour"] == "yellow"
    doublet = [line.wavelength for line in spectra.lines("sodium") if line.intensity >= 50]
    assert doublet == pytest.approx([589.00, 589.59])


def test_all_lines_lie_on_the_axis_and_each_element_has_one_of_full_intensity() -> None:
    for slug in spectra.SLUGS:
        shown = spectra.lines(slug)
        assert len(shown) >= 2, slug
        assert max(line.intensity for line in shown) == 100, slug
        assert all(spectra.AXIS_NM[0] < line.wavelength < spectra.AXIS_NM[1] for line in shown), slug


def test_italy_is_taller_than_wide_and_chile_is_long_and_thin() -> None:
    italy = outlines.outline("italy")
    assert italy.height > italy.width
    assert outlines.describe("italy")["shape"] == "taller than wide"
    assert outlines.describe("chile")["shape"] == "long and thin"
    assert outlines.describe("switzerland")["islands"] is False
    assert outlines.describe("japan")["islands"] is True


def test_lesotho_is_a_hole_in_south_africa() -> None:
    assert [slug for slug in outlines.SLUGS if outlines.describe(slug)["hole"]] == ["south-africa"]
    picture = pixels(outlines.draw("south-africa", "blueprint", np.random.default_rng(1), 200))
    assert picture.mean(axis=2).max() > 200


@pytest.mark.parametrize("slug", ["fiji", "new-zealand", "russia"])
def test_countries_across_the_antimeridian_are_whole(slug: str) -> None:
    country = outlines.outline(slug)
    assert country.width < 3 * country.height


@pytest.mark.parametrize("style", outlines.SCENE_STYLES + outlines.WEB_STYLES)
def test_land_is_lighter_than_its_ground(style: str) -> None:
    picture = pixels(outlines.draw("poland", style, np.random.default_rng(4), 120)).mean(axis=2)
    height, width = picture.shape
    assert picture[height // 2, width // 2] > picture[height // 2, round(width * 0.045)] + 50
