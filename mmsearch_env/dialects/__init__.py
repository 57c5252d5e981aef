"""Published agents' languages; `get_dialect` finds one by name."""

from __future__ import annotations

from mmsearch_env.dialects.deepmmsearch_r1 import DeepMMSearchR1
from mmsearch_env.dialects.dialect import Dialect, Limits, ToolTurn
from mmsearch_env.dialects.mmsearch_r1 import MMSearchR1
from mmsearch_env.dialects.search_r1 import SearchR1
from mmsearch_env.dialects.tool_call import ToolCallDialect
from mmsearch_env.errors import ConfigurationError, unknown

_BUNDLED: dict[str, type[Dialect]] = {
    "deepmmsearch_r1": DeepMMSearchR1,
    "mmsearch_r1": MMSearchR1,
    "search_r1": SearchR1,
    "tool_call": ToolCallDialect,
}

_PARTS = (
    "name",
    "limits",
    "system",
    "on_malformed",
    "on_no_box",
    "prompt",
    "parse",
    "render",
    "tool_turn",
    "malformed_turn",
    "follows_format",
)

DIALECTS = tuple(_BUNDLED)
"""Names of the bundled dialects."""


def get_dialect(dialect: str | Dialect) -> Dialect:
    """Return the bundled dialect of a name; an instance of a dialect is returned as it is.

    Raises:
        ConfigurationError: if there is no dialect of that name.
    """
    if isinstance(dialect, type):
        raise ConfigurationError(
            f"Expected an instance of a dialect, got the class {dialect.__name__}. Write it with ()."
        )
    if not isinstance(dialect, str):
        missing = [name for name in _PARTS if not hasattr(dialect, name)]
        if missing:
            raise ConfigurationError(
                f"Expected a dialect's name or an object with {', '.join(_PARTS)}, got {dialect!r}, which lacks "
                f"{', '.join(missing)}. See mmsearch_env.dialects.Dialect."
            )
        return dialect
    if dialect not in _BUNDLED:
        raise ConfigurationError(unknown("dialect", dialect, DIALECTS) + " Or pass an instance of your own class.")
    return _BUNDLED[dialect]()


__all__ = [
    "DIALECTS",
    "DeepMMSearchR1",
    "Dialect",
    "Limits",
    "MMSearchR1",
    "SearchR1",
    "ToolCallDialect",
    "ToolTurn",
    "get_dialect",
]
