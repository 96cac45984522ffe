"""What inspect says of a pair whose every token can be counted by hand."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from saltlm.config.transfer import TransferConfig
from saltlm.errors import CheckpointError, DataError
from saltlm.inspection import pair
from saltlm.inspection.pair import inspect, suspicious_rows
from saltlm.tokenizer.kinds import script_of, token_kind
from saltlm.tokenizer.losses import Loss
from saltlm.tokenizer.vocabulary import BYTE, TEXT, Form
from tiny_models import PLMS, SOURCES
from tiny_pairs import write_side

SPECIALS = ["<unk>", "<s>", "</s>"]
SOURCE_PIECES = ["▁der", "▁haus", "s", "мир", ",", "12", "▁", "e", "d"]
#              word starts            inside a word          symbol and number
PLM_PIECES = ["der", "haus", "Maus", "##s", "##мир", "人", ",", "12"]
SHARED = {"der", "haus", "##s", "##мир", ","}  # 12 begins a word here, and does not there


def unigram():
    pieces = [(piece, 0.0) for piece in SPECIALS] + [(piece, -1.0) for piece in SOURCE_PIECES]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def wordpiece(pieces=PLM_PIECES, *, lowercase=False):
    vocabulary = {piece: id for id, piece in enumerate(["[UNK]", "[MASK]", *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[UNK]", "[MASK]"])
    return tokenizer


@pytest.fixture
def make_pair(tmp_path):
    """A function that writes a pair with this PLM tokenizer and returns the directories."""

    def make(plm_tokenizer):
        torch.manual_seed(0)
        left = unigram()
        source = SOURCES["Llama"](left.get_vocab_size() + 4, num_hidden_layers=1)
        write_side(tmp_path / "source", source, left, bos_token="<s>", eos_token="</s>")
        plm = PLMS["BERT"](plm_tokenizer.get_vocab_size(), num_hidden_layers=1)
        write_side(tmp_path / "plm", plm, plm_tokenizer, mask_token="[MASK]")
        return tmp_path / "source", tmp_path / "plm"

    return make


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus.txt").write_text("der haus, Maus 12\n\n", encoding="utf-8")
    return [tmp_path / "corpus.txt"]


def test_tokens_are_counted_by_kind_and_script(make_pair):
    seen = inspect(*make_pair(wordpiece()))
    # Beside its pieces the new model has <unk>, in the place of [UNK], <s> and </s>, and what the
    # source's text needs: a space, its mark, and characters that the PLM lacks.
    assert seen.vocabularies.n_new_model == len(PLM_PIECES) + 3 + 4
    assert seen.vocabularies.n_shared == len(SHARED)
    assert seen.vocabularies.shared_by_kind == {
        "word start": (2, 3),
        "inside a word": (2, 3),
        "symbols": (1, 1),
        "digits": (0, 1),
    }
    assert seen.vocabularies.shared_by_script == {
        "Latin": (3, 4),
        "no letters": (1, 2),
        "Cyrillic": (1, 1),
        "Cjk": (0, 1),
    }
    assert (seen.coverage, seen.source.on_corpus, seen.plm.on_corpus) == (None, None, None)


def test_the_models_and_their_roles(make_pair):
    source, plm = make_pair(wordpiece())
    seen = inspect(source, plm)
    assert (seen.source.name, seen.source.family) == (str(source), "Unigram")
    assert (seen.source.n_tokens, seen.source.n_rows, seen.source.n_padding_rows) == (12, 16, 4)
    assert (seen.plm.family, seen.plm.n_tokens, seen.plm.n_padding_rows) == ("WordPiece", 10, 0)
    assert (seen.source.width, seen.plm.width) == (16, 16)
    roles = {role: (token, source_id) for role, token, _, source_id, _ in seen.roles}
    assert roles == {"bos": ("<s>", 1), "eos": ("</s>", 2), "unk": ("<unk>", 0)}
    assert seen.warnings == ("only 5 shared tokens: a transfer needs 20",)
    lenient = inspect(source, plm, config=TransferConfig(min_shared=5))
    assert lenient.warnings == ()


def test_the_corpus_decides_coverage_and_fertility(make_pair, corpus):
    seen = inspect(*make_pair(wordpiece()), corpus=corpus, mode="replace")
    assert seen.coverage == 3 / 5  # der haus , of der haus , Maus 12
    words, size = 4, len("der haus, Maus 12")
    assert seen.plm.on_corpus.tokens_per_word == 5 / words
    assert seen.plm.on_corpus.bytes_per_token == size / 5
    assert (seen.plm.on_corpus.round_trip, seen.plm.on_corpus.lost) == (1, 0)
    # The source's unknown letters, M a u of 17 bytes, do not come back.
    assert seen.source.on_corpus.round_trip == 0
    assert seen.source.on_corpus.lost == 3 / 17


def test_a_tokenizer_that_cuts_texts_off_is_not_believed(make_pair, corpus):
    cutting = wordpiece()
    cutting.enable_truncation(2)
    cutting.enable_padding(length=9, pad_id=1, pad_token="[MASK]")
    source, plm = make_pair(wordpiece())
    expected = inspect(source, plm, corpus=corpus, mode="replace")
    cutting.save(str(plm / "tokenizer.json"))
    seen = inspect(source, plm, corpus=corpus, mode="replace")
    assert (seen.plm.on_corpus, seen.coverage) == (expected.plm.on_corpus, expected.coverage)


def test_a_lower_casing_plm_is_said_loudly(make_pair, corpus):
    plm = wordpiece([*PLM_PIECES, "maus"], lowercase=True)
    config = TransferConfig(lossy=True, min_shared=1)
    seen = inspect(*make_pair(plm), corpus=corpus, config=config, mode="replace")
    assert seen.plm.on_corpus.lost == 1 / 17
    (loud,) = [text for text in seen.warnings if "LOSES" in text]
    assert loud.startswith("THE PLM'S TOKENIZER LOSES TEXT: 5.9% of the corpus' bytes do not")


def test_what_the_new_model_can_no_longer_write_is_said_loudly(make_pair, monkeypatch):
    lost = [Loss("tabs", "a\tb", "a b")]
    monkeypatch.setattr(pair, "new_losses", lambda source, new: lost)
    (loud,) = [text for text in inspect(*make_pair(wordpiece())).warnings if "CANNOT" in text]
    assert loud == (
        "THE NEW MODEL CANNOT WRITE ALL THAT THE SOURCE CAN: tabs: 'a\\tb' comes back as 'a b'"
    )


def test_a_plm_that_cuts_the_corpus_worse_is_said_loudly(make_pair, tmp_path):
    (tmp_path / "corpus.txt").write_text("der haus, der haus\n", encoding="utf-8")
    pieces = [",", *"derhaus", *("##" + letter for letter in "derhaus")]
    config = TransferConfig(min_shared=1)
    source, plm = make_pair(wordpiece(list(dict.fromkeys(pieces))))
    seen = inspect(source, plm, corpus=[tmp_path / "corpus.txt"], config=config, mode="replace")
    (loud,) = [text for text in seen.warnings if "WORSE THAN THE SOURCE'S: 15 tokens for 5" in text]
    assert "take a PLM of the corpus' language, or stay with the source" in loud


def test_the_options_may_name_the_corpus(make_pair, corpus):
    source, plm = make_pair(wordpiece())
    by_option = inspect(source, plm, config=TransferConfig(corpus=tuple(corpus), mode="replace"))
    assert by_option.coverage == 3 / 5


def test_an_empty_corpus_is_refused(make_pair, tmp_path):
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DataError, match=r"the corpus has no text \(.*empty\)"):
        inspect(*make_pair(wordpiece()), corpus=[tmp_path / "empty"], mode="replace")


def test_an_encoder_is_no_source(make_pair):
    source, plm = make_pair(wordpiece())
    with pytest.raises(CheckpointError, match="plm cannot be the SOURCE: BertModel is an encoder"):
        inspect(plm, source)


def test_suspicious_rows_of_the_source_are_named(make_pair):
    source, plm = make_pair(wordpiece())
    tensors = load_file(source / "model.safetensors")
    table = tensors["model.embed_tokens.weight"]
    table[3] = table[14] = table[15] = 0  # two of them are padding
    table[7] = table[4]
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    seen = inspect(source, plm)
    assert (seen.zero_rows, seen.repeated_rows) == ((3,), (7,))
    assert "1 rows of the source are zero, the first is 3" in seen.warnings


def test_everything_is_plain_data(make_pair, corpus):
    seen = inspect(*make_pair(wordpiece()), corpus=corpus, mode="replace")
    data = json.loads(json.dumps(seen.to_json()))
    assert data["vocabularies"]["shared_by_script"]["Latin"] == [3, 4]
    assert data["plm"]["on_corpus"]["round_trip"] == 1
    assert data["seconds"] > 0
    tables = 4 * 16 * (16 + 16 + 10)  # float32: embedding and head of the source, the PLM's rows
    new = 2 * 4 * 16 * seen.vocabularies.n_new_model
    assert 2**30 < data["memory_bytes"] - tables - new < 2 * 2**30


@pytest.mark.parametrize(
    ("text", "begins_word", "kind", "script"),
    [
        ("Haus", True, "word start", "Latin"),
        ("haus", False, "inside a word", "Latin"),
        ("ß2", False, "inside a word", "Latin"),
        ("2024", True, "digits", "no letters"),
        ("٣", False, "digits", "no letters"),
        ("...", True, "symbols", "no letters"),
        ("", True, "symbols", "no letters"),
        ("😀", False, "symbols", "no letters"),
        ("(дом", True, "word start", "Cyrillic"),
        ("بيت", False, "inside a word", "Arabic"),
        ("家", False, "inside a word", "Cjk"),
    ],
)
def test_kind_and_script_of_a_form(text, begins_word, kind, script):
    form = Form(text.encode(), begins_word)
    assert token_kind(form, TEXT) == kind
    assert script_of(form) == script
    assert token_kind(form, BYTE) == "bytes"


def test_half_a_character_has_neither_kind_nor_script():
    half = Form("ß".encode()[:1], False)
    assert (token_kind(half, TEXT), script_of(half)) == ("bytes", "no letters")
    assert (token_kind(None, TEXT), script_of(None)) == ("bytes", "no letters")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("block", [8192, 7])
def test_repeats_are_found_and_nothing_else(dtype, block, monkeypatch):
    monkeypatch.setattr("saltlm.inspection.pair._BLOCK", block)
    table = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    table[1500] = table[100] = table[3]
    table[[5, 900]] = 0
    table[900, 1] = -0.0
    table[901], table[902] = table[903].flip(0), -table[903]  # of the same numbers, but not equal
    keys = {}
    rows = table.double().numpy().tolist()
    repeated = [id for id, row in enumerate(rows) if keys.setdefault(tuple(row), id) != id]
    assert {100, 1500, 900} <= set(repeated)
    found = suspicious_rows(table)
    assert [ids.tolist() for ids in found] == [[5, 900], sorted({*repeated} - {900})]
