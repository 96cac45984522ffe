"""FVT, WECHSEL and OFA, which read the tokens' texts; calibrations."""

import functools
import math
import re
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from fasttext_files import write_fasttext
from saltlm.auxiliary.fasttext_format import read_fasttext
from saltlm.auxiliary.subwords import seen_in_training, token_vectors
from saltlm.errors import AuxiliaryVectorsError, ConfigError
from saltlm.methods.calibration import Bias, Unigrams, log_frequencies, match_norms, match_unigrams
from saltlm.methods.end_pieces import end_pieces
from saltlm.methods.fit import fit_method, fit_sides
from saltlm.methods.inputs import MethodInputs, Texts
from saltlm.methods.pieces import source_pieces, without
from saltlm.methods.registry import parse_method
from saltlm.methods.spaces import nearest
from saltlm.scoring.folds import hold_out
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.vocabulary import Form, read_vocabulary

H = 6
# Reading a vocabulary takes longer than any test here.
_vocabulary = functools.cache(
    lambda tokenizer: read_vocabulary(Definition.of(Tokenizer.from_str(tokenizer)))
)


def make_task(source: Tokenizer, plm: Tokenizer, new=None, held_out=(), shortest=0):
    """Tokens of the PLM that the source lacks, or the given ones; a few anchors."""
    left, right = _vocabulary(source.to_str()), _vocabulary(plm.to_str())
    known = {form: id for id, form in enumerate(left.forms) if form is not None}
    shared = [
        id for id, form in enumerate(right.forms) if form in known and len(form.text) >= shortest
    ][:40]
    if new is None:
        new = [i for i, form in enumerate(right.forms) if form is not None and form not in known]
        new = new[:60]
    generator = torch.Generator().manual_seed(0)
    plm_rows = torch.randn(len(right), 8, generator=generator)
    texts = Texts(Definition.of(source), Definition.of(plm), left.forms, right.forms, shared, new)
    return MethodInputs(
        plm_rows[shared],
        plm_rows[new],
        plm_rows[shared],
        plm_rows[new],
        torch.tensor([known[right.forms[id]] for id in shared]),
        n_source_tokens=len(left),
        held_out_ids=torch.tensor(list(held_out), dtype=torch.int64),
        texts=texts,
    )


def make_table(inputs):
    return torch.randn(inputs.n_source_tokens, H, generator=torch.Generator().manual_seed(1))


def rows_of(method, inputs, table):
    return fit_method(parse_method(method), inputs).fill(table)(slice(0, len(inputs.plm_new)))


FAMILIES = ["bytelevel", "sentencepiece", "metaspace", "unigram", "wordpiece"]
PAIRS = [("bytelevel", "unigram"), ("bytelevel", "wordpiece"), ("sentencepiece", "bytelevel")]


def cut_as_it_stands(tokenizer, form, text):
    """Return the ids of a token's text at a word's start, or inside a word."""
    if tokenizer.encode("a", add_special_tokens=False).tokens[0] == "a":  # it adds no space
        return tokenizer.encode(" " * form.begins_word + text, add_special_tokens=False).ids
    if form.begins_word:
        return tokenizer.encode(text, add_special_tokens=False).ids
    return [piece.id for piece in tokenizer.model.tokenize(text.replace(" ", "▁"))]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("word_start", [False, True])
def test_fvt_is_the_mean_of_the_encoded_text(tokenizers_by_family, pair, word_start):
    source, plm = (tokenizers_by_family[family] for family in pair)
    inputs = make_task(source, plm)
    table = make_table(inputs)
    rows = rows_of(f"fvt:word_start={str(word_start).lower()}", inputs, table)
    n_checked = 0
    for form, row in zip(inputs.texts.new_forms, rows, strict=True):
        try:
            text = form.text.decode()
        except UnicodeDecodeError:
            continue
        ids = source.encode(text, add_special_tokens=False).ids
        ids = cut_as_it_stands(source, form, text) if word_start else ids
        ids = [id for id in ids if inputs.texts.source_forms[id] is not None]
        torch.testing.assert_close(row, table[ids].mean(0))
        n_checked += 1
    assert n_checked > 20


def test_one_unknown_letter_inside_a_word_leaves_the_other_pieces(tokenizers_by_family):
    source = tokenizers_by_family["unigram"]
    inputs = make_task(source, tokenizers_by_family["bytelevel"])
    form = Form("haus漢".encode(), begins_word=False)
    texts = replace(inputs.texts, plm_forms=(form,), new_plm_ids=[0])
    (ids,) = source_pieces(texts, (), word_start=True)
    assert b"".join(texts.source_forms[id].text for id in ids) == b"haus"


