"""A small language for flat heraldic geometry, and the pen that carries it out.

A program is a list of instructions separated by `;`, each an operation, usually a colour, and numbers in the flag's own
units, with the origin at the upper hoist corner and y downwards:

    field red=BA0C2F; rect white 6 0 10 16; star yellow 5 5 3

A colour is a name with, the first time, its RGB in hexadecimal. `h` and `v` take colours with relative widths, as in
`red*2`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from mmsearch_env.errors import ConfigurationError, unknown

COLOURS: dict[str, str] = {
    "red": "CE1126",
    "white": "FFFFFF",
    "blue": "0039A6",
    "light-blue": "6DA9D2",
    "green": "007A3D",
    "yellow": "FCD116",
    "orange": "FF8200",
    "black": "000000",
    "maroon": "8A1538",
    "brown": "7B3F00",
    "grey": "A5A7AA",
}
"""The colour names of the language and the RGB that each has where a program gives none."""

Point = tuple[float, float]
RGB = tuple[int, int, int]


class Pen:
    """Draws on one picture, in the units of the flag.

    Attributes:
        width: of the flag, in its own units.
        height: of the flag, in its own units.
        palette: the RGB that each colour name stands for now.
        names: the name of every RGB used so far.
        image: the picture, mode RGBA, transparent where nothing was painted.
    """

    def __init__(self, width: float, height: float, *, pixels: int) -> None:
        """Start on an empty picture whose longest side has `pixels` pixels."""
        self.width, self.height = width, height
        self.palette: dict[str, RGB] = {}
        self.names: dict[RGB, str] = {}
        self._scale = pixels / max(width, height)
        self.image = Image.new("RGBA", (round(width * self._scale), round(height * self._scale)), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def run(self, program: str) -> None:
        """Carry out `program`.

        Raises:
            ConfigurationError: an operation or a colour does not exist.
        """
        for line in program.split(";"):
            self._carry_out(line.split())

    def polygon(self, colour: str, points: Sequence[Point]) -> None:
        """Fill the polygon through `points`."""
        # ImageDraw counts the outline in; half a pixel is taken off so that neighbours meet without overlap.
        self._draw.polygon([(x * self._scale - 0.5, y * self._scale - 0.5) for x, y in points], fill=self._ink(colour))

    def rectangle(self, colour: str, x0: float, y0: float, x1: float, y1: float) -> None:
        """Fill a rectangle, exact to the pixel."""
        left, top, right, bottom = (round(value * self._scale) for value in (x0, y0, x1, y1))
        if right > left and bottom > top:
            self._draw.rectangle((left, top, right - 1, bottom - 1), fill=self._ink(colour))

    def stroke(self, colour: str, width: float, points: Sequence[Point]) -> None:
        """Draw a line of constant `width` through `points`, with mitred corners and square ends."""
        left, right = offset(points, width / 2), offset(points, -width / 2)
        self.polygon(colour, [*left, *reversed(right)])

    def clipped(self, box: tuple[float, float, float, float], line: list[str]) -> None:
        """Carry out one instruction, but only inside `box`."""
        left, top, right, bottom = (round(value * self._scale) for value in box)
        before = self.image.copy()
        self._carry_out(line)
        inside = self.image.crop((left, top, right, bottom))
        self.image.paste(before)
        self.image.paste(inside, (left, top))

    def _carry_out(self, words: list[str]) -> None:
        from worldgen.draw.charges import CHARGES

        operation, *rest = words
        if operation == "clip":
            x0, y0, x1, y1 = map(float, rest[:4])
            self.clipped((x0, y0, x1, y1), rest[4:])
        elif operation in ("h", "v"):
            self._bands(rest, vertical=operation == "v")
        elif operation in CHARGES:
            colours = [word for word in rest if word[0].isalpha()]
            numbers = [float(word) for word in rest if not word[0].isalpha()]
            CHARGES[operation](self, [self._name(colour) for colour in colours], numbers)
        else:
            raise ConfigurationError(unknown("a drawing operation", operation, ["clip", "h", "v", *CHARGES]))

    def _bands(self, words: list[str], *, vertical: bool) -> None:
        """Fill the picture with stripes, from the top down or from the hoist to the fly."""
        parts = [word.partition("*") for word in words]
        weights = [float(weight or 1) for _, _, weight in parts]
        extent, done = (self.width if vertical else self.height), 0.0
        for (token, _, _), weight in zip(parts, weights, strict=True):
            start, done = done, done + weight
            low, high = extent * start / sum(weights), extent * done / sum(weights)
            box = (low, 0.0, high, self.height) if vertical else (0.0, low, self.width, high)
            self.rectangle(self._name(token), *box)

    def _name(self, token: str) -> str:
        """Note the RGB of a colour token and return its name."""
        name, _, code = token.partition("=")
        if name not in COLOURS:
            raise ConfigurationError(unknown("a colour", name, COLOURS))
        if code or name not in self.palette:
            red, green, blue = bytes.fromhex(code or COLOURS[name])
            self.palette[name] = (red, green, blue)
            self.names[red, green, blue] = name
        return name

    def _ink(self, colour: str) -> tuple[int, int, int, int]:
        red, green, blue = self.palette[colour]
        return red, green, blue, 255


Charge = Callable[[Pen, list[str], list[float]], None]
"""How an operation is carried out: with the pen, the colours and the numbers of its instruction."""


def pairs(numbers: Sequence[float]) -> list[Point]:
    """Read a flat list of numbers as points."""
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def polar(x: float, y: float, radius: float, degrees: float) -> Point:
    """Return the point at `radius` from `(x, y)` in the direction `degrees`, clockwise from straight up."""
    angle = math.radians(degrees)
    return x + radius * math.sin(angle), y - radius * math.cos(angle)


def offset(points: Sequence[Point], distance: float, *, closed: bool = False) -> list[Point]:
    """Shift a line, or a closed polygon, sideways by `distance` with mitred corners."""
    shifted: list[Point] = []
    count = len(points)
    for index, (x, y) in enumerate(points):
        before = points[(index - 1) % count] if closed or index > 0 else None
        after = points[(index + 1) % count] if closed or index < count - 1 else None
        normals = []
        for (x0, y0), (x1, y1) in filter(None, [before and (before, (x, y)), after and ((x, y), after)]):
            length = math.hypot(x1 - x0, y1 - y0)
            normals.append(((y1 - y0) / length, (x0 - x1) / length))
        sum_x, sum_y = sum(n[0] for n in normals), sum(n[1] for n in normals)
        # The mitre reaches distance / cos(half the turn) along the bisector of the two normals.
        stretch = distance * len(normals) / (sum_x**2 + sum_y**2)
        shifted.append((x + sum_x * stretch, y + sum_y * stretch))
    return shifted


def paint(program: str, *, width: float, height: float, pixels: int) -> Image.Image:
    """Draw `program` on a flag of `width` by `height` units, the longest side `pixels` pixels, not antialiased."""
    pen = Pen(width, height, pixels=pixels)
    pen.run(program)
    return pen.image


def visible_colours(program: str, *, width: float, height: float, share: float = 0.01) -> list[str]:
    """Name the colours that cover at least `share` of the painted surface, the largest first."""
    pen = Pen(width, height, pixels=240)
    pen.run(program)
    areas: dict[str, int] = {}
    for count, pixel in pen.image.getcolors(pen.image.width * pen.image.height) or []:
        if isinstance(pixel, tuple) and pixel[3] == 255:
            name = pen.names[pixel[0], pixel[1], pixel[2]]
            areas[name] = areas.get(name, 0) + count
    total = sum(areas.values())
    return sorted((name for name in areas if areas[name] >= share * total), key=lambda name: (-areas[name], name))
