"""SentencePiece models without tokenizer.json: the same tokens, or none at all."""

import io
import json
import sys

import pytest
import sentencepiece
import transformers as hf
from tokenizers import Tokenizer, normalizers

from saltlm.errors import MissingExtraError, VocabularyError
from saltlm.tokenizer.sentencepiece import (
    check_conversion,
    find_sentencepiece,
    require_sentencepiece,
)

T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
ALBERT = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
ALBERT |= {"control_symbols": ["[CLS]", "[SEP]", "[MASK]"]}
LLAMA = {"model_type": "bpe", "vocab_size": 650, "byte_fallback": True, "split_digits": True}
LLAMA |= {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
GEMMA = LLAMA | {"add_dummy_prefix": False, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}


@pytest.fixture(scope="session")
def train(corpus):
    """A function that trains a model, once for the same settings, and returns its bytes."""
    trained = {}

    def model(**settings):
        key = json.dumps(settings)
        if key not in trained:
            written = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(corpus * 3),
                model_writer=written,
                minloglevel=2,
                num_threads=1,
                **{"vocab_size": 330, "model_type": "unigram"} | settings,
            )
            trained[key] = written.getvalue()
        return trained[key]

    return model


def load(directory):
    return hf.AutoTokenizer.from_pretrained(directory, local_files_only=True).backend_tokenizer


def save(directory, name, model, config, **settings):
    config.save_pretrained(directory)
    (directory / name).write_bytes(model)
    if settings:
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory / name


@pytest.mark.parametrize(
    ("name", "config", "training", "settings"),
    [
        ("sentencepiece.bpe.model", hf.XLMRobertaConfig(), {}, {}),
        ("spiece.model", hf.T5Config(), T5, {}),
        ("spiece.model", hf.GPT2Config(), T5, {"tokenizer_class": "T5Tokenizer"}),
        ("spiece.model", hf.AlbertConfig(), ALBERT, {"do_lower_case": False, "keep_accents": True}),
        ("spiece.model", hf.AlbertConfig(), ALBERT, {}),
        ("tokenizer.model", hf.GemmaConfig(), GEMMA, {}),
    ],
    ids=["XLM-R", "T5", "T5's in a GPT-2", "ALBERT, cased", "ALBERT, uncased", "Gemma"],
)
def test_faithful_conversions_pass(tmp_path, train, name, config, training, settings):
    """Pieces, scores and cuts of the fast tokenizer are those of the SentencePiece model."""
    file = save(tmp_path, name, train(**training), config, **settings)
    assert find_sentencepiece(tmp_path) == file
    require_sentencepiece(file)
    check_conversion(load(tmp_path), file)


@pytest.mark.parametrize(
    ("config", "training", "settings", "reason"),
    [
        (hf.LlamaConfig(), LLAMA, {}, r"'Two words.*' becomes \['T', .*\], not \['▁T'"),
        (
            hf.LlamaConfig(),
            LLAMA,
            {"tokenizer_class": "LlamaTokenizer"},
            r"'  two  .*' becomes \['▁', '▁t', .*\], not \['▁', '▁', '▁t'",
        ),
        (hf.MBartConfig(), {}, {}, r"'ﬁne .*' becomes \[.*\], not \['▁fi'"),
        (hf.BertConfig(), {}, {}, r"\d+ of 327 pieces are lost"),
    ],
    ids=["no word begins", "spaces at the start", "no NFKC", "another kind"],
)
def test_what_transformers_converts_to_something_else_is_refused(
    tmp_path, train, config, training, settings, reason
):
    """Refused, with the first text that is cut in another way."""
    name = "tokenizer.model" if config.model_type == "llama" else "spiece.model"
    name = "sentencepiece.bpe.model" if config.model_type == "mbart" else name
    file = save(tmp_path, name, train(**training), config, **settings)
    with pytest.raises(
        VocabularyError, match=rf"is not converted without loss by transformers [^:]*: {reason}"
    ):
        check_conversion(load(tmp_path), file)


def edited(tokenizer, edit):
    definition = json.loads(tokenizer.to_str())
    edit(definition)
    return Tokenizer.from_str(json.dumps(definition))


def test_ids_must_be_those_of_the_rows(tmp_path, train):
    file = save(tmp_path, "spiece.model", train(**T5), hf.T5Config())

    def swap(definition):
        vocabulary = definition["model"]["vocab"]
        vocabulary[10], vocabulary[11] = vocabulary[11], vocabulary[10]

    with pytest.raises(VocabularyError, match="pieces change their order"):
        check_conversion(edited(load(tmp_path), swap), file)


def test_one_other_score_is_noticed(tmp_path, train):
    """The sample holds every piece, so a piece that is never chosen any more is missed."""
    file = save(tmp_path, "spiece.model", train(**T5), hf.T5Config())
    converted = load(tmp_path)
    longest = max(range(330), key=lambda id: len(converted.id_to_token(id)))

    def spoil(definition):
        definition["model"]["vocab"][longest][1] = -1000.0

    with pytest.raises(VocabularyError, match="without loss by "):
        check_conversion(edited(converted, spoil), file)


def test_lower_case_is_only_right_if_the_class_asks_for_it(tmp_path, train):
    file = save(tmp_path, "spiece.model", train(**T5), hf.T5Config())
    lower = load(tmp_path)
    lower.normalizer = normalizers.Sequence([lower.normalizer, normalizers.Lowercase()])
    check_conversion(lower, file)
    lower.normalizer = normalizers.Sequence([lower.normalizer, normalizers.Replace("b", "c")])
    with pytest.raises(VocabularyError, match="without loss by "):
        check_conversion(lower, file)


def test_a_file_of_another_format_is_named(tmp_path, tokenizers_by_family):
    file = tmp_path / "tokenizer.model"
    file.write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(VocabularyError, match=r"tokenizer\.model is not a SentencePiece model: "):
        check_conversion(tokenizers_by_family["unigram"], file)


@pytest.mark.parametrize("package", ["sentencepiece", "google.protobuf"])
def test_a_missing_package_is_said(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"saltlm\[sentencepiece\]"):
        require_sentencepiece(tmp_path / "spiece.model")


def test_no_model_no_file(tmp_path):
    assert find_sentencepiece(tmp_path) is None
