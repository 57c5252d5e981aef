"""One episode of atlas, turn by turn: `python examples/quickstart.py`."""

import gymnasium as gym

from mmsearch_env.wrappers import TextActions

env = TextActions(gym.make("mmsearch_env:MMSearch-v0", world="atlas", split="test"))
observation, info = env.reset(options={"task_id": "test-0134/search-1"})
print(info["question"])  # about the picture in info["image"]
for turn in (
    "<reason>Which flag is that?</reason><img_search>the flag at the bottom right</img_search>",
    "<reason>It is Japan's.</reason><text_search>Japan currency</text_search>",
    "<reason>That page names another one.</reason><text_search>Banknotes of Japan</text_search>",
    "<reason>Now I know.</reason><answer>the yen</answer>",
):
    observation, reward, terminated, truncated, info = env.step(turn)
    print(info["turn"]["kind"], info["turn"]["hits"], reward)
