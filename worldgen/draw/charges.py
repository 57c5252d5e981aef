"""The shapes that flags are made of: what the operations of `worldgen.draw.paint` draw."""

from __future__ import annotations

import math

from PIL import Image, ImageChops, ImageDraw

from worldgen.draw.paint import Charge, Pen, Point, offset, pairs, polar

# The left half of the maple leaf, from the foot of the stem to the tip, in 1/2015 of its half height.
_MAPLE = [(-90, 2030), (-45, 1167), (-75, 1095), (-156, 1069), (-1015, 1220), (-899, 900), (-900, 850), (-919, 827)]
_MAPLE += [(-1860, 65), (-1648, -34), (-1612, -70), (-1614, -113), (-1800, -685), (-1258, -570), (-1212, -576)]
_MAPLE += [(-1185, -608), (-1080, -855), (-657, -401), (-590, -390), (-546, -458), (-750, -1510), (-423, -1321)]
_MAPLE += [(-370, -1315), (-332, -1348), (0, -2000)]

# Where the stars stand in the disc of Brazil's flag, in units of its radius.
_SOUTHERN_SKY = [(-0.75, 0.02), (-0.62, 0.2), (-0.52, 0.12), (-0.6, 0.42), (-0.45, 0.36), (-0.33, 0.22), (-0.28, 0.5)]
_SOUTHERN_SKY += [(0.02, 0.22), (0.0, 0.48), (-0.1, 0.34), (0.1, 0.36), (0.06, 0.42), (0.03, 0.88), (0.3, 0.5)]
_SOUTHERN_SKY += [(0.36, 0.6), (0.26, 0.62), (0.52, 0.32), (0.58, 0.42), (0.6, 0.52), (0.52, 0.6), (0.66, 0.26)]
_SOUTHERN_SKY += [(0.72, 0.36), (0.44, 0.68), (-0.2, 0.66), (-0.4, 0.56), (0.2, -0.5), (0.46, 0.45)]


def _circle(x: float, y: float, radius: float, start: float = 0, end: float = 360) -> list[Point]:
    return [polar(x, y, radius, start + (end - start) * step / 96) for step in range(97)]


def _star_points(
    x: float, y: float, radius: float, count: float = 5, inner: float = 0.382, turn: float = 0
) -> list[Point]:
    steps = range(2 * int(count))
    return [polar(x, y, radius * (inner if k % 2 else 1), turn + 180 * k / count) for k in steps]


