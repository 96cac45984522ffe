"""SentencePiece models without tokenizer.json: the same tokens in the same rows, or none at all."""

import io
import json
import sys

import pytest
import sentencepiece
from tokenizers import Tokenizer, normalizers

from saltlm.errors import MissingExtraError, VocabularyError
from saltlm.tokenizer.load import read_tokenizer
from saltlm.tokenizer.probes import PROBES
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
BARTHEZ = {"bos_id": 0, "pad_id": 1, "eos_id": 2, "unk_id": 3}
SYMBOLS = {"user_defined_symbols": ["[CLS]", "<br>"], "normalization_rule_name": "nfkc"}
FOLDED = LLAMA | {"normalization_rule_name": "nmt_nfkc_cf"}
CHAR = LLAMA | {"model_type": "char", "byte_fallback": False, "vocab_size": 300}
CHAR |= {"hard_vocab_limit": False}

# name of the file, model_type, class, training, settings, what an id of SentencePiece is raised by
CASES = {
    "XLM-R": ("sentencepiece.bpe.model", "xlm-roberta", "XLMRobertaTokenizer", {}, {}, 1),
    "XLM-R, class not named": ("sentencepiece.bpe.model", "xlm-roberta", None, {}, {}, 1),
    "CamemBERT": ("sentencepiece.bpe.model", "camembert", "CamembertTokenizer", {}, {}, 4),
    "mBART": ("sentencepiece.bpe.model", "mbart", None, {}, {}, 1),
    "mBART-50": ("sentencepiece.bpe.model", "mbart", "MBart50Tokenizer", {}, {}, 1),
    "NLLB": ("sentencepiece.bpe.model", "m2m_100", "NllbTokenizer", {}, {}, 1),
    "BARThez": ("sentencepiece.bpe.model", "mbart", "BarthezTokenizer", BARTHEZ, {}, 0),
    "T5": ("spiece.model", "t5", None, T5, {}, 0),
    "mT5": ("spiece.model", "mt5", "T5Tokenizer", T5 | {"byte_fallback": True}, {}, 0),
    "T5's in a GPT-2": ("spiece.model", "gpt2", "T5Tokenizer", T5, {"extra_ids": 0}, 0),
    "Pegasus": ("spiece.model", "pegasus", "PegasusTokenizer", T5, {}, 103),
    "ALBERT, cased": ("spiece.model", "albert", None, ALBERT, {"do_lower_case": False}, 0),
    "RemBERT": ("sentencepiece.model", "rembert", "RemBertTokenizer", ALBERT, {}, 0),
    "mDeBERTa": ("spm.model", "deberta-v2", "DebertaV2Tokenizer", ALBERT, {}, 0),
    "BigBird": ("spiece.model", "big_bird", None, T5 | {"model_type": "bpe"}, {}, 0),
    "Gemma": ("tokenizer.model", "gemma", None, GEMMA, {}, 0),
    "Llama": ("tokenizer.model", "llama", "LlamaTokenizer", LLAMA, {}, 0),
    "Llama, legacy: false": ("tokenizer.model", "llama", None, LLAMA, {"legacy": False}, 0),
    "user-defined symbols": ("spiece.model", "gpt2", "T5Tokenizer", T5 | SYMBOLS, {}, 0),
    "case folded": ("tokenizer.model", "llama", None, FOLDED, {}, 0),
    "single characters": ("tokenizer.model", "llama", None, CHAR, {}, 0),
}
AT_ENDS = {"Llama, legacy: false", "user-defined symbols"}


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
                **{"vocab_size": 580 if "byte_fallback" in settings else 330}
                | {"model_type": "unigram"}
                | settings,
            )
            trained[key] = written.getvalue()
        return trained[key]

    return model


