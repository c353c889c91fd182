"""Checkpoints as they are found: in shards, as fp16 variants, cut short, damaged, or a whole pipeline in one file."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub.errors import DryRunError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    CLIPSegForImageSegmentation,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2ForCausalLM,
)

from export import hub, inpaint, mask, parse, presets, sdxl, segmenter, single_file, skeleton, text_encoder, unet, vae
from export.__main__ import main
from export.errors import ExportError
from export.weights import readable, unread
from tests.exporting import empty_repository
from tests.single_file import original

STEPS = {"inpaint": inpaint, "mask": mask, "parse": parse}
PARTS = {
    "inpaint/unet": UNet2DConditionModel,
    "inpaint/vae": AutoencoderKL,
    "inpaint/text_encoder": CLIPTextModel,
    "mask": CLIPSegForImageSegmentation,
    "parse": Qwen2ForCausalLM,
}
XL_PARTS = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
NETWORKS = {
    "unet": lambda folder: unet.load(folder / "inpaint"),
    "vae_encoder": lambda folder: vae.load_encoder(folder / "inpaint"),
    "vae_decoder": lambda folder: vae.load_decoder(folder / "inpaint"),
    "text_encoder": lambda folder: text_encoder.load(folder / "inpaint"),
    "segmenter": lambda folder: segmenter.load(folder / "mask", 256),
}


def save_again(kind, folder, *, variant=None, shards=1):
    """Write the weights in `folder` once more, as the library itself does it, and nothing else of them."""
    library = {"torch_dtype": torch.float16} if kind in (UNet2DConditionModel, AutoencoderKL) else {"dtype": "float16"}
    model = kind.from_pretrained(folder, **library)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    size = sum(tensor.numel() * 2 for tensor in model.state_dict().values())
    model.save_pretrained(folder, variant=variant, max_shard_size=size if shards == 1 else size // shards)


def copied(folder, destination):
    return Path(shutil.copytree(folder, destination))


@pytest.fixture(scope="module", params=[(None, 3), ("fp16", 1), ("fp16", 3)], ids=["shards", "fp16", "fp16-shards"])
def laid_out(request, tiny_checkpoints, tmp_path_factory):
    """The tiny checkpoints, every network's weights in shards, as the fp16 variant alone, or both."""
    variant, shards = request.param
    folder = copied(tiny_checkpoints, tmp_path_factory.mktemp("checkpoints") / "tiny")
    for part, kind in PARTS.items():
        save_again(kind, folder / part, variant=variant, shards=shards)
    plain = [file for file in folder.rglob("*.safetensors") if file.stem in ("model", "diffusion_pytorch_model")]
    assert not plain
    return folder


def settings(step):
    return presets.PRESETS["demo"].settings[step]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_however_its_files_are_cut(laid_out, tiny_checkpoints, name):
    found, wanted = (NETWORKS[name](folder).module.state_dict() for folder in (laid_out, tiny_checkpoints))
    assert found.keys() == wanted.keys()
    assert {tensor.dtype for tensor in found.values() if tensor.is_floating_point()} == {torch.float32}
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_language_model_of_a_release_is_the_same_however_its_files_are_cut(laid_out, tiny_checkpoints, tmp_path):
    parse.write_assets(laid_out / "parse", tmp_path, settings("parse"))
    found, wanted = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()  # as the server does, which asks for no variant
        for folder in (tmp_path / "checkpoint", tiny_checkpoints / "parse")
    )
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("step", ["inpaint", "mask"])
def test_a_steps_assets_are_the_same_however_its_files_are_cut(laid_out, tiny_checkpoints, tmp_path, step):
    found, wanted = (
        STEPS[step].write_assets(folder / step, tmp_path, settings(step)) for folder in (laid_out, tiny_checkpoints)
    )
    assert found == wanted


def test_every_weight_that_is_read_counts_for_the_fingerprint(laid_out):
    assert set(readable(laid_out)) >= set(laid_out.rglob("*.safetensors"))


