"""Renderings of a flat flag: in the wind, on a pole, on a wall for scenes; flat, badge, photo and print for pages.

No rendering mirrors, inverts or turns the flag by more than a few degrees, so that colour and layout stay comparable
between the pictures of scenes and those of pages. All work is done at about twice the final resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from mmsearch_env.errors import ConfigurationError, unknown
from worldgen.draw.designs import Design, flat_picture

Pixels = NDArray[np.float32]
"""Premultiplied RGBA, shape (height, width, 4), in [0, 255]; or one channel, shape (height, width)."""

Rendering = Callable[[Image.Image, np.random.Generator], Image.Image]
"""Turns the flat picture at double size into the rendered one, also at double size."""


@dataclass(frozen=True)
class Drape:
    """How a piece of cloth hangs and is seen.

    Attributes:
        rise: height of the folds as a share of the cloth's height.
        folds: how many waves there are along the cloth.
        phase: where the waves begin, in radians.
        slant: how far the waves lean over, in radians from top to bottom.
        sag: how far the fly sinks, as a share of the height.
        narrowing: how much lower the fly is than the hoist, as a share; negative if the hoist is farther away.
        turn: of the whole, clockwise, in degrees.
        light: how strongly the folds are shaded.
        tint: factors on red, green and blue.
    """

    rise: float
    folds: float
    phase: float
    slant: float
    sag: float
    narrowing: float
    turn: float
    light: float
    tint: tuple[float, float, float]


def render(design: Design, style: str, rng: np.random.Generator, size: int) -> Image.Image:
    """Draw `design` in `style`, RGBA, the longest side `size` pixels, transparent outside.

    Raises:
        ConfigurationError: there is no such style, or `size` is under 16.
    """
    renderings = {**SCENE, **WEB}
    if style not in renderings:
        raise ConfigurationError(unknown("a style", style, renderings))
    if size < 16:
        raise ConfigurationError(f"Expected a size of at least 16 pixels, got {size}. Draw it larger and reduce it.")
    rendered = renderings[style](flat_picture(design, 2 * size), rng)
    cut = rendered.crop(rendered.getchannel("A").getbbox())
    scale = size / max(cut.size)
    wanted = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    return cut.resize(wanted, Image.Resampling.HAMMING)


def _in_the_wind(flat: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Let the flag wave, lit from the upper left by a cool sky."""
    drape = Drape(
        rise=rng.uniform(0.03, 0.05),
        folds=rng.uniform(1.2, 1.9),
        phase=rng.uniform(0, 2 * math.pi),
        slant=rng.uniform(0.3, 0.9),
        sag=rng.uniform(0.0, 0.04),
        narrowing=rng.uniform(0.02, 0.08),
        turn=rng.uniform(-4, 4),
        light=rng.uniform(0.55, 0.75),
        tint=(0.94, 0.97, 1.0),
    )
    return _to_image(_draped(_to_pixels(flat), drape))


