"""Comparing referring expressions: which of the recorded ones a policy's own wording means."""

from __future__ import annotations

from mmsearch_env.search.words import words


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FILLERS = _set(
    "a an the this that these those of in on at to with from by near and is are side hand edge part area region "
    "corner one"
)
_SAME = {
    "leftmost": "left",
    "lefthand": "left",
    "rightmost": "right",
    "righthand": "right",
    "upper": "top",
    "topmost": "top",
    "above": "top",
    "lower": "bottom",
    "bottommost": "bottom",
    "below": "bottom",
    "center": "middle",
    "centre": "middle",
    "central": "middle",
    "photo": "picture",
    "photograph": "picture",
    "image": "picture",
    "grey": "gray",
    "big": "large",
    "little": "small",
    "1st": "first",
    "2nd": "second",
    "3rd": "third",
    "4th": "fourth",
}
_ORDINALS = _set("first second third fourth")
_PLACES = (_set("left middle right"), _set("top bottom"), _set("front back"), _ORDINALS)
_LOOKS = (
    _set("red orange yellow green blue purple violet pink brown black white gray gold silver"),
    _set("large small"),
)
_PLACE_WORDS = frozenset().union(*_PLACES)


def content(expression: str) -> frozenset[str]:
    """Return the words of `expression` that carry its meaning, synonyms of places and sizes made equal."""
    named = (_SAME.get(word, word) for word in words(expression))
    return frozenset(word[:-1] if len(word) > 4 and word.endswith("s") else word for word in named) - _FILLERS


def agreement(wanted: frozenset[str], recorded: frozenset[str]) -> int:
    """Return how well two expressions agree, in thousandths: 1000 is the same content, 0 means another thing.

    It is the Dice overlap of their content, except that expressions contradict each other, and so agree by 0, if
    they name different sides, ranks, colours or sizes, or share nothing but the place.
    """
    shared = wanted & recorded
    if not shared or (shared <= _PLACE_WORDS and not wanted <= _PLACE_WORDS):
        return 0
    for group in (*_PLACES, *_LOOKS):
        ours, theirs = wanted & group, recorded & group
        if ours and theirs and not ours & theirs:
            return 0
    # "The second flag from the left" is not "the flag on the left".
    if (wanted & _ORDINALS) - {"first"} - recorded:
        return 0
    return 2000 * len(shared) // (len(wanted) + len(recorded))
