"""A policy whose model a vLLM server runs: token ids and pictures in, token ids and log-probabilities out."""

from mmsearch_agents.vllm.policy import VLLMPolicy
from mmsearch_agents.vllm.rollouts import ServedRollouts, play_turns, sends_adapters
from mmsearch_agents.vllm.server import Generated, VLLMServer

__all__ = ["Generated", "ServedRollouts", "VLLMPolicy", "VLLMServer", "play_turns", "sends_adapters"]