def _on_a_pole(flat: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Hang the flag on a wooden pole at its hoist, seen from the hoist in an overcast light."""
    drape = Drape(
        rise=rng.uniform(0.012, 0.022),
        folds=rng.uniform(2.6, 3.6),
        phase=rng.uniform(0, 2 * math.pi),
        slant=rng.uniform(-0.6, 0.6),
        sag=rng.uniform(0.06, 0.11),
        narrowing=rng.uniform(0.06, 0.12),
        turn=0.0,
        light=rng.uniform(0.6, 0.8),
        tint=(0.88, 0.89, 0.9),
    )
    cloth = _to_image(_draped(_to_pixels(flat), drape))
    cloth = cloth.crop(cloth.getchannel("A").getbbox())
    thickness = max(4, round(0.022 * max(flat.size)))
    above, below = round(0.03 * flat.height), round(0.09 * flat.height)
    whole = Image.new("RGBA", (cloth.width + thickness, cloth.height + above + below), (0, 0, 0, 0))
    across = np.sin(np.linspace(0.5, 2.9, thickness))[None, :, None]
    wood = np.array([150, 112, 74]) * (0.45 + 0.65 * across) * np.ones((whole.height, 1, 1))
    whole.paste(Image.fromarray(np.clip(wood, 0, 255).astype(np.uint8)), (0, 0))
    whole.alpha_composite(cloth, (thickness, above))
    return _turned(whole, rng.uniform(-3, 3))


def _on_a_wall(flat: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Paint the flag on a rough wall: faded, uneven and worn off in places."""
    pixels = _to_pixels(_turned(flat, rng.uniform(-2, 2)))
    alpha = pixels[..., 3:]
    plaster = np.array([186, 176, 160], dtype=np.float32) * alpha / 255
    fade = (0.16 + 0.1 * _clouds(alpha.shape, rng, cell=40))[..., None]
    pixels[..., :3] = pixels[..., :3] * (1 - fade) + plaster * fade
    pixels[..., :3] *= 0.93 + 0.03 * _clouds(alpha.shape, rng, cell=22)[..., None]
    # Paint flakes off where the noise is high, and more so towards the edges.
    near_edge = np.asarray(_to_image(pixels).getchannel("A").filter(ImageFilter.BoxBlur(9)), dtype=np.float32) / 255
    flaking = _clouds(alpha.shape, rng, cell=18) + 1.5 * np.clip(1 - near_edge, 0, 1)
    pixels *= np.clip((2.1 - flaking) * 6, 0, 1)[..., None]
    return _to_image(pixels)


def _icon(flat: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Leave the flag flat and put a thin grey line on its edge, so that white ends somewhere."""
    return _edged(flat, flat.getchannel("A"), width=2, colour=(150, 150, 150))


def _badge(flat: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Round the corners, add a raised border and a faint gloss from above."""
    radius = 0.035 * max(flat.size)
    margin = math.ceil(2 * radius)
    wide = Image.new("RGBA", (flat.width + 2 * margin, flat.height + 2 * margin), (0, 0, 0, 0))
    wide.paste(flat, (margin, margin))
    soft = wide.getchannel("A").filter(ImageFilter.GaussianBlur(radius))
    outline = soft.point([max(0, min(255, (level - 118) * 13)) for level in range(256)])
    pixels = _to_pixels(wide)
    gloss = np.linspace(1.08, 0.92, wide.height, dtype=np.float32)[:, None, None]
    pixels[..., :3] = np.minimum(pixels[..., :3] * gloss, pixels[..., 3:])
    return _edged(_to_image(pixels), outline, width=6, colour=tuple(rng.integers(70, 120, 3).tolist()))


def _photo(flat: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Show the flag in a gentle wind from the other side, in the warm light of an evening."""
    drape = Drape(
        rise=rng.uniform(0.02, 0.035),
        folds=rng.uniform(0.8, 1.3),
        phase=rng.uniform(0, 2 * math.pi),
        slant=rng.uniform(-0.9, -0.3),
        sag=rng.uniform(-0.03, 0.0),
        narrowing=rng.uniform(-0.08, -0.02),
        turn=rng.uniform(-3, 3),
        light=rng.uniform(-0.6, -0.4),
        tint=(1.02, 0.97, 0.89),
    )
    return _to_image(_draped(_to_pixels(flat), drape))


def _print(flat: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Print the flag on cream paper, cut out with a narrow margin; the inks are a little off and laid on unevenly."""
    margin = max(2, round(0.025 * max(flat.size)))
    paper = Image.new("RGBA", (flat.width + 2 * margin, flat.height + 2 * margin), (246, 241, 228, 255))
    shape = Image.new("L", paper.size, 0)
    shape.paste(flat.getchannel("A"), (margin, margin))
    # Wherever the blur reaches, the flag is nearer than the margin.
    paper.putalpha(shape.filter(ImageFilter.BoxBlur(margin)).point([0, 0] + [255] * 254))
    paper.alpha_composite(_icon(flat, rng), (margin, margin))
    pixels = _to_pixels(paper)
    grey = pixels[..., :3].mean(axis=2, keepdims=True)
    strength = rng.uniform(0.78, 0.88)
    inks = grey + (pixels[..., :3] - grey) * strength
    inks = 18 * pixels[..., 3:] / 255 + inks * (1 - 24 / 255) * np.array([1.0, 0.985, 0.95], dtype=np.float32)
    pixels[..., :3] = inks * (0.98 + 0.02 * _clouds(grey.shape, rng, cell=24)[..., None])
    return _turned(_to_image(pixels), rng.uniform(-1.5, 1.5))


SCENE: Mapping[str, Rendering] = {"cloth": _in_the_wind, "hanging": _on_a_pole, "painted": _on_a_wall}
"""The renderings for pictures that questions are asked about."""

WEB: Mapping[str, Rendering] = {"badge": _badge, "flat": _icon, "photo": _photo, "print": _print}
"""The renderings for the pictures of pages."""


def _draped(pixels: Pixels, drape: Drape) -> Pixels:
    """Bend, turn and light a picture; the result has a margin on all sides."""
    height, width = pixels.shape[:2]
    reach = 1.25 * drape.rise + abs(drape.sag) + abs(drape.narrowing) / 2
    cos, sin = math.cos(math.radians(drape.turn)), math.sin(math.radians(drape.turn))
    above, beside = math.ceil(reach * height + abs(sin) * width / 2) + 2, math.ceil(abs(sin) * height) + 2
    from_middle_x = np.arange(-beside, width + beside, dtype=np.float32)[None, :] - (width - 1) / 2
    from_middle_y = np.arange(-above, height + above, dtype=np.float32)[:, None] - (height - 1) / 2
    across = (cos * from_middle_x + sin * from_middle_y) / width + 0.5  # 0 at the hoist, 1 at the fly
    down = (cos * from_middle_y - sin * from_middle_x) / height
    down = down / (1 - drape.narrowing * (across - 0.5)) + 0.5  # 0 at the top, 1 at the bottom
    angle = 2 * math.pi * drape.folds * across + drape.slant * down + drape.phase
    # The hoist is held fast, the fly is free.
    freedom = np.clip(0.25 + across, 0.25, 1.25)
    down = down - drape.rise * freedom * np.sin(angle) - drape.sag * np.clip(across, 0, 1) ** 2
    shade = 1 + 0.25 * drape.light * freedom * np.cos(angle)
    bent = _sampled(pixels, down * height - 0.5, across * width - 0.5)
    lit = bent[..., :3] * shade[..., None] * np.array(drape.tint, dtype=np.float32)
    bent[..., :3] = np.minimum(lit, bent[..., 3:])
    return bent


def _turned(picture: Image.Image, degrees: float) -> Image.Image:
    return picture.rotate(degrees, resample=Image.Resampling.BILINEAR, expand=True)


def _sampled(pixels: Pixels, rows: Pixels, columns: Pixels) -> Pixels:
    """Read `pixels` at fractional positions, bilinearly; outside it is transparent."""
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)))
    rows = np.clip(rows + 1, 0, padded.shape[0] - 1.001)
    columns = np.clip(columns + 1, 0, padded.shape[1] - 1.001)
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    below, right = (rows - top)[..., None], (columns - left)[..., None]
    flat, stride = padded.reshape(-1, padded.shape[2]), padded.shape[1]
    corner = top * stride + left
    near, far = flat.take(corner, axis=0), flat.take(corner + 1, axis=0)
    upper = near + (far - near) * right
    near, far = flat.take(corner + stride, axis=0), flat.take(corner + stride + 1, axis=0)
    lower = near + (far - near) * right
    mixed: Pixels = (upper + (lower - upper) * below).astype(np.float32)
    return mixed


