"""The two sides of `benchmarks.grpo_step`: this library and TRL, each able to make a step of GRPO on the same work."""

from __future__ import annotations

import copy
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from gymnasium.vector import AutoresetMode

from mmsearch_agents import Rollouts
from mmsearch_agents.grpo import GRPOLearner, GrpoOptions
from mmsearch_agents.optimization import OptimizerOptions
from mmsearch_agents.policy import QwenModel, QwenPolicy, build_model, pictures_of, tiny_config
from mmsearch_env import World
from mmsearch_env.codec import BUILTIN, Codec, load_codec
from mmsearch_env.records import Task
from mmsearch_env.rewards.reward import Finished, Outcome
from mmsearch_env.stage import Stage
from mmsearch_env.vector import MMSearchVectorEnv

LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Cost:
    """What a step takes; the processor's seconds are those of this process, so others do not count in them."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Size:
    """How large a step is, and the model; `sizes` go to `tiny_config`."""

    groups: int = 8
    group_size: int = 8
    microbatches: int = 4
    new_tokens: int = 128
    repeats: int = 9
    sizes: tuple[tuple[str, int], ...] = ()


def vowels(text: str) -> float:
    """Return the share of vowels in a text: a reward that differs within a group of noise."""
    return sum(letter in "aeiou" for letter in text) / max(len(text), 1)


class Vowels:
    """The same as a reward of an environment."""

    name = "vowels"

    def __call__(self, finished: Finished) -> Outcome:
        """Score the last turn."""
        share = vowels(finished.turns[-1].text)
        return Outcome(share, {"vowels": share})


def tasks_alike(world: World, groups: int) -> tuple[list[Task], int]:
    """Return tasks whose prompts are equally long, and how many ids that is."""
    stage = Stage(world, world.splits[0], prompts="short")
    lengths = {task.id: stage.begin(task).prompt_length for task in stage.tasks}
    length, _ = Counter(lengths.values()).most_common(1)[0]
    return [task for task in stage.tasks if lengths[task.id] == length][:groups], length


def endless(codec: Codec) -> Codec:
    """Return the tokenizer with the end of a turn among the ids that a policy may not emit."""
    changed = copy.copy(codec)
    changed.action_mask = codec.action_mask.copy()
    changed.action_mask[codec.end_of_turn_id] = 0
    return changed


def make_model(size: Size) -> QwenModel:
    """Build the model of both sides; it follows from the size alone."""
    return build_model(tiny_config(load_codec(), **dict(size.sizes)))


class Clock:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._start, self._cpu_start = time.perf_counter(), time.process_time()

    def read(self) -> Cost:
        """Return what has been used up since."""
        return Cost(time.perf_counter() - self._start, time.process_time() - self._cpu_start)


class Ours:
    """`Rollouts` through `MMSearchVectorEnv`, and `GRPOLearner`, with all rows at once."""

    def __init__(self, world: World, size: Size) -> None:
        """Make environments whose episodes are cut off after the last id."""
        tasks, length = tasks_alike(world, size.groups)
        self.envs = envs = MMSearchVectorEnv(
            len(tasks) * size.group_size,
            world,
            split=world.splits[0],
            prompts="short",
            max_tokens=length + size.new_tokens,
            reward=Vowels(),
            autoreset_mode=AutoresetMode.DISABLED,
            copy=False,
        )
        envs.stage.tasks = tasks
        policy = QwenPolicy(make_model(size), endless(envs.stage.codec))
        cells = length - 1 + picture_cells(policy, envs.stage, tasks[0]) + size.new_tokens
        options = GrpoOptions(
            optimizer=OptimizerOptions(learning_rate=LEARNING_RATE),
            kl_coef=0.0,
            cells_per_pass=cells * envs.num_envs // size.microbatches,
        )
        self.learner = GRPOLearner(policy, options, pictures=pictures_of(envs.stage))
        rollouts = Rollouts(envs=envs, group_size=size.group_size, tasks_per_batch=len(tasks))
        self.batches = rollouts.batches(self.learner)
        self.played: list[float] = []

    def step(self) -> Cost:
        """Make a step."""
        clock = Clock()
        trajectories = next(self.batches)
        self.played.append(clock.read().cpu_seconds)
        self.learner.learn(trajectories)
        return clock.read()


class Theirs:
    """TRL's `GRPOTrainer` on prompts of the same length, text only."""

    def __init__(self, world: World, size: Size) -> None:
        """Make a trainer; TRL's own choices stay where they do not change what is computed."""
        datasets: Any = import_module("datasets")
        transformers: Any = import_module("transformers")
        trl: Any = import_module("trl")
        model = make_model(size)
        prompts = prompts_without_pictures(world, size, model)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(BUILTIN), eos_token="<|im_end|>", pad_token="<|endoftext|>"
        )

        class Watch(transformers.TrainerCallback):  # type: ignore[misc]
            """Times a step from within: what a training does before its first one is not part of it."""

            def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
                self.clock = Clock()

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                self.cost = self.clock.read()

        self._watch = Watch()
        with quiet(), tempfile.TemporaryDirectory() as folder:  # nothing is saved
            config = trl.GRPOConfig(
                folder,
                per_device_train_batch_size=len(prompts) * size.group_size // size.microbatches,
                gradient_accumulation_steps=size.microbatches,
                num_generations=size.group_size,
                max_completion_length=size.new_tokens,
                generation_kwargs={"min_new_tokens": size.new_tokens},
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                beta=0.0,
                loss_type="dapo",
                scale_rewards="none",
                max_steps=1,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            self.trainer: Any = trl.GRPOTrainer(
                model,
                lambda completions, **_: [vowels(text) for text in completions],
                config,
                datasets.Dataset.from_dict({"prompt": prompts}),
                processing_class=tokenizer,
                callbacks=[self._watch],
            )

    def step(self) -> Cost:
        """Make a step: a training of one."""
        with quiet():
            self.trainer.train()
        return self._watch.cost


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what transformers prints, and its warnings that TRL uses names that will go."""
    with warnings.catch_warnings(), tempfile.TemporaryFile("w") as nowhere:
        warnings.simplefilter("ignore", FutureWarning)
        printed, sys.stdout = sys.stdout, nowhere
        try:
            yield
        finally:
            sys.stdout = printed


def prompts_without_pictures(world: World, size: Size, model: QwenModel) -> list[str]:
    """Return the prompts as text, with as many ids in a picture's place as the model has cells for it."""
    tasks, _ = tasks_alike(world, size.groups)
    stage = Stage(world, world.splits[0], prompts="short")
    policy = QwenPolicy(model, stage.codec)
    prompts = []
    for task in tasks:
        context = stage.begin(task).context
        text = stage.codec.decode(context.tokens[: context.length[0]])
        prompts.append(text.replace("<|image_pad|>", picture_cells(policy, stage, task) * "<|vision_pad|>"))
    return prompts


def picture_cells(policy: QwenPolicy, stage: Stage, task: Task) -> int:
    """Return how many cells a task's picture takes."""
    return policy.inputs.patches(stage.view(task)).tokens
