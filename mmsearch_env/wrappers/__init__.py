"""Coarser actions over the same episode: segments of ids, whole turns as text, and a menu for classical RL."""

from mmsearch_env.wrappers.macro import MacroActions
from mmsearch_env.wrappers.segment import SegmentActions
from mmsearch_env.wrappers.text import TextActions

__all__ = ["MacroActions", "SegmentActions", "TextActions"]
