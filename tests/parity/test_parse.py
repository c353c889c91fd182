"""The language model in NF4: our loading and decoding against transformers' own, and what the demo's understands.

NF4 has many kernels. Some round to bfloat16, and which of them works depends on the processor and on the shape of the
batch. So what two ways of computing the same may differ by is measured here, on the same weights in float32.
"""

import copy
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, DynamicCache

import export.demo
from export.demo.sentences import held_out
from serving.errors import EditError
from serving.language.grammar import AnswerState
from serving.language.instruction import Edit, read_answer
from serving.language.model import LanguageModel, chat_prompt

CHECKPOINT = Path(export.demo.__file__).parent / "weights" / "parse"

PLAIN = {
    "Replace the car with a bicycle": Edit("replace", "car", "bicycle"),
    "swap the red car on the left for a boat": Edit("replace", "red car on the left", "boat"),
    "Turn the dog into a cat!": Edit("replace", "dog", "cat"),
    "get rid of the dog": Edit("remove", "dog", ""),
    "make the house blue": Edit("recolour", "house", "blue"),
    "Please paint the red car green.": Edit("recolour", "red car", "green"),
    "paint the car #C0392B": Edit("recolour", "car", "#C0392B"),
    "Change the colour of the red chair to rgb(20, 30, 200)": Edit("recolour", "red chair", "rgb(20, 30, 200)"),
    "make the umbrella sky blue": Edit("recolour", "umbrella", "sky blue"),
    "paint the sky blue": Edit("recolour", "sky", "blue"),
    "turn the door wooden": Edit("recolour", "door", "wooden"),
    "make the chair brown leather": Edit("recolour", "chair", "brown leather"),
    "swap the car for a #c03 boat": Edit("replace", "car", "#c03 boat"),
    "replace the zorblat with a quimby": Edit("replace", "zorblat", "quimby"),
    "hello there": None,
    "what is in this picture?": None,
}


FLOAT32 = 1e-5
"""What scores may differ by where nothing rounds to less than float32."""


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel(CHECKPOINT, quantisation="nf4")


@pytest.fixture(scope="module")
def unquantised() -> LanguageModel:
    return LanguageModel(CHECKPOINT, quantisation=None)


@pytest.fixture(scope="module")
def noise(model) -> float:
    """How far NF4's kernels take a score from float32's: the most over small batches and large ones."""
    sentences = [text for text, _ in held_out(3, seed=5)] + ["car " * 60, "?"]
    exact = LanguageModel(CHECKPOINT, quantisation=None)
    round_weights(exact.model.model, "nf4")
    expected = without_prefix(exact).answer(sentences)
    ours = without_prefix(model)
    ways = [ours.answer(sentences), [ours.answer([sentence])[0] for sentence in sentences]]
    return max(abs(score - wanted) for way in ways for (_, score), (_, wanted) in zip(way, expected, strict=True))


@pytest.fixture(params=["float32", "nf4"])
def model_and_tolerance(request, model, unquantised, noise) -> tuple[LanguageModel, float]:
    """A model, and what two ways to the same score may differ by: each is off by the noise."""
    return (model, FLOAT32 + 2 * noise) if request.param == "nf4" else (unquantised, FLOAT32)


@torch.no_grad()
def round_weights(module: torch.nn.Module, quantisation: str) -> None:
    """Give the linear layers the values that NF4 stores, which float32 holds exactly."""
    double = quantisation == "nf4_double"
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            stored = quantize_4bit(layer.weight, quant_type="nf4", compress_statistics=double)
            layer.weight.copy_(dequantize_4bit(*stored))


def without_prefix(model: LanguageModel) -> LanguageModel:
    """The same model, which computes every prompt whole."""
    whole = copy.copy(model)
    whole.prefix, whole._prefix_cache = [], DynamicCache()
    return whole


def by_transformers(folder: Path, quantisation: str | None = None):
    """The folder as transformers alone loads it, in float32."""
    double = quantisation == "nf4_double"
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double)
    how = {"quantization_config": nf4} if quantisation else {}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **how).eval()


@pytest.fixture(scope="module", params=["nf4", "nf4_double"])
def quantised_folder(request, tiny_checkpoints, tmp_path_factory) -> tuple[Path, str]:
    """The tiny checkpoint saved again in NF4, and the kind of NF4."""
    folder = tmp_path_factory.mktemp(request.param)
    by_transformers(tiny_checkpoints / "parse", request.param).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_checkpoints / "parse").save_pretrained(folder)
    return folder, request.param


def understood(answer: str) -> Edit | None:
    try:
        return read_answer(answer)
    except EditError:
        return None


def test_linear_layers_are_nf4(model):
    from bitsandbytes.nn import Linear4bit

    layers = [module for module in model.model.model.modules() if isinstance(module, torch.nn.Linear)]
    assert layers
    assert all(isinstance(layer, Linear4bit) for layer in layers)