def test_fvt_by_length_weighs_pieces_by_their_bytes(tokenizers_by_family):
    source, plm = tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"]
    inputs = make_task(source, plm)
    table = make_table(inputs)
    pieces = source_pieces(inputs.texts, (), word_start=False)
    rows = rows_of("fvt:weights=length", inputs, table)
    for ids, row in zip(pieces, rows, strict=True):
        sizes = [len(inputs.texts.source_forms[id].text) for id in ids]
        wanted = np.average(table[ids].numpy(), axis=0, weights=sizes)
        np.testing.assert_allclose(row, wanted, atol=1e-5)


@pytest.mark.parametrize("family", ["sentencepiece", "metaspace", "unigram", "wordpiece"])
def test_what_goes_on_with_a_word_is_cut_as_inside_one(tokenizers_by_family, family):
    """Where the tokenizer itself makes a word's start of where a text starts."""
    texts = make_task(tokenizers_by_family[family], tokenizers_by_family["bytelevel"]).texts
    forms = [Form(text.encode(), begins_word=False) for text in ("haus", "der", "ing", "tion")]
    texts = replace(texts, plm_forms=forms, new_plm_ids=[0, 1, 2, 3])
    for ids, form in zip(source_pieces(texts, (), word_start=True), forms, strict=True):
        pieces = [texts.source_forms[id] for id in ids]
        assert not any(piece.begins_word for piece in pieces)
        assert b"".join(piece.text for piece in pieces) == form.text


@pytest.mark.parametrize("pair", PAIRS)
def test_first_piece_is_half_the_piece_and_half_the_other_method(tokenizers_by_family, pair):
    source, plm = (tokenizers_by_family[family] for family in pair)
    inputs = make_task(source, plm)
    table = make_table(inputs)
    everything = slice(0, len(inputs.plm_new))
    other = rows_of("global:ridge=1", inputs, table).double().numpy()
    for share in (0.5, 0.125):
        choice = parse_method(f"global:ridge=1/first-piece:share={share}")
        embedding, head = (side.fill(table)(everything) for side in fit_sides(choice, inputs))
        np.testing.assert_array_equal(embedding.double().numpy(), other)
        n_checked = 0
        for form, row, mapped in zip(inputs.texts.new_forms, head, other, strict=True):
            try:
                text = form.text.decode()
            except UnicodeDecodeError:
                continue
            first = cut_as_it_stands(source, form, text)[0]
            if inputs.texts.source_forms[first] is None:
                continue
            wanted = share * table[first].double().numpy() + (1 - share) * mapped
            np.testing.assert_allclose(row, wanted, atol=1e-5)
            n_checked += 1
        assert n_checked > 20
    part = fit_sides(choice, inputs)[1].fill(table)(slice(5, 9))
    torch.testing.assert_close(part, head[5:9])


def test_without_a_first_piece_the_other_method_stays(tokenizers_by_family):
    byte_level = tokenizers_by_family["bytelevel"]
    half = byte_level.token_to_id("Ñ")
    inputs = make_task(byte_level, byte_level, new=[half], held_out=[half])
    table = make_table(inputs)
    choice = parse_method("global/first-piece")
    embedding, head = (side.fill(table)(slice(0, 1)) for side in fit_sides(choice, inputs))
    assert torch.equal(embedding, head)


@pytest.mark.parametrize("pair", PAIRS)
def test_end_pieces_are_cut_as_if_the_source_had_not_the_token(tokenizers_by_family, pair):
    source, plm = (tokenizers_by_family[family] for family in pair)
    inputs = make_task(source, plm, shortest=2)
    held_out = inputs.shared_ids[-3:]
    inputs = replace(inputs, held_out_ids=held_out)
    ends = end_pieces(inputs)
    gone = [
        set(inputs.shared_ids[first::5].tolist()) | set(held_out.tolist()) for first in range(5)
    ]
    forms, n_longer = inputs.texts.source_forms, 0
    for place, (id, (first, last)) in enumerate(
        zip(inputs.shared_ids.tolist(), ends.shared.tolist(), strict=True)
    ):
        assert not {first, last} & gone[place % 5]
        if first >= 0 and first != last:
            assert forms[id].text.startswith(forms[first].text)
            assert forms[id].text.endswith(forms[last].text)
            n_longer += 1
    assert n_longer > 5
    pieces = source_pieces(inputs.texts, set(held_out.tolist()), word_start=True)
    assert ends.new.tolist() == [[ids[0], ids[-1]] if ids else [-1, -1] for ids in pieces]