@pytest.mark.parametrize(("variant", "shards"), [(None, 3), ("fp16", 1), ("fp16", 3)])
def test_xls_second_text_encoder_may_be_cut_as_well(tmp_path, variant, shards):
    skeleton.write("sdxl-inpainting", tmp_path / "plain", miniature=True)
    folder = copied(tmp_path / "plain", tmp_path / "cut")
    for part, kind in XL_PARTS.items():
        save_again(kind, folder / part, variant=variant, shards=shards)
    for load in (sdxl.load_text_encoder, sdxl.load_unet):
        found, wanted = (load(place).module.state_dict() for place in (folder, tmp_path / "plain"))
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_variants_are_read_only_where_the_weights_are_not_there_by_themselves():
    both = ["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"]
    alone = ["vae/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
             "vae/diffusion_pytorch_model.fp16-00002-of-00002.safetensors"]  # fmt: skip
    further = ["text_encoder/model.fp16.safetensors", "text_encoder/model.bf16.safetensors"]
    older = ["image/model-00001-of-00002.safetensors", "image/model-00001-of-00002.fp16.safetensors"]
    whole = ["sd-v1-5-inpainting.safetensors", "sd-v1-5-inpainting.fp16.safetensors"]
    index = ["unet/diffusion_pytorch_model.safetensors.index.fp16.json", "model_index.json"]
    assert unread([*both, *alone, *further, *older, *whole, *index]) == {both[1], further[1], older[1], *whole}
    assert unread(whole) == {whole[1]}


def test_fp16_variants_alone_are_downloaded(monkeypatch, tmp_path):
    listing = {"unet/diffusion_pytorch_model.fp16.safetensors": 7, "vae/diffusion_pytorch_model.safetensors": 7,
               "vae/diffusion_pytorch_model.fp16.safetensors": 10**18}  # fmt: skip
    asked = []

    def snapshot_download(repository, *, dry_run=False, **wanted):
        asked.append(wanted)
        files = [SimpleNamespace(filename=name, file_size=size, will_download=True) for name, size in listing.items()]
        return files if dry_run else str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    assert hub.fetch("some/checkpoint", "main") == tmp_path
    assert asked[-1]["ignore_patterns"] == ["vae/diffusion_pytorch_model.fp16.safetensors"]


def test_without_the_hub_the_cache_answers(monkeypatch, tmp_path):
    def snapshot_download(repository, *, dry_run=False, **wanted):
        if dry_run:
            raise DryRunError("offline")
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    assert hub.fetch("some/checkpoint", "main") == tmp_path


# --- damage

UNET, TEXT = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


def cut(name, share=0.5):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return damage


def overwritten(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def without(name):
    return lambda folder: (folder / name).unlink()


def without_tensor(name):
    def damage(folder):
        tensors = load_file(folder / name)
        del tensors[sorted(tensors)[0]]
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return damage


def without_key(name, key):
    def damage(folder):
        content = json.loads((folder / name).read_text())
        del content[key]
        (folder / name).write_text(json.dumps(content))

    return damage


def of_other_sizes(folder):
    content = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps({**content, "cross_attention_dim": 64}))


def sharded(damage, part="unet", kind=UNet2DConditionModel):
    def both(folder):
        save_again(kind, folder / part, shards=3)
        damage(folder)

    return both


def read_all(folder, destination):
    """As an export reads an inpaint checkpoint."""
    inpaint.write_assets(folder, destination, settings("inpaint"))
    for load in inpaint.networks(folder).values():
        load(folder)


def edited_index(edit):
    def damage(folder):
        file = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
        content = json.loads(file.read_text())
        edit(content["weight_map"])
        file.write_text(json.dumps(content))

    return sharded(damage)


def naming(file):
    return edited_index(lambda where: where.update({sorted(where)[0]: file}))


def swapped(where):
    one, other = sorted(where)[0], next(name for name in sorted(where) if where[name] != where[sorted(where)[0]])
    where[one] = where[other]