def _field(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    pen.rectangle(colours[0], 0, 0, pen.width, pen.height)


def _rect(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    x0, y0, x1, y1 = numbers
    pen.rectangle(colours[0], x0, y0, x1, y1)


def _poly(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    pen.polygon(colours[0], pairs(numbers))


def _triangle(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """A triangle on the hoist, `depth` deep."""
    pen.polygon(colours[0], [(0, 0), (numbers[0], pen.height / 2), (0, pen.height)])


def _stroke(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    pen.stroke(colours[0], numbers[0], pairs(numbers[1:]))


def _outline(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """A polygon, widened on all sides by its first number."""
    pen.polygon(colours[0], offset(pairs(numbers[1:]), numbers[0], closed=True))


def _disc(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    x, y, radius = numbers
    pen.polygon(colours[0], _circle(x, y, radius))


def _ellipse(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    x, y, across, down = numbers
    pen.polygon(colours[0], [(x + across * dx, y + down * dy) for dx, dy in _circle(0, 0, 1)])


def _ring(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    x, y, outer, inner = numbers
    pen.polygon(colours[0], [*_circle(x, y, outer), *reversed(_circle(x, y, inner))])


def _star(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """A star: centre, radius, number of points, share of the inner radius, turn in degrees."""
    pen.polygon(colours[0], _star_points(*numbers))


def _stars(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """Upright stars on a circle: its centre and radius, how many, the radius of each; the first straight above."""
    x, y, around, count, radius = numbers
    for index in range(int(count)):
        pen.polygon(colours[0], _star_points(*polar(x, y, around, 360 * index / count), radius))


def _star_rows(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """Rows of 3, 4 and 5 stars that end on one line: the last star's centre, the step, the radius of each."""
    x, y, step, radius = numbers
    for row, count in enumerate((5, 4, 3)):
        for index in range(count):
            pen.polygon(colours[0], _star_points(x - index * step, y - row * step, radius))


def _star_grid(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """Nine rows of six and five stars by turns in a canton of the given size, the radius of each."""
    width, height, radius = numbers
    for row in range(9):
        for column in range(6 - row % 2):
            x, y = width * (1 + 2 * column + row % 2) / 12, height * (row + 1) / 10
            pen.polygon(colours[0], _star_points(x, y, radius))


def _pentagram(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """Five interlaced lines: centre, radius, width of the lines."""
    x, y, radius, width = numbers
    corners = [polar(x, y, radius, 144 * k) for k in range(5)]
    for k in range(5):
        pen.stroke(colours[0], width, [corners[k], corners[(k + 1) % 5]])


def _spokes(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """Straight rays: centre, outer radius, number, width, turn in degrees, inner radius."""
    x, y, radius, count, width, turn, inner = [*numbers, 0.0, 0.0][:7]
    for index in range(int(count)):
        degrees = turn + 360 * index / count
        pen.stroke(colours[0], width, [polar(x, y, inner, degrees), polar(x, y, radius, degrees)])


def _frame(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """The outline of a regular polygon: centre, outer radius, corners, width of the line, turn in degrees."""
    x, y, radius, corners, width, turn = numbers
    outside = [polar(x, y, radius, turn + 360 * k / corners) for k in range(int(corners) + 1)]
    inner = radius - width / math.cos(math.pi / corners)
    inside = [polar(x, y, inner, turn + 360 * k / corners) for k in range(int(corners) + 1)]
    pen.polygon(colours[0], [*outside, *reversed(inside)])


def _crescent(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """The part of a first circle that lies outside a second one: centre and radius of both."""
    x, y, radius, x2, y2, radius2 = numbers
    distance = math.hypot(x2 - x, y2 - y)
    towards = math.degrees(math.atan2(x2 - x, y - y2))
    # Half the opening of the horns, seen from the first and from the second centre (law of cosines).
    half = math.degrees(math.acos((distance**2 + radius**2 - radius2**2) / (2 * distance * radius)))
    half2 = math.degrees(math.acos((distance**2 + radius2**2 - radius**2) / (2 * distance * radius2)))
    outer = _circle(x, y, radius, towards + half, towards + 360 - half)
    inner = _circle(x2, y2, radius2, towards + 180 + half2, towards + 180 - half2)
    pen.polygon(colours[0], [*outer, *inner])


def _pattee(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """A small cross whose arms widen: centre and length of an arm."""
    x, y, arm = numbers
    quarter = [(-0.16, -0.16), (-0.3, -1.0), (0.3, -1.0)]
    points: list[Point] = []
    for _ in range(4):
        points += [(x + arm * dx, y + arm * dy) for dx, dy in quarter]
        quarter = [(-dy, dx) for dx, dy in quarter]
    pen.polygon(colours[0], points)


def _serrate(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """A band on the hoist with a toothed edge: where the teeth begin and end, and how many there are."""
    low, high, count = numbers
    step = pen.height / count
    teeth = [(low, k * step) for k in range(int(count) + 1)]
    edge = [p for k, base in enumerate(teeth[:-1]) for p in (base, (high, (k + 0.5) * step))]
    pen.polygon(colours[0], [(0, 0), *edge, teeth[-1], (0, pen.height)])


def _jack(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """The Union Jack in a box of 2:1, on its ground and with its counterchanged red saltire."""
    ground, red = colours
    left, top, right, _ = numbers
    inner = Pen(60, 30, pixels=round((right - left) * pen.image.width / pen.width))
    inner.palette = {**pen.palette, "white": (255, 255, 255)}
    inner.rectangle(ground, 0, 0, 60, 30)
    for start, end in (((-6, -3), (66, 33)), ((-6, 33), (66, -3))):
        inner.stroke("white", 6, [start, end])
    # Each red arm is 2 wide and has its edge on the diagonal: to the right of one who walks from the corner inwards.
    for x, y in ((0, 0), (60, 0), (60, 30), (0, 30)):
        dx, dy = (30 - x) / math.hypot(30, 15), (15 - y) / math.hypot(30, 15)
        far, near = (x - 6 * dx, y - 6 * dy), (30, 15)
        aside = [(px - 2 * dy, py + 2 * dx) for px, py in (near, far)]
        inner.polygon(red, [far, near, *aside])
    for colour, half in (("white", 5), (red, 3)):
        inner.rectangle(colour, 30 - half, 0, 30 + half, 30)
        inner.rectangle(colour, 0, 15 - half, 60, 15 + half)
    scale = pen.image.width / pen.width
    pen.names[255, 255, 255] = "white"
    pen.image.paste(inner.image, (round(left * scale), round(top * scale)))


def _maple(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """The maple leaf: centre and half its height."""
    x, y, half = numbers
    outline = [*_MAPLE, *((-dx, dy) for dx, dy in reversed(_MAPLE))]
    pen.polygon(colours[0], [(x + half * dx / 2015, y + half * dy / 2015) for dx, dy in outline])


def _taegeuk(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """The disc of two interlocked drops: upper and lower colour, centre, radius, slope in degrees."""
    upper, lower = colours
    x, y, radius, slope = numbers
    pen.polygon(lower, _circle(x, y, radius))
    pen.polygon(upper, _circle(x, y, radius, slope - 90, slope + 90))
    pen.polygon(upper, _circle(*polar(x, y, radius / 2, slope - 90), radius / 2))
    pen.polygon(lower, _circle(*polar(x, y, radius / 2, slope + 90), radius / 2))


def _trigram(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """Three bars of length 6 across a diagonal: centre, slope of the diagonal, 1 for a whole bar or 2 for a broken."""
    x, y, slope, *bars = numbers
    for step, pieces in zip((-1.5, 0, 1.5), bars, strict=True):
        middle = polar(x, y, step, slope + 90)
        ends = [(-3.0, 3.0)] if pieces == 1 else [(-3.0, -0.25), (0.25, 3.0)]
        for low, high in ends:
            pen.stroke(colours[0], 1, [polar(*middle, low, slope), polar(*middle, high, slope)])


def _globe(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """The curved band and the stars on a disc: its centre and radius, then the band's centre and two radii."""
    x, y, radius, band_x, band_y, outer, inner = [*numbers][:7]
    scale = pen.image.width / pen.width
    masks = []
    for cx, cy, r in ((x, y, radius), (band_x, band_y, outer), (band_x, band_y, inner)):
        mask = Image.new("L", pen.image.size, 0)
        ImageDraw.Draw(mask).polygon([(px * scale, py * scale) for px, py in _circle(cx, cy, r)], fill=255)
        masks.append(mask)
    band = ImageChops.subtract(ImageChops.multiply(masks[0], masks[1]), masks[2])
    pen.image.paste((*pen.palette[colours[0]], 255), (0, 0), band)
    for dx, dy in _SOUTHERN_SKY:
        pen.polygon(colours[0], _star_points(x + radius * dx, y + radius * dy, radius * 0.055))


def _trim(pen: Pen, colours: list[str], numbers: list[float]) -> None:
    """Cut the cloth to a polygon; what lies outside becomes transparent."""
    scale = pen.image.width / pen.width
    mask = Image.new("L", pen.image.size, 0)
    ImageDraw.Draw(mask).polygon([(x * scale - 0.5, y * scale - 0.5) for x, y in pairs(numbers)], fill=255)
    pen.image.putalpha(mask)


CHARGES: dict[str, Charge] = {
    "crescent": _crescent,
    "disc": _disc,
    "ellipse": _ellipse,
    "field": _field,
    "frame": _frame,
    "globe": _globe,
    "jack": _jack,
    "maple": _maple,
    "outline": _outline,
    "pattee": _pattee,
    "pentagram": _pentagram,
    "poly": _poly,
    "rect": _rect,
    "ring": _ring,
    "serrate": _serrate,
    "spokes": _spokes,
    "star": _star,
    "star-grid": _star_grid,
    "star-rows": _star_rows,
    "stars": _stars,
    "stroke": _stroke,
    "taegeuk": _taegeuk,
    "triangle": _triangle,
    "trigram": _trigram,
    "trim": _trim,
}
"""What can be drawn besides stripes and clipped shapes, by the name of the operation."""