def _clouds(shape: tuple[int, ...], rng: np.random.Generator, *, cell: int) -> Pixels:
    """Draw smooth noise of about unit deviation whose blotches are `cell` pixels wide."""
    height, width = shape[:2]
    coarse = rng.standard_normal((height // cell + 3, width // cell + 3)).astype(np.float32)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32)


def _edged(picture: Image.Image, outline: Image.Image, *, width: int, colour: tuple[int, ...]) -> Image.Image:
    """Cut `picture` to the mask `outline` and draw a line of `width` pixels along the inside of its edge."""
    # The frame lets the line run along the picture's own border too.
    inside = Image.new("L", (outline.width + 2, outline.height + 2), 0)
    inside.paste(outline, (1, 1))
    for _ in range(width):
        inside = inside.filter(ImageFilter.MinFilter(3))
        inside.paste(0, (0, 0, inside.width, 1))
        inside.paste(0, (0, 0, 1, inside.height))
        inside.paste(0, (0, inside.height - 1, inside.width, inside.height))
        inside.paste(0, (inside.width - 1, 0, inside.width, inside.height))
    inside = inside.crop((1, 1, 1 + outline.width, 1 + outline.height))
    edged = Image.new("RGBA", picture.size, (*colour[:3], 255))
    edged.paste(picture, (0, 0), ImageChops.multiply(inside, picture.getchannel("A")))
    edged.putalpha(outline)
    return edged


def _to_pixels(picture: Image.Image) -> Pixels:
    return np.array(picture.convert("RGBa"), dtype=np.float32)


def _to_image(pixels: Pixels) -> Image.Image:
    """Turn premultiplied pixels into an RGBA picture."""
    raw = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    # A premultiplied channel may not exceed its alpha.
    raw[..., :3] = np.minimum(raw[..., :3], raw[..., 3:])
    premultiplied = Image.frombytes("RGBa", (raw.shape[1], raw.shape[0]), raw.tobytes())
    return premultiplied.convert("RGBA")
