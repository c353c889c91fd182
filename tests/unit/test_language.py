"""Which language models are taken, what of them is copied, and whether they fit in memory."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

import export.demo
from export.errors import ExportError
from export.parse import link_or_copy, write_assets
from serving.language import memory
from serving.language.model import LanguageModel, own_quantisation
from serving.language.settings import ParseSettings
from serving.settings import from_parameters
from serving.steps.parse import TritonPythonModel

DEMO = Path(export.demo.__file__).parent / "weights" / "parse"
DEFAULTS = asdict(ParseSettings())
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


@pytest.fixture
def checkpoint(tiny_checkpoints, tmp_path):
    return shutil.copytree(tiny_checkpoints / "parse", tmp_path / "source")


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({}, None),
        ({"quantization_config": NF4}, "nf4"),
        ({"quantization_config": {**NF4, "bnb_4bit_use_double_quant": True}}, "nf4_double"),
    ],
)
def test_a_quantised_folder_says_so(config, kind):
    assert own_quantisation(config) == kind


@pytest.mark.parametrize(
    ("own", "kind"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes in 8 bits"),
        ({**NF4, "bnb_4bit_quant_type": "fp4"}, "bitsandbytes in FP4"),
    ],
)
def test_another_quantisation_is_refused_by_name(checkpoint, tmp_path, own, kind):
    change(checkpoint / "config.json", quantization_config=own)
    with pytest.raises(ExportError, match=f"source: the weights are quantised with {kind}: parse takes"):
        write_assets(checkpoint, tmp_path, DEFAULTS)
    with pytest.raises(ValueError, match=f"^the weights are quantised with {kind}: "):
        LanguageModel(checkpoint, quantisation="nf4")


def test_an_unknown_quantisation_is_refused(checkpoint):
    with pytest.raises(ValueError, match="unknown quantisation 'int3': nf4, nf4_double or null"):
        LanguageModel(checkpoint, quantisation="int3")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(checkpoint, tmp_path, file):
    change(checkpoint / file, auto_map={"AutoModelForCausalLM": "modeling.Model"})
    with pytest.raises(ExportError, match=f"{file} has an auto_map: its own Python code would have to run"):
        write_assets(checkpoint, tmp_path, DEFAULTS)


def test_only_what_transformers_reads_is_copied(checkpoint, tmp_path):
    for name in ("pytorch_model.bin", "README.md", "picture.png", "model.gguf", "consolidated.safetensors"):
        (checkpoint / name).write_text("not needed")
    (checkpoint / "original").mkdir()
    needed = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert write_assets(checkpoint, tmp_path, DEFAULTS) == DEFAULTS
    assert {file.name for file in (tmp_path / "checkpoint").iterdir()} == {
        *needed,
        "chat_template.jinja",
        "model.safetensors",
    }


def test_a_missing_shard_is_named(checkpoint, tmp_path):
    (checkpoint / "model.safetensors").rename(checkpoint / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ExportError, match=r"model-00002-of-00002\.safetensors is missing"):
        write_assets(checkpoint, tmp_path, DEFAULTS)


def test_weights_behind_a_symbolic_link_are_linked_and_private_ones_copied(tmp_path):
    (tmp_path / "blob").write_bytes(b"weights")
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    (tmp_path / "blob").chmod(0o644)
    link_or_copy(tmp_path / "link", tmp_path / "linked")
    assert (tmp_path / "linked").samefile(tmp_path / "blob")
    assert not (tmp_path / "linked").is_symlink()
    (tmp_path / "blob").chmod(0o600)
    link_or_copy(tmp_path / "link", tmp_path / "copied")
    assert not (tmp_path / "copied").samefile(tmp_path / "blob")
    assert (tmp_path / "copied").read_bytes() == b"weights"


def test_weights_are_copied_where_links_cannot_be_made(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "source").write_bytes(b"weights")
    link_or_copy(tmp_path / "source", tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"weights"


@pytest.mark.parametrize("quantisation", [None, "nf4", "nf4_double"])
def test_estimated_bytes_are_those_of_the_loaded_model(quantisation, monkeypatch):
    monkeypatch.setattr(memory, "WORKING_BYTES_PER_WEIGHT", 0)
    estimate = memory.bytes_needed(AutoConfig.from_pretrained(DEMO), torch.float32, quantisation)
    model = LanguageModel(DEMO, quantisation=quantisation).model
    states = [state for weight in model.parameters() if (state := getattr(weight, "quant_state", None))]
    statistics = sum(state.absmax.nbytes for state in states)
    assert estimate == pytest.approx(model.get_memory_footprint() + statistics, rel=0.1)


def test_the_project_s_first_model_needs_less_than_24_gb():
    config = AutoConfig.for_model(
        "qwen2", vocab_size=152064, hidden_size=5120, intermediate_size=27648, num_hidden_layers=64,
        num_attention_heads=40, num_key_value_heads=8, tie_word_embeddings=False,
    )  # fmt: skip
    assert memory.bytes_needed(config, torch.bfloat16, None) > 65e9
    assert 18e9 < memory.bytes_needed(config, torch.bfloat16, "nf4_double") < 23e9


def test_a_model_larger_than_free_memory_is_refused(checkpoint, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 14_000_000_000)
    with pytest.raises(MemoryError, match=r"^parse needs about 21\.3 GB of memory and 14\.0 GB are free: serve a sma"):
        memory.placement(21_300_000_000, "cpu")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100)
    with pytest.raises(MemoryError, match="GB are free"):
        LanguageModel(checkpoint, quantisation="nf4")


def test_a_model_larger_than_its_limit_is_refused(checkpoint):
    with pytest.raises(MemoryError, match=r"memory_limit_gb allows 0\.0 GB: serve a smaller parse preset"):
        LanguageModel(checkpoint, quantisation="nf4", memory_limit=1000)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"memory_limit_gb": "1e-6"}, MemoryError, "memory_limit_gb allows"),
        ({"memory_limit": "1"}, ValueError, "unknown parameters memory_limit; known: memory_limit_gb"),
    ],
)
def test_the_step_s_parameter_is_the_limit(checkpoint, tmp_path, parameters, error, message):
    (tmp_path / "parse.json").write_text(json.dumps(write_assets(checkpoint, tmp_path, DEFAULTS)))
    step = TritonPythonModel()
    step.device = "cpu"
    with pytest.raises(error, match=message):
        step.load(tmp_path, 1, from_parameters(step.parameters, parameters))
    step.load(tmp_path, 1, from_parameters(step.parameters, {"memory_limit_gb": "1"}))


def test_sliding_windows_are_served_without_a_kept_prefix(checkpoint):
    change(checkpoint / "config.json", use_sliding_window=True, sliding_window=512, layer_types=["sliding_attention"])
    model = LanguageModel(checkpoint, quantisation=None)
    assert model.prefix == []
    assert len(model.answer(["Replace the car with a boat", "?"])) == 2


def test_a_model_too_large_for_one_gpu_is_spread(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: {"cuda:0": 10, "cuda:1": 20}[device])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert memory.placement(10, "cuda:0") == {"device_map": {"": "cuda:0"}}
    assert memory.placement(30, "cuda:0") == {"device_map": "auto", "max_memory": {0: 10, 1: 20}}
    with pytest.raises(MemoryError, match="of GPU memory"):
        memory.placement(31, "cuda:0")


@pytest.mark.parametrize(
    ("membership", "base", "files", "cached"),
    [
        ("0::/job/own\n", "", ("memory.max", "memory.current"), "active_file 5\ninactive_file 7\n"),
        (
            "4:cpu,memory:/job/own\n3:cpu:/\n",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "active_file 1\ninactive_file 1\ntotal_active_file 5\ntotal_inactive_file 7\n",
        ),
    ],
)
def test_memory_of_control_groups(tmp_path, membership, base, files, cached):
    limit, usage = files
    for folder, values in (("", ("100", "30")), ("job", ("80", "50")), ("job/own", ("max", "50"))):
        group = tmp_path / base / folder
        group.mkdir(exist_ok=True, parents=True)
        for name, value in zip((limit, usage), values, strict=True):
            (group / name).write_text(value + "\n")
        (group / "memory.stat").write_text(cached)
    assert sorted(memory._free_in_groups(tmp_path, membership)) == [80 - 50 + 12, 100 - 30 + 12]
    shutil.rmtree(tmp_path / base / "job")  # not visible inside a container
    assert list(memory._free_in_groups(tmp_path, membership)) == [100 - 30 + 12]


def test_free_memory_of_this_machine():
    assert 0 < memory.free_bytes("cpu") < 1 << 50
