"""PLM rows for tokens that the PLM lacks, against plain numpy and cases worked by hand."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from saltlm.alignment.piece_means import PieceMeans, add_piece_means
from saltlm.auxiliary.vectors import AuxiliaryVectors
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import Form, read_vocabulary


def composed(plm: Tokenizer, other: Tokenizer) -> dict[str, list[str]]:
    """The PLM's pieces of each token of another tokenizer that the PLM lacks and can spell."""
    vocabulary, own = read_vocabulary(Definition.of(other)), read_vocabulary(Definition.of(plm))
    lacking = [id for id, form in enumerate(vocabulary.forms) if form and form not in own.forms]
    rows, ids = torch.full((len(vocabulary),), -1), torch.full((len(vocabulary),), -1)
    ids[lacking] = torch.tensor(lacking, dtype=torch.int64)
    found, piece_means = add_piece_means(vocabulary, rows, ids, Definition.of(plm), own)
    assert (found[ids < 0] == -1).all()
    places = {
        vocabulary.strings[id]: row - len(own) for id, row in enumerate(found.tolist()) if row >= 0
    }
    assert sorted(places.values()) == list(range(len(piece_means.pieces)))
    for token, place in places.items():
        assert piece_means.forms[place] == vocabulary.forms[vocabulary.strings.index(token)]
    return {
        token: [plm.id_to_token(id) for id in piece_means.pieces[place]]
        for token, place in places.items()
    }


def tokenizer(model: models.Model, pre_tokenizer=None, normalizer=None) -> Tokenizer:
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizer or pre_tokenizers.Metaspace()
    if normalizer is not None:
        made.normalizer = normalizer
    return made


def unigram(*pieces: str, **parts: object) -> Tokenizer:
    scored = [("<unk>", 0.0), *((piece, -1.0 - 0.1 * i) for i, piece in enumerate(pieces))]
    return tokenizer(models.Unigram(scored, unk_id=0), **parts)


def wordpiece(*pieces: str) -> Tokenizer:
    vocabulary = {piece: id for id, piece in enumerate(["[UNK]", *pieces])}
    model = models.WordPiece(vocabulary, unk_token="[UNK]")
    return tokenizer(model, pre_tokenizers.BertPreTokenizer())


def test_a_token_is_cut_at_its_own_place_in_a_word():
    plm = unigram("▁haus", "haus", "tür", "▁", "en")
    other = unigram("▁haustür", "haustür", "▁türen", "türen", "▁hausX")
    assert composed(plm, other) == {
        "▁haustür": ["▁haus", "tür"],
        "haustür": ["haus", "tür"],
        "▁türen": ["▁", "tür", "en"],
        "türen": ["tür", "en"],
    }


def test_wordpiece_continues_words_and_splits_punctuation_off():
    plm = wordpiece("haus", "##tür", "##haus", "##en", "##s", "-", "en")
    other = unigram("▁haustür", "haustür", "▁haus-en", "türen", "▁tür")
    assert composed(plm, other) == {
        "▁haustür": ["haus", "##tür"],
        "haustür": ["##haus", "##tür"],
        "▁haus-en": ["haus", "-", "en"],
        "türen": ["##tür", "##en"],
    }


def test_the_plms_normalizer_and_marks_decide():
    plm = unigram("▁haus", "en", "▁", "h", normalizer=normalizers.Lowercase())
    other = wordpiece("Hausen", "##EN", "##hen")
    assert composed(plm, other) == {"Hausen": ["▁haus", "en"], "##EN": ["en"], "##hen": ["h", "en"]}


def test_byte_level_pieces_spell_anything_but_half_a_character(tokenizers_by_family):
    plm, other = tokenizers_by_family["bytelevel"], wordpiece("☃", "##ß☃")
    assert composed(plm, other) == {"☃": list("Ġâĺĥ"), "##ß☃": ["ÃŁ", *"âĺĥ"]}
    halves = tokenizer(models.BPE({"Ġ": 0, "â": 1, "âĺ": 2}, []), pre_tokenizers.ByteLevel())
    assert composed(unigram("▁", "a"), halves) == {}


def test_rows_are_the_means_of_pieces_and_lie_behind_the_plms():
    table = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    piece_means = PieceMeans(7, (Form(b"ab", True), Form(b"c", False)), ((3, 0, 3), (6,)))
    rows = piece_means.rows(table)
    wide = table.double().numpy()
    expected = np.array([(2 * wide[3] + wide[0]) / 3, wide[6]])
    assert rows.dtype == torch.bfloat16
    assert torch.equal(rows[:7], table[:7])
    np.testing.assert_allclose(rows[7:].double().numpy(), expected, rtol=2**-8)
    assert torch.equal(PieceMeans(7).rows(table), table)

    represented = torch.ones(7, dtype=torch.bool)
    represented[0] = False
    vectors = AuxiliaryVectors(table[:7].float(), represented, "some")
    longer = piece_means.auxiliary(vectors)
    assert longer.represented.tolist() == [False, *[True] * 6, False, True]
    assert torch.equal(longer.matrix[8], table[6].float())
    assert longer.description == "some"
    offsets, pieces = piece_means.pieces_of(torch.tensor([8, 2, -1, 7]))
    assert (offsets.tolist(), pieces.tolist()) == ([0, 1, 1, 1, 4], [6, 3, 0, 3])


@pytest.mark.parametrize("plm", ["bytelevel", "sentencepiece", "metaspace", "unigram", "wordpiece"])
def test_pieces_put_together_are_the_token(tokenizers_by_family, plm):
    own = tokenizers_by_family[plm]
    vocabulary = read_vocabulary(Definition.of(own))
    form_of = dict(zip(vocabulary.strings, vocabulary.forms, strict=True))
    other = wordpiece("Fuchsprung", "Datei-Haus", "##sprache2024", "##größe")
    found = composed(own, other)
    assert len(found) == 4
    for token, pieces in found.items():
        text = b"".join(form_of[piece].text for piece in pieces)
        assert text == token.removeprefix("##").encode()
        assert form_of[pieces[0]].begins_word != token.startswith("##")
