"""A Gymnasium environment in which multimodal models learn to search, answered offline from recorded worlds.

Importing the package registers `MMSearch-v0`.
"""

import gymnasium as _gymnasium

from mmsearch_env.records import Answer, Box, Hit, Query, Task, ToolCall
from mmsearch_env.storage import load_trajectories, save_trajectories
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.version import __version__
from mmsearch_env.worlds import World, list_worlds, load_world, verify_world, write_world

_gymnasium.register(
    id="MMSearch-v0",
    entry_point="mmsearch_env.env:MMSearchEnv",
    vector_entry_point="mmsearch_env.vector:MMSearchVectorEnv",
)

__all__ = [
    "Answer",
    "Box",
    "Hit",
    "Query",
    "Task",
    "ToolCall",
    "Trajectory",
    "World",
    "__version__",
    "list_worlds",
    "load_trajectories",
    "load_world",
    "save_trajectories",
    "verify_world",
    "write_world",
]