@pytest.mark.parametrize("pair", PAIRS)
def test_a_map_from_pieces_too_equals_numpy(tokenizers_by_family, pair):
    source, plm = (tokenizers_by_family[family] for family in pair)
    inputs = make_task(source, plm, shortest=2)
    table, ends = make_table(inputs), end_pieces(inputs)
    rows = rows_of("global-residual:ridge=0.3:pieces=true", inputs, table).double().numpy()
    e = table.double().numpy()
    shared, new = inputs.plm_shared.double().numpy(), inputs.plm_new.double().numpy()
    behind = np.vstack([e - e.mean(0), np.zeros(H)])  # -1 is no piece: the mean row
    of_shared, of_new = (behind[ids.numpy()].reshape(-1, 2 * H) for ids in (ends.shared, ends.new))
    scale = np.sqrt(np.square(shared - shared.mean(0)).mean() / np.square(of_shared).mean())
    x, x_new = np.hstack([shared, scale * of_shared]), np.hstack([new, scale * of_new])
    y, centre = e[inputs.shared_ids.numpy()], x.mean(0)
    gram = (x - centre).T @ (x - centre)
    gram += 0.3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    w = np.linalg.solve(gram, (x - centre).T @ (y - y.mean(0)))
    left_over = y - y.mean(0) - (x - centre) @ w
    near = nearest(inputs, "centred")
    p = np.zeros((len(new), len(shared)))
    p[torch.repeat_interleave(near.k), near.indices] = near.weights
    wanted = (x_new - centre) @ w + y.mean(0) + p @ left_over
    np.testing.assert_allclose(rows, wanted, atol=1e-5)
    assert np.abs(rows - rows_of("global-residual:ridge=0.3", inputs, table).numpy()).max() > 0.1


def test_a_map_from_pieces_does_not_see_held_out_rows(tokenizers_by_family):
    source = tokenizers_by_family["bytelevel"]
    inputs = make_task(source, tokenizers_by_family["unigram"], shortest=2)
    held_out = [0, *(id for id in inputs.shared_ids.tolist() if id % 3 == 0)]
    is_held = [id in held_out for id in inputs.shared_ids.tolist()]
    seen = hold_out(inputs, torch.tensor(is_held).nonzero().squeeze(1))
    seen = replace(seen, held_out_ids=torch.tensor(held_out))
    table = make_table(inputs)
    before = rows_of("global-residual:pieces=true", seen, table)
    table[held_out] = torch.nan
    assert torch.equal(rows_of("global-residual:pieces=true", seen, table), before)