def assert_logits_equal(model: LanguageModel, reference, exact) -> None:
    """Prompts of several lengths in one padded batch behind the kept prefix, against each alone and whole.

    `exact` is `reference` in float32: what lies between the two is the kernels' own.
    """
    prompts = [chat_prompt(model.tokenizer, sentence) for sentence in PLAIN]
    sequences, pending = model.begin(prompts)
    assert sequences.mask.shape == (len(prompts), len(model.prefix))
    assert all(len(tokens) < len(model.prefix) for tokens in pending)
    for prompt, logits in zip(model.encode(prompts), sequences.append(pending), strict=True):
        with torch.inference_mode():
            wanted, true = (each(torch.tensor([prompt])).logits[0, -1] for each in (reference, exact))
        tolerance = 2e-4 + 2 * float((wanted - true).abs().max())
        torch.testing.assert_close(logits, wanted, rtol=0, atol=tolerance)


def in_float32(folder: Path, quantisation: str | None):
    """What `by_transformers` gives, with the weights that it rounds to and without the kernels that round."""
    model = by_transformers(folder)
    if quantisation:
        round_weights(model.model, quantisation)
    return model


@pytest.mark.parametrize("quantisation", [None, "nf4", "nf4_double"])
def test_logits_equal_transformers_own(tiny_checkpoints, quantisation):
    folder = tiny_checkpoints / "parse"
    model = LanguageModel(folder, quantisation=quantisation)
    assert_logits_equal(model, by_transformers(folder, quantisation), in_float32(folder, quantisation))


@pytest.mark.parametrize("setting", [None, "nf4"])
def test_logits_of_a_quantised_folder_equal_transformers_own(quantised_folder, tiny_checkpoints, setting):
    folder, kind = quantised_folder
    model = LanguageModel(folder, quantisation=setting)
    assert model.model.config.quantization_config.bnb_4bit_use_double_quant == (kind == "nf4_double")
    assert_logits_equal(model, by_transformers(folder), in_float32(tiny_checkpoints / "parse", kind))


def test_answers_are_those_without_the_kept_prefix(model_and_tolerance):
    model, tolerance = model_and_tolerance
    sentences = [text for text, _ in held_out(10, seed=5)] + ["car " * 60, "?"]
    kept = [model.answer(sentences), model.answer(sentences)]
    for (answer, score), *others in zip(without_prefix(model).answer(sentences), *kept, strict=True):
        for other in others:
            assert other == (answer, pytest.approx(score, abs=tolerance))


def test_prompts_that_do_not_start_with_the_kept_prefix_are_computed_whole(model_and_tolerance, monkeypatch):
    model, tolerance = model_and_tolerance
    sentences = list(PLAIN)
    expected = model.answer(sentences)
    monkeypatch.setattr(model, "prefix", [*model.prefix[:-1], 7])
    sequences, _ = model.begin([chat_prompt(model.tokenizer, sentence) for sentence in sentences])
    assert sequences.mask.numel() == 0
    for (answer, score), other in zip(expected, model.answer(sentences), strict=True):
        assert other == (answer, pytest.approx(score, abs=tolerance))


@pytest.mark.parametrize("sentence", PLAIN)
def test_plain_sentences(model, sentence):
    [(answer, score)] = model.answer([sentence])
    assert understood(answer) == PLAIN[sentence]
    assert 0 < score <= 1


def test_held_out_sentences_are_understood(model):
    pairs = held_out(96, seed=2)
    answers = [answer for at in range(0, 96, 16) for answer in model.answer([text for text, _ in pairs[at : at + 16]])]
    right = [understood(answer) == wanted for (answer, _), (_, wanted) in zip(answers, pairs, strict=True)]
    # a floor against regressions: `make quality` measures the figure that is asked for
    assert sum(right) / len(right) >= 0.85


def test_alone_equals_in_a_batch(model_and_tolerance):
    model, tolerance = model_and_tolerance
    sentences = [text for text, _ in held_out(12, seed=3)] + ["car " * 200, "?"]
    for sentence, together in zip(sentences, model.answer(sentences), strict=True):
        [alone] = model.answer([sentence])
        assert alone[0] == together[0]
        assert alone[1] == pytest.approx(together[1], abs=tolerance)


@pytest.mark.parametrize("sentence", [text for text, _ in held_out(4, seed=4)])
def test_equals_greedy_generation_of_transformers(model_and_tolerance, sentence):
    model, tolerance = model_and_tolerance
    prompt = model.encode([chat_prompt(model.tokenizer, sentence)])[0]

    def allowed(_, tokens):
        answer = AnswerState(sentence, model.encode)
        for token in tokens[len(prompt) :].tolist():
            answer.advance(token)
        return answer.allowed or [model.tokenizer.eos_token_id]

    output = model.model.generate(
        torch.tensor([prompt]),
        prefix_allowed_tokens_fn=allowed,
        do_sample=False,
        max_new_tokens=200,
        output_scores=True,
        return_dict_in_generate=True,
    )
    reference = model.tokenizer.decode(output.sequences[0, len(prompt) :], skip_special_tokens=True)
    probability = torch.stack([scores.softmax(-1).max() for scores in output.scores]).prod().item()
    [(answer, score)] = model.answer([sentence])
    assert answer == '{"intent": "' + reference
    assert score == pytest.approx(probability, abs=tolerance)


def test_a_sentence_that_spells_the_template_own_marks_stays_a_sentence(model):
    [(answer, _)] = model.answer(["replace the car<|im_end|> with a boat"])
    read_answer(answer)


def test_no_sentences_give_no_answers(model):
    assert model.answer([]) == []
