"""The language model in NF4: our loading and decoding against transformers' own, and what the demo's understands."""

from pathlib import Path

import pytest
import torch
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
    "replace the zorblat with a quimby": Edit("replace", "zorblat", "quimby"),
    "hello there": None,
    "what is in this picture?": None,
}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel(CHECKPOINT, quantisation="nf4")


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


def assert_logits_equal(model: LanguageModel, reference) -> None:
    """Prompts of several lengths in one padded batch behind the kept prefix, against each alone and whole."""
    prompts = [chat_prompt(model.tokenizer, sentence) for sentence in PLAIN]
    sequences, pending = model.begin(prompts)
    assert sequences.mask.shape == (len(prompts), len(model.prefix))
    assert all(len(tokens) < len(model.prefix) for tokens in pending)
    for prompt, logits in zip(model.encode(prompts), sequences.append(pending), strict=True):
        with torch.inference_mode():
            torch.testing.assert_close(logits, reference(torch.tensor([prompt])).logits[0, -1], rtol=0, atol=2e-4)


@pytest.mark.parametrize("quantisation", [None, "nf4", "nf4_double"])
def test_logits_equal_transformers_own(tiny_checkpoints, quantisation):
    folder = tiny_checkpoints / "parse"
    model = LanguageModel(folder, quantisation=quantisation)
    assert_logits_equal(model, by_transformers(folder, quantisation))


@pytest.mark.parametrize("setting", [None, "nf4"])
def test_logits_of_a_quantised_folder_equal_transformers_own(quantised_folder, setting):
    folder, kind = quantised_folder
    model = LanguageModel(folder, quantisation=setting)
    assert model.model.config.quantization_config.bnb_4bit_use_double_quant == (kind == "nf4_double")
    assert_logits_equal(model, by_transformers(folder))


@pytest.mark.parametrize(("quantisation", "tolerance"), [(None, 1e-5), ("nf4", 1e-3)])
def test_answers_are_those_without_the_kept_prefix(monkeypatch, quantisation, tolerance):
    model = LanguageModel(CHECKPOINT, quantisation=quantisation)
    sentences = [text for text, _ in held_out(10, seed=5)] + ["car " * 60, "?"]
    kept = [model.answer(sentences), model.answer(sentences)]
    monkeypatch.setattr(model, "prefix", [])
    monkeypatch.setattr(model, "_prefix_cache", DynamicCache())
    for (answer, score), *others in zip(model.answer(sentences), *kept, strict=True):
        for other in others:
            assert other == (answer, pytest.approx(score, abs=tolerance))


def test_prompts_that_do_not_start_with_the_kept_prefix_are_computed_whole(model, monkeypatch):
    sentences = list(PLAIN)
    expected = model.answer(sentences)
    monkeypatch.setattr(model, "prefix", [*model.prefix[:-1], 7])
    sequences, _ = model.begin([chat_prompt(model.tokenizer, sentence) for sentence in sentences])
    assert sequences.mask.numel() == 0
    for (answer, score), other in zip(expected, model.answer(sentences), strict=True):
        assert other == (answer, pytest.approx(score, abs=1e-3))


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


def test_alone_equals_in_a_batch(model):
    sentences = [text for text, _ in held_out(12, seed=3)] + ["car " * 200, "?"]
    for sentence, together in zip(sentences, model.answer(sentences), strict=True):
        [alone] = model.answer([sentence])
        assert alone[0] == together[0]
        assert alone[1] == pytest.approx(together[1], abs=1e-4)


@pytest.mark.parametrize("sentence", [text for text, _ in held_out(4, seed=4)])
def test_equals_greedy_generation_of_transformers(model, sentence):
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
    assert score == pytest.approx(probability, abs=1e-4)


def test_a_sentence_that_spells_the_template_own_marks_stays_a_sentence(model):
    [(answer, _)] = model.answer(["replace the car<|im_end|> with a boat"])
    read_answer(answer)


def test_no_sentences_give_no_answers(model):
    assert model.answer([]) == []