SHARD = "diffusion_pytorch_model-00002-of-0000"
INDEX = "diffusion_pytorch_model.safetensors.index.json"
POINTER = b"version https://git-lfs.invalid/spec/v1\noid sha256:00\nsize 1\n"
DAMAGES = {
    "cut in the middle": (cut(UNET), rf"{UNET} is damaged or cut short \(.*\): fetch it again"),
    "cut in the header": (cut(UNET, 0.001), rf"{UNET} is damaged or cut short"),
    "empty": (overwritten(UNET, b""), rf"{UNET} is damaged or cut short"),
    "wrong header": (overwritten(UNET, b"\xff" * 4096), rf"{UNET} is damaged or cut short"),
    "a page of the web": (overwritten(TEXT, b"<html>" * 99), rf"{TEXT} is damaged or cut short"),
    "a pointer": (overwritten(TEXT, POINTER), rf"{TEXT} is a Git LFS pointer, not the weights: run git lfs pull"),
    "one weight missing": (without_tensor(UNET), rf"{UNET} lacks 1 of the weights of UNet2DConditionModel, such as"),
    "of CLIP too": (without_tensor(TEXT), rf"{TEXT} lacks 1 of the weights of CLIPTextModel, such as"),
    "another size": (of_other_sizes, "config.json and its weights do not fit each other"),
    "no config.json": (without("text_encoder/config.json"), "it has no text_encoder/config.json"),
    "no config.json of the VAE": (without("vae/config.json"), "it has no vae/config.json"),
    "config.json cut": (cut("unet/config.json"), r"unet/config.json is damaged, it .*: fetch it again"),
    "config.json no text": (overwritten("vae/config.json", b"\xff\xfe"), "vae/config.json is damaged"),
    "config.json a list": (overwritten("vae/config.json", b"[]"), "vae/config.json is damaged, it holds no JSON obj"),
    "a key missing": (without_key("unet/config.json", "in_channels"), "unet/config.json has no in_channels: fetch"),
    "tokenizer cut": (cut("tokenizer/tokenizer.json"), "tokenizer/tokenizer.json is damaged"),
    "tokenizer of nothing": (overwritten("tokenizer/tokenizer.json", b"{}"), "the tokenizer in .* cannot be read"),
    "a shard missing": (
        sharded(lambda folder: next((folder / "unet").glob(f"{SHARD}*")).unlink()),
        rf"unet/{SHARD}.\.safetensors is missing, which {INDEX} names: fetch it, too",
    ),
    "a shard cut": (
        sharded(lambda folder: cut(f"unet/{next((folder / 'unet').glob(f'{SHARD}*')).name}")(folder)),
        rf"unet/{SHARD}.\.safetensors is damaged or cut short",
    ),
    "an index of other files": (naming("other.safetensors"), f"other.safetensors is missing, which {INDEX} names"),
    "an index that points out": (naming("../x.safetensors"), r"names \.\./x.safetensors, which is not in its own"),
    "an index that is wrong": (edited_index(swapped), rf"lacks .*, which {INDEX} says is there: fetch both again"),
    "an index of nothing": (edited_index(dict.clear), f"{INDEX} is damaged, its weight_map is no table of files"),
    "an index cut": (sharded(cut(f"unet/{INDEX}")), f"{INDEX} is damaged, it"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_refused_in_one_sentence_that_names_the_file(tiny_checkpoints, tmp_path, capsys, name):
    damage, sentence = DAMAGES[name]
    folder = copied(tiny_checkpoints / "inpaint", tmp_path / "checkpoint")
    damage(folder)
    with pytest.raises(ExportError, match=sentence) as refusal:
        read_all(folder, tmp_path)
    assert "\n" not in str(refusal.value)
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize("step", ["mask", "parse"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_cut_file_of_a_transformers_folder_is_named(tiny_checkpoints, tmp_path, step, name):
    folder = copied(tiny_checkpoints / step, tmp_path / "checkpoint")
    cut(name, 0.4)(folder)
    with pytest.raises(ExportError, match=rf"{folder / name} is damaged"):
        STEPS[step].write_assets(folder, tmp_path, settings(step))


@pytest.mark.parametrize("step", ["mask", "parse"])
def test_a_missing_shard_of_a_transformers_folder_is_named(tiny_checkpoints, tmp_path, step):
    folder = copied(tiny_checkpoints / step, tmp_path / "checkpoint")
    save_again(PARTS[step], folder, shards=3)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ExportError, match=f"{shard} is missing, which model.safetensors.index.json names"):
        STEPS[step].write_assets(folder, tmp_path, settings(step))


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt"])
@pytest.mark.parametrize(
    ("step", "part"), [("inpaint", "vae"), ("inpaint", "text_encoder"), ("mask", ""), ("parse", "")]
)
def test_pickles_alone_are_refused_with_what_to_do(tiny_checkpoints, tmp_path, step, part, suffix):
    folder = copied(tiny_checkpoints / step, tmp_path / "checkpoint")
    for file in (folder / part).glob("*.safetensors"):
        file.rename(file.with_suffix(suffix))
    with pytest.raises(ExportError, match=r"has only pickled weights .*: convert them to safetensors"):
        STEPS[step].write_assets(folder, tmp_path, settings(step))


@pytest.mark.parametrize("step", STEPS)
def test_a_damaged_checkpoint_releases_nothing_and_the_command_says_so_in_a_line(
    tiny_checkpoints, tmp_path, capsys, step
):
    folder = copied(tiny_checkpoints / step, tmp_path / "checkpoint")
    cut(max(folder.rglob("*.safetensors")).relative_to(folder))(folder)
    repository = empty_repository(tmp_path / "model_repository")
    before = sorted(repository.rglob("*"))
    command = ["--preset", "demo", "--only", step, "--repository", str(repository), "--checkpoint", str(folder)]
    assert main(command) == 1
    answer = capsys.readouterr().err
    assert re.fullmatch(r"export: .* is damaged or cut short \(.*\): fetch it again\n", answer)
    assert [file for file in sorted(repository.rglob("*")) if file not in before and file.name != ".lock"] == []


# --- a whole pipeline in one file


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "sd15"
    skeleton.write("sd15-inpainting", folder, miniature=True)
    return folder


@pytest.fixture
def one_file(pipeline, tmp_path):
    file = tmp_path / "community.safetensors"
    save_file(original(pipeline), file)
    return file


def configuration(pipeline, folder):
    """What `pipeline` has beside its weights."""
    return copied_without(pipeline, folder, "*.safetensors")


def copied_without(source, folder, pattern):
    return Path(shutil.copytree(source, folder, ignore=shutil.ignore_patterns(pattern), dirs_exist_ok=True))


def test_a_pipeline_in_one_file_is_the_same_in_folders(pipeline, one_file, tmp_path):
    folder = single_file.convert(one_file, configuration(pipeline, tmp_path / "layout"), tmp_path / "inpaint")
    for name in (UNET, "vae/diffusion_pytorch_model.safetensors", TEXT):
        found, wanted = load_file(folder / name), load_file(pipeline / name)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert inpaint.write_assets(folder, tmp_path, settings("inpaint"))["sampler"] == "pndm"


@pytest.mark.parametrize("preset", ["sd2-inpainting", "sdxl-inpainting"])
def test_later_families_in_one_file_are_the_same_in_folders(tmp_path, preset):
    source = tmp_path / "source"
    skeleton.write(preset, source, miniature=True)
    if preset == "sdxl-inpainting":  # diffusers tells its two text encoders apart by their widths
        config = CLIPTextConfig(**{**skeleton.SMALL_TEXT, "hidden_size": 32})
        CLIPTextModel(config).half().save_pretrained(source / "text_encoder")
    save_file(original(source), tmp_path / "community.safetensors")
    folder = single_file.convert(tmp_path / "community.safetensors", source, tmp_path / "inpaint")
    for file in source.rglob("*.safetensors"):
        found, wanted = load_file(folder / file.relative_to(source)), load_file(file)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_file_in_float32_keeps_its_precision(pipeline, tmp_path):
    tensors = {name: tensor.float() + 1e-5 for name, tensor in original(pipeline).items()}
    save_file(tensors, tmp_path / "full.safetensors")
    folder = single_file.convert(tmp_path / "full.safetensors", pipeline, tmp_path / "inpaint")
    assert torch.equal(load_file(folder / UNET)["conv_in.bias"], tensors["model.diffusion_model.input_blocks.0.0.bias"])


def test_the_same_file_is_laid_out_the_same_again(pipeline, one_file, tmp_path):
    first, second = (single_file.convert(one_file, pipeline, tmp_path / name) for name in ("one", "two"))
    files = [file.relative_to(first) for file in first.rglob("*") if file.is_file()]
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_weights_of_the_layout_do_not_stand_in_for_the_files(pipeline, tmp_path):
    tensors = original(pipeline)
    del tensors["cond_stage_model.transformer.text_model.final_layer_norm.weight"]
    save_file(tensors, tmp_path / "lacking.safetensors")
    with pytest.raises(ExportError, match=r"lacking\.safetensors does not fit .*\(it lacks some of the weights"):
        single_file.convert(tmp_path / "lacking.safetensors", pipeline, tmp_path / "inpaint")


def of_four_channels(tensors):
    tensors[single_file.FIRST] = tensors[single_file.FIRST][:, :4].contiguous()


def part_missing(prefix):
    def edit(tensors):
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (of_four_channels, "takes 4 channels, and inpainting needs 9: give an inpainting checkpoint"),
        (part_missing("first_stage_model"), "holds no whole pipeline, it lacks a VAE"),
        (part_missing("cond_stage_model"), "holds no whole pipeline, it lacks a text encoder"),
        (part_missing("model.diffusion"), "holds no whole pipeline, it lacks a UNet"),
    ],
)
def test_an_unfit_file_is_refused_in_one_sentence(pipeline, tmp_path, edit, sentence):
    tensors = original(pipeline)
    edit(tensors)
    save_file(tensors, tmp_path / "unfit.safetensors")
    with pytest.raises(ExportError, match=sentence):
        single_file.convert(tmp_path / "unfit.safetensors", pipeline, tmp_path / "inpaint")


def command(capsys, tmp_path, file, *words):
    """The exit code and what `python -m export` says of the checkpoint `file`, in a repository of its own."""
    repository = empty_repository(tmp_path / "model_repository")
    code = main([*words, "--repository", str(repository), "--checkpoint", str(file)])
    assert list(repository.glob("inpaint/[0-9]*")) == []
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("x.ckpt", ["--preset", "sd15-inpainting"], "x.ckpt is no safetensors file, and only those are read: convert"),
        ("x.safetensors", ["--preset", "sd15-inpainting"], "x.safetensors is damaged or cut short"),
        ("x.safetensors", ["--preset", "demo", "--only", "mask"], "mask takes a folder: give the one that holds"),
    ],
)
def test_a_file_that_is_none_of_these_is_refused_in_one_sentence(tmp_path, capsys, name, words, sentence):
    (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    code, answer = command(capsys, tmp_path, tmp_path / name, *words)
    assert (code, answer.count("\n")) == (1, 1)
    assert re.search(sentence, answer)


def test_a_folder_with_such_a_file_alone_says_how_to_give_it(one_file, tmp_path, capsys):
    code, answer = command(capsys, tmp_path, one_file.parent, "--preset", "sd15-inpainting")
    assert (code, answer.count("\n")) == (1, 1)
    assert answer.endswith(f"say --checkpoint {one_file}\n")


def test_without_a_configuration_the_command_that_fetches_it_is_said(one_file, tmp_path, capsys, monkeypatch):
    def snapshot_download(repository, **wanted):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    code, answer = command(capsys, tmp_path, one_file, "--preset", "sd15-inpainting")
    assert (code, answer.count("\n")) == (1, 1)
    assert re.search(r"lay the file beside the model_index.json .* hf download genai-archive/\S+ --revision", answer)


@pytest.mark.parametrize("beside", [True, False], ids=["beside the file", "from the hub"])
def test_the_configuration_is_the_folders_or_the_presets(pipeline, one_file, tmp_path, monkeypatch, beside):
    """As far as the order: an export of it takes half a minute, and is like any other."""
    from export.__main__ import arguments, order

    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(configuration(pipeline, tmp_path / "hub")))
    if beside:
        configuration(pipeline, one_file.parent)
        monkeypatch.delattr(hub, "snapshot_download")
    options = arguments().parse_args(["--preset", "sd15-inpainting", "--checkpoint", str(one_file)])
    (tmp_path / "scratch").mkdir()
    made = order(options, presets.PRESETS["sd15-inpainting"], "inpaint", tmp_path / "scratch")
    assert made.source.checkpoint == "a single file"
    assert made.checkpoint == tmp_path / "scratch" / "inpaint"
    assert load_file(made.checkpoint / UNET).keys() == load_file(pipeline / UNET).keys()


@pytest.mark.slow
def test_a_pipeline_in_one_file_becomes_a_release_and_the_same_one_again(pipeline, one_file, tmp_path, capsys):
    configuration(pipeline, one_file.parent)
    repository = empty_repository(tmp_path / "model_repository")
    words = ["--preset", "sd15-inpainting", "--repository", str(repository), "--checkpoint", str(one_file)]
    assert main(words) == 0
    assert (repository / "unet" / "1" / "model.onnx").exists()
    assert main(words) == 0
    assert "release 1 is up to date" in capsys.readouterr().out