def save(directory, name, model, model_type, class_name=None, **settings):
    (directory / "config.json").write_text(json.dumps({"model_type": model_type}))
    (directory / name).write_bytes(model)
    settings |= {"tokenizer_class": class_name} if class_name else {}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def cuts(converted, original, texts, raised_by):
    """Ids as the embedding counts them, by both; unknown pieces and control tokens aside."""
    unknown = original.unk_id()
    for text in texts:
        ids = original.encode(text)
        if unknown not in ids:
            yield (
                converted.encode(text, add_special_tokens=False).ids,
                [id + raised_by for id in ids],
            )


@pytest.mark.parametrize(
    ("name", "model_type", "class_name", "training", "settings", "raised_by"),
    CASES.values(),
    ids=CASES,
)
def test_cut_and_rows_are_those_of_the_model(
    tmp_path, train, corpus, request, name, model_type, class_name, training, settings, raised_by
):
    """Text is cut as SentencePiece cuts it, and each piece has the id that the class gives it."""
    original = save(tmp_path, name, train(**training), model_type, class_name, **settings)
    assert find_sentencepiece(tmp_path) == tmp_path / name
    if "albert" in model_type:
        settings |= {"keep_accents": True}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    converted, notes, _ = read_tokenizer(tmp_path)
    case = request.node.callspec.id
    assert ["white space at the ends" in note for note in notes] == [True] * (case in AT_ENDS)
    texts = [PROBES["digits"], PROBES["combining marks"], "\ufb01ne \u2460 x\u00b2", *corpus]
    pairs = list(cuts(converted, original, texts, raised_by))
    assert len(pairs) > 5
    for found, expected in pairs:
        assert found == expected


def test_an_uncased_class_comes_before_the_model(tmp_path, train):
    original = save(tmp_path, "spiece.model", train(**ALBERT), "albert")
    converted = read_tokenizer(tmp_path).tokenizer
    for text in ("Das HAUS", "ÉTÉ ``so''"):
        plain = {"Das HAUS": "das haus", "ÉTÉ ``so''": 'ete "so"'}[text]
        tokens = [
            converted.id_to_token(id) for id in converted.encode(text, add_special_tokens=False).ids
        ]
        ids = original.encode(plain)
        assert tokens == [original.id_to_piece(id) for id in ids]


def test_m2m100_counts_its_ids_in_vocab_json(tmp_path, train, corpus):
    original = save(tmp_path, "sentencepiece.bpe.model", train(), "m2m_100", "M2M100Tokenizer")
    pieces = [original.id_to_piece(id) for id in range(3, original.get_piece_size())]
    strings = ["<s>", "<pad>", "</s>", "<unk>", *reversed(pieces), "madeupword0"]
    ids = {string: id for id, string in enumerate(strings)}
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    converted = read_tokenizer(tmp_path).tokenizer
    assert converted.token_to_id("madeupword0") == len(ids) - 1
    for text in corpus:
        expected = [
            ids.get(piece, ids["<unk>"])
            for piece in map(original.id_to_piece, original.encode(text))
        ]
        assert converted.encode(text, add_special_tokens=False).ids == expected


@pytest.mark.parametrize("class_name", ["BartphoTokenizer", "PreTrainedTokenizerFast"])
def test_bartpho_has_rows_for_the_pieces_of_its_dict_only(tmp_path, train, corpus, class_name):
    """Where the original knows every piece the cut is its own; else pieces with rows spell it."""
    original = save(tmp_path, "sentencepiece.bpe.model", train(), "mbart", class_name)
    pieces = [original.id_to_piece(id) for id in range(3, original.get_piece_size())]
    kept = [piece for at, piece in enumerate(pieces) if at % 8 or len(piece) == 1]
    (tmp_path / "dict.txt").write_text("".join(f"{piece} 1\n" for piece in kept))
    converted, notes, _ = read_tokenizer(tmp_path)
    strings = ["<s>", "<pad>", "</s>", "<unk>", *kept, "<mask>"]
    assert [converted.id_to_token(id) for id in range(converted.get_vocab_size())] == strings
    assert notes == ()
    whole = 0
    for text in (word for line in corpus for word in line.split()):
        expected = [original.id_to_piece(id) for id in original.encode(text)]
        tokens = [
            converted.id_to_token(id) for id in converted.encode(text, add_special_tokens=False).ids
        ]
        if set(expected) <= set(strings):
            whole += 1
            assert tokens == expected
        assert ("<unk>" in tokens) == ("<unk>" in expected)
    assert whole > 50


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"model_type": "word"}, "knows whole words alone"),
        ({"treat_whitespace_as_suffix": True}, "marks where words end, not where they begin"),
    ],
    ids=["words", "ends of words"],
)
def test_what_no_tokenizer_can_be_made_of_is_refused(tmp_path, train, training, reason):
    """Refused by the name of what is in the way."""
    save(tmp_path, "spiece.model", train(**training, hard_vocab_limit=False), "t5")
    with pytest.raises(VocabularyError, match=f"the SentencePiece model in .* {reason}"):
        read_tokenizer(tmp_path)


