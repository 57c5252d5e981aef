"""What is said about 7 B: the estimate's numbers are the model's own, and the script for an accelerator runs."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("peft", reason="the extra `agents` is not installed")

from benchmarks import estimate_7b, gpu_7b  # noqa: E402
from mmsearch_agents.policy import LoraOptions, QwenModel, add_lora  # noqa: E402
from mmsearch_env.codec import load_codec  # noqa: E402


@pytest.fixture(scope="module")
def whole_model():
    """The model at its full size, without memory behind it."""
    with torch.device("meta"):
        return QwenModel._from_config(gpu_7b.qwen_config(estimate_7b.Geometry(), load_codec()))


def counted(parameters):
    return sum(parameter.numel() for parameter in parameters)


def test_the_geometry_counts_the_parameters_that_the_model_has(whole_model):
    geometry = estimate_7b.Geometry()
    assert counted(whole_model.parameters()) == geometry.parameters == 8_292_166_656
    assert counted(whole_model.model.visual.parameters()) == geometry.vision_parameters
    layers = whole_model.model.language_model.layers
    assert counted(layers.parameters()) == geometry.block_parameters


def test_adapters_have_the_parameters_that_the_geometry_counts():
    model = QwenModel._from_config(gpu_7b.qwen_config(gpu_7b.TINY, load_codec()))
    tuned = add_lora(model, LoraOptions(rank=4))
    trained = counted(parameter for parameter in tuned.parameters() if parameter.requires_grad)
    assert trained == gpu_7b.TINY.lora_parameters(4)


def test_the_rotary_sections_are_those_of_the_released_model(whole_model):
    assert whole_model.config.text_config.rope_parameters["mrope_section"] == [16, 24, 24]
    assert whole_model.config.vision_config.fullatt_block_indexes == [7, 15, 23, 31]


def test_a_longer_context_or_more_rows_take_more_memory_and_time():
    geometry = estimate_7b.Geometry()
    few = estimate_7b.Work(rollouts=8, context=2048, prompt=1024, sampled=256, rows=8)
    many = estimate_7b.Work(rollouts=64, context=4096, prompt=1024, sampled=256, rows=64)
    parts = estimate_7b.memory(geometry, few)
    assert parts["weights"] == 2 * geometry.parameters
    assert parts["keys and values while playing"] == 8 * 2048 * 57_344
    assert estimate_7b.peak_memory(parts) < sum(parts.values())
    assert estimate_7b.peak_memory(parts) < estimate_7b.peak_memory(estimate_7b.memory(geometry, many))
    slow = estimate_7b.seconds(geometry, many, estimate_7b.H100)
    assert all(slow[name] > part for name, part in estimate_7b.seconds(geometry, few, estimate_7b.H100).items())


def test_the_estimate_is_written_as_a_table_and_as_numbers(tmp_path, capsys):
    estimate_7b.main(["--out", str(tmp_path)])
    table = (tmp_path / "estimate_7b.md").read_text("utf-8")
    assert "| **peak memory, GiB** |" in table
    assert table.strip() == capsys.readouterr().out.strip()
    assert set(json.loads((tmp_path / "estimate_7b.json").read_text("utf-8"))) == {"8 episodes", "`paper_main`"}


def test_the_script_for_an_accelerator_runs_on_a_tiny_model(tmp_path, capsys):
    small = ["--rows", "2", "--new-tokens", "3", "--image-size", "56", "84", "--repeats", "1"]
    gpu_7b.main(["--tiny", *small, "--out", str(tmp_path)])
    written = json.loads((tmp_path / "gpu_7b_tiny.json").read_text("utf-8"))
    assert written["parts"]["playing"]["tokens"] == 2 * 3
    assert written["parts"]["learning"]["tokens"] > 2 * 3
    for part in written["parts"].values():
        assert len(part["seconds"]) == 1
        assert part["operations"] > 0
    assert "| learning |" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_without_an_accelerator_it_says_so(capsys):
    with pytest.raises(SystemExit) as caught:
        gpu_7b.main([])
    assert caught.value.code == 2
    assert "--tiny" in capsys.readouterr().err