def test_pieces_need_texts(tokenizers_by_family):
    inputs = make_task(tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"])
    with pytest.raises(ConfigError, match="pieces=true reads the tokens' texts"):
        fit_method(parse_method("global-residual:pieces=true"), replace(inputs, texts=None))


def test_two_methods_are_fitted_side_by_side(tokenizers_by_family):
    source, plm = tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"]
    inputs = make_task(source, plm)
    table, everything = make_table(inputs), slice(0, len(inputs.plm_new))
    sides = fit_sides(parse_method("global/fvt"), inputs)
    for side, method in zip(sides, ("global", "fvt"), strict=True):
        assert torch.equal(side.fill(table)(everything), rows_of(method, inputs, table))
    same, again = fit_sides(parse_method("global"), inputs)
    assert same is again


def test_half_characters_are_made_of_single_bytes(tokenizers_by_family):
    byte_level = tokenizers_by_family["bytelevel"]
    vocabulary = _vocabulary(byte_level.to_str())
    half = next(
        id
        for id, form in enumerate(vocabulary.forms)
        if form is not None and len(form.text) == 1 and form.text[0] >= 0x80
    )
    inputs = make_task(byte_level, byte_level, new=[half])
    (ids,) = source_pieces(inputs.texts, (), word_start=True)
    assert [vocabulary.forms[id].text for id in ids] == [vocabulary.forms[half].text]
    (gone,) = source_pieces(inputs.texts, {half}, word_start=True)
    assert gone == []


def test_a_token_without_pieces_is_the_mean_row(tokenizers_by_family):
    byte_level = tokenizers_by_family["bytelevel"]
    half = byte_level.token_to_id("Ñ")
    inputs = make_task(byte_level, byte_level, new=[half], held_out=[half])
    table = make_table(inputs)
    seen = torch.arange(len(table)) != half
    torch.testing.assert_close(rows_of("fvt", inputs, table)[0], table[seen].mean(0))


@pytest.mark.parametrize(
    "family", ["bytelevel", "sentencepiece", "metaspace", "unigram", "wordpiece"]
)
def test_held_out_tokens_are_not_their_own_pieces(tokenizers_by_family, family):
    source = tokenizers_by_family[family]
    vocabulary = _vocabulary(source.to_str())
    held = [i for i, form in enumerate(vocabulary.forms) if form is not None and len(form.text) > 3]
    held = held[::3]
    inputs = make_task(source, source, new=held, held_out=held)
    pieces = source_pieces(inputs.texts, set(held), word_start=True)
    assert not {id for ids in pieces for id in ids} & set(held)
    whole = sum(
        b"".join(vocabulary.forms[id].text for id in ids) == vocabulary.forms[token].text
        for ids, token in zip(pieces, held, strict=True)
    )
    assert whole > 0.9 * len(held)
    table = make_table(inputs)
    before = rows_of("fvt", inputs, table)
    table[held] = torch.nan
    assert torch.equal(rows_of("fvt", inputs, table), before)


def test_a_tokenizer_without_nothing_is_itself(tokenizers_by_family):
    definition = Definition.of(tokenizers_by_family["unigram"])
    assert without(definition, ()) is definition
    assert len(without(definition, {50}).pieces) == len(definition.pieces)


SOURCE_WORDS = {"the": (1, 0, 0), "dog": (0, 1, 0), "house": (0, 0, 1), "file": (1, 1, 0)}
TARGET_WORDS = {"der": (0, 1, 0), "Hund": (0, 0, 1), "Haus": (1, 0, 0), "Datei": (0, 1, 1)}


@pytest.fixture
def word_files(tmp_path):
    files = {}
    for name, words in (("source", SOURCE_WORDS), ("target", TARGET_WORDS)):
        files[name] = tmp_path / f"{name}.vec"
        lines = [f"{word} {' '.join(map(str, row))}" for word, row in words.items()]
        files[name].write_text("\n".join(lines) + "\n")
    files["dictionary"] = tmp_path / "en-de.txt"
    files["dictionary"].write_text("The\tder\ndog\thund\nhouse haus\nfile\tDatei\nmoon\tMond\n")
    return files


def wechsel_text(files):
    return (
        f"wechsel:source_vectors={files['source']}:target_vectors={files['target']}"
        f":dictionary={files['dictionary']}:k=2"
    )


def mean_word_vectors(words, tokenizer, weights):
    """The weighted mean over the words that a token is a piece of, by id."""
    total, weight = defaultdict(lambda: np.zeros(3)), defaultdict(float)
    for share, (word, row) in zip(weights, words.items(), strict=True):
        for text in (word, " " + word):
            for id in set(tokenizer.encode(text, add_special_tokens=False).ids):
                total[id] += share * np.array(row, dtype=float)
                weight[id] += share
    return {id: total[id] / weight[id] for id in total}


def test_wechsel_equals_a_loop(tokenizers_by_family, word_files):
    source, plm = tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"]
    new = [id for word in TARGET_WORDS for id in plm.encode(word, add_special_tokens=False).ids]
    inputs = make_task(source, plm, new=new)
    table = make_table(inputs)
    zipf = [1 / rank for rank in range(1, 5)]
    # The dictionary sends x to y, y to z and z to x.
    rotation = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    found = sorted(mean_word_vectors(SOURCE_WORDS, source, zipf).items())
    ids, vectors = np.array([id for id, _ in found]), np.array([row for _, row in found]) @ rotation
    targets = mean_word_vectors(TARGET_WORDS, plm, zipf)
    rows = rows_of(wechsel_text(word_files), inputs, table).numpy()
    n_unique = 0
    for plm_id, row in zip(new, rows, strict=True):
        x = targets[plm_id]
        cosines = vectors @ x / np.linalg.norm(vectors, axis=1) / np.linalg.norm(x)
        best = np.argsort(-cosines, kind="stable")
        if cosines[best[1]] - cosines[best[2]] < 1e-6:
            continue  # which of two equals comes in is not told
        p = np.exp(cosines[best[:2]] / 0.1)
        wanted = p / p.sum() @ table[ids[best[:2]]].numpy()
        np.testing.assert_allclose(row, wanted, atol=1e-4)
        n_unique += 1
    assert n_unique


def test_wechsel_draws_what_has_no_vector(tokenizers_by_family, word_files):
    source, plm = tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"]
    new = [plm.token_to_id("▁quick") or 30, plm.encode("Hund", add_special_tokens=False).ids[0]]
    inputs = make_task(source, plm, new=new)
    table = make_table(inputs)
    rows = rows_of(wechsel_text(word_files), inputs, table)
    torch.testing.assert_close(rows[0], rows_of("random", inputs, table)[0])
    assert not torch.allclose(rows[1], rows_of("random", inputs, table)[1])


def test_wechsel_with_fasttext_models(tokenizers_by_family, tmp_path):
    words = ["the", "dog", "house", "Haus", "schnell", "für", "river"]
    file = write_fasttext(tmp_path / "both.bin", words, minn=2, dimension=8)
    source, plm = tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"]
    inputs = make_task(source, plm)
    table = make_table(inputs)
    rows = rows_of(f"wechsel:source_vectors={file}:target_vectors={file}:k=1", inputs, table)
    drawn = rows_of("random", inputs, table)
    model = read_fasttext(file)

    def vectors(forms):
        texts = [form.text.decode(errors="ignore").strip() if form else "" for form in forms]
        seen = seen_in_training(model, texts) & np.array([bool(text) for text in texts])
        return token_vectors(model, texts) * seen[:, None]

    left, right = vectors(inputs.texts.source_forms), vectors(inputs.texts.new_forms)
    known = np.flatnonzero(left.any(1))
    left = left / np.linalg.norm(left, axis=1, keepdims=True).clip(1e-30)
    n_known = 0
    for x, row, other in zip(right, rows, drawn, strict=True):
        if x.any():
            cosines = left[known] @ x
            ties = known[cosines > cosines.max() - 1e-5]
            assert any(torch.allclose(row, table[id]) for id in ties.tolist())
            n_known += 1
        else:
            torch.testing.assert_close(row, other)
    assert 0 < n_known < len(rows)


# As OFA's own code cuts them: a capital takes the place of the blank of a word's start.
SPELLINGS = {
    "$the$": (" the ", "  the ", "The "),
    "deu:$der$": (" der ", "  der ", "Der "),
    "deu:$Hund$": (" Hund ", "  Hund ", "Hund "),
    "$dog$": (" dog ", "  dog ", "Dog "),
    "deu:ung$": ("ung ", " ung ", " Ung "),
}


def test_ofa_over_multilingual_vectors(tokenizers_by_family, tmp_path):
    words = {
        "$the$": (1, 0, 0),
        "deu:$der$": (0.9, 0.1, 0),
        "deu:$Hund$": (0, 1, 0.2),
        "$dog$": (0, 1, 0),
        "deu:ung$": (0.5, 0, 1),
    }
    file = tmp_path / "both.vec"
    file.write_text("".join(f"{w} {' '.join(map(str, v))}\n" for w, v in words.items()))
    source, plm = tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"]
    new = plm.encode("der", add_special_tokens=False).ids
    inputs = make_task(source, plm, new=new)
    table = make_table(inputs)

    def vectors(tokenizer):
        """By id, the mean of the words that have the token among their pieces."""
        found = {}
        for word, vector in words.items():
            for text in SPELLINGS[word]:
                for id in set(tokenizer.encode(text, add_special_tokens=False).ids):
                    found.setdefault(id, []).append(vector)
        return {id: np.mean(several, axis=0) for id, several in found.items()}

    def unit(vector):
        return vector / np.linalg.norm(vector)

    everyone = rows_of(f"ofa:vectors={file}:k=1000", inputs, table)
    one = rows_of(f"ofa:vectors={file}:k=1", inputs, table)
    left, right = vectors(source), vectors(plm)
    seen = [id for id in left if id in inputs.source_ids.tolist()]
    for id, row, mixed in zip(new, one, everyone, strict=True):
        cosines = np.array([unit(left[other]) @ unit(right[id]) for other in seen])
        nearest = [other for other, c in zip(seen, cosines, strict=True) if c > max(cosines) - 1e-6]
        assert any(torch.allclose(row, table[other]) for other in nearest)
        weights = np.exp(cosines / 0.1) / np.exp(cosines / 0.1).sum()
        np.testing.assert_allclose(mixed, weights @ table[seen].double().numpy(), atol=1e-4)
    thin = rows_of(f"ofa:vectors={file}:k=1:rank=2", inputs, table)
    leading = np.linalg.svd(table.double().numpy(), full_matrices=False)[2][:2]
    np.testing.assert_allclose(thin, one.double().numpy() @ leading.T @ leading, atol=1e-4)
    assert int(torch.linalg.matrix_rank(torch.cat([thin, thin]), tol=1e-4)) <= 2


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("wechsel", ConfigError, "source_vectors is not given"),
        ("wechsel:source_vectors={source}", ConfigError, "target_vectors is not given"),
        (
            "wechsel:source_vectors={source}:target_vectors={target}:dictionary={missing}",
            ConfigError,
            "the dictionary .*missing.txt cannot be read",
        ),
        (
            "wechsel:source_vectors={source}:target_vectors={target}:dictionary={long}",
            ConfigError,
            "line 1: 'a b c' is not a pair of words",
        ),
        (
            "wechsel:source_vectors={source}:target_vectors={target}:dictionary={strange}",
            AuxiliaryVectorsError,
            "none of the 1 pairs of .* is in both",
        ),
        (
            "wechsel:source_vectors={source}:target_vectors={wide}:dictionary={dictionary}",
            AuxiliaryVectorsError,
            "has 3 dimensions, .* 2",
        ),
    ],
)
def test_files_that_do_not_fit_are_told(
    tokenizers_by_family, word_files, tmp_path, text, error, message
):
    contents = {"long": "a b c\n", "strange": "moon Mond\n", "wide": "der 1 0\nHund 0 1\n"}
    for name, content in contents.items():
        word_files[name] = tmp_path / f"{name}.txt"
        word_files[name].write_text(content)
    word_files["missing"] = tmp_path / "missing.txt"
    inputs = make_task(tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"])
    with pytest.raises(error, match=message) as caught:
        rows_of(text.format(**word_files), inputs, make_table(inputs))
    if text == "wechsel":
        way = re.sub("(source|target|dictionary)(\\w*)=FILE", r"\1\2={\1}", caught.value.hint)
        given = way.removeprefix("--method ").format(**word_files)
        assert len(rows_of(given, inputs, make_table(inputs)))


def test_norm_calibration_gives_every_row_one_length():
    rows = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    rows[3] = 0
    found = match_norms(lambda part: rows[part], 2.5)(slice(0, 9))
    lengths = found.norm(dim=1)
    assert lengths[3] == 0
    torch.testing.assert_close(lengths[lengths > 0], torch.full((8,), 2.5))
    torch.testing.assert_close(found, rows * (lengths / rows.norm(dim=1).clamp_min(1e-9))[:, None])


def test_unigram_calibration_equals_the_formula():
    generator = torch.Generator().manual_seed(0)
    rows, shared = torch.randn(9, 4, generator=generator), torch.randn(20, 4, generator=generator)
    hidden = torch.randn(4, generator=generator)
    log_shared = log_frequencies(torch.arange(20))
    log_new = log_frequencies(torch.arange(9) * 3)
    unigrams = Unigrams(hidden, log_shared, log_new)
    found = match_unigrams(lambda part: rows[part], shared, unigrams)(slice(2, 9)).numpy()
    e, s, h = (x.double().numpy() for x in (rows[2:], shared, hidden))
    c = np.mean(s @ h - log_shared.double().numpy())
    move = log_new[2:].double().numpy() + c - e @ h
    np.testing.assert_allclose(found, e + np.outer(move, h) / (h @ h), atol=1e-5)
    np.testing.assert_allclose(found @ h, log_new[2:].numpy() + c, atol=1e-4)


def test_unigram_calibration_counts_the_heads_bias():
    generator = torch.Generator().manual_seed(0)
    rows, shared = torch.randn(9, 4, generator=generator), torch.randn(20, 4, generator=generator)
    hidden, new_bias, bias = (torch.randn(n, generator=generator) for n in (4, 9, 20))
    unigrams = Unigrams(hidden, log_frequencies(torch.arange(20)), log_frequencies(torch.arange(9)))
    calibrated = match_unigrams(
        lambda part: rows[part],
        shared,
        unigrams,
        Bias(lambda part: new_bias[part].unsqueeze(1), bias),
    )(slice(0, 9))
    level = (shared @ hidden + bias - unigrams.log_shared).mean()
    found = calibrated @ hidden + new_bias - unigrams.log_new
    torch.testing.assert_close(found, level.expand(9), atol=1e-4, rtol=1e-4)


def test_tokens_that_never_occur_have_a_frequency():
    logs = log_frequencies(torch.tensor([0, 3]))
    assert logs.tolist() == pytest.approx([math.log(0.125), math.log(0.875)])