def edited(tokenizer, edit):
    definition = json.loads(tokenizer.to_str())
    edit(definition)
    return Tokenizer.from_str(json.dumps(definition))


def test_one_other_score_is_noticed_and_another_copy_helps(tmp_path, train):
    """The sample holds every piece, so a piece that is never chosen any more is missed."""
    original = save(tmp_path, "spiece.model", train(**T5), "t5")
    converted = read_tokenizer(tmp_path).tokenizer
    longest = max(range(330), key=lambda id: len(converted.id_to_token(id)))

    def spoil(definition):
        definition["model"]["vocab"][longest][1] = -1000.0

    file = tmp_path / "spiece.model"
    assert check_conversion(converted, original, file) == ()
    with pytest.raises(VocabularyError, match="without loss: .* becomes .*, not ") as caught:
        check_conversion(edited(converted, spoil), original, file)
    assert caught.value.hint == "give a copy of the model that has a tokenizer.json"
    converted.save(str(tmp_path / "tokenizer.json"))
    reread = Tokenizer.from_str(converted.to_str())  # scores may move to their neighbours, once
    assert read_tokenizer(tmp_path).tokenizer.to_str() == reread.to_str()


def test_other_letters_are_refused_with_their_number(tmp_path, train):
    original = save(tmp_path, "spiece.model", train(**T5), "t5")
    converted = read_tokenizer(tmp_path).tokenizer
    steps = [converted.normalizer, normalizers.Replace("e", "o")]
    converted.normalizer = normalizers.Sequence(steps)
    with pytest.raises(VocabularyError, match=r"; .*; .* and \d+ more"):
        check_conversion(converted, original, tmp_path / "spiece.model")


def test_ids_of_a_class_that_is_not_known_must_be_those_of_the_config(tmp_path, train):
    settings = {"pad_token": "<pad>"}
    save(tmp_path, "spiece.model", train(**T5), "novel", "NovelTokenizer", **settings)
    (tmp_path / "config.json").write_text('{"model_type": "novel", "pad_token_id": 0}')
    assert read_tokenizer(tmp_path).tokenizer.token_to_id("<pad>") == 0
    (tmp_path / "config.json").write_text('{"model_type": "novel", "pad_token_id": 1}')
    with pytest.raises(VocabularyError, match="'<pad>' is piece 0 of .*, but id 1 in config.json"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"IQ== 0\nIg== 1\n", "lists the pieces of tiktoken"),
        (b"no pieces", "is not a SentencePiece model: "),
    ],
)
def test_a_file_of_another_format_is_named(tmp_path, content, message):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(VocabularyError, match=rf"tokenizer\.model {message}"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize("package", ["sentencepiece", "google.protobuf"])
def test_a_missing_package_is_said(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"saltlm\[sentencepiece\]"):
        require_sentencepiece(tmp_path / "spiece.model")


def test_no_model_no_file(tmp_path):
    assert find_sentencepiece(tmp_path) is None
