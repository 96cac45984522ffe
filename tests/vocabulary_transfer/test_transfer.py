"""The whole way: from two model directories to a third that loads in transformers."""

import json
import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from saltlm.auxiliary.vectors import AuxiliaryVectors
from saltlm.config.transfer import RowsConfig, TransferConfig
from saltlm.errors import ConfigError, DataError, OutputError, VocabularyError
from saltlm.files import mapped
from saltlm.files.documents import documents
from saltlm.files.hashes import sha256
from saltlm.record.arrays import Origin
from saltlm.record.manifest import read_manifest
from saltlm.record.provenance import Provenance
from saltlm.vocabulary_transfer import rows as row_tables
from saltlm.vocabulary_transfer.prepare import read_pair
from saltlm.vocabulary_transfer.result import note_of_long_rows
from saltlm.vocabulary_transfer.transfer import transfer, transfer_embeddings
from saltlm.vocabulary_transfer.unigrams import mean_hidden
from saltlm.vocabulary_transfer.write_model import expected_bytes
from tiny_models import PLMS, SOURCES
from tiny_pairs import PADDING, TEMPLATE, contents, write_pair, write_side

FAMILIES = ["bytelevel", "sentencepiece", "metaspace", "unigram", "wordpiece"]


def permuted(tokenizer, seed=0):
    """A copy of a tokenizer whose ids are shuffled."""
    definition = json.loads(tokenizer.to_str())
    size = tokenizer.get_vocab_size()
    order = np.random.default_rng(seed).permutation(size)
    model = definition["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {token: int(order[id]) for token, id in model["vocab"].items()}
    else:
        pieces = [None] * size
        for id, piece in enumerate(model["vocab"]):
            pieces[order[id]] = piece
        model["vocab"] = pieces
        model["unk_id"] = int(order[model["unk_id"]])
    for added in definition["added_tokens"]:
        added["id"] = int(order[added["id"]])
    definition["added_tokens"].sort(key=lambda added: added["id"])
    template = definition["post_processor"]
    if template and template["type"] == "TemplateProcessing":
        for special in template["special_tokens"].values():
            special["ids"] = [int(order[id]) for id in special["ids"]]
    return Tokenizer.from_str(json.dumps(definition))


def with_all_added_tokens_as_pieces(tokenizer):
    """A Unigram's added tokens must be pieces for their ids to be free to move."""
    definition = json.loads(tokenizer.to_str())
    if definition["model"]["type"] == "Unigram":
        pieces = definition["model"]["vocab"]
        known = {piece for piece, _ in pieces}
        added = [token["content"] for token in definition["added_tokens"]]
        pieces += [[token, 0.0] for token in added if token not in known]
    return Tokenizer.from_str(json.dumps(definition))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_identity_on_a_permuted_vocabulary(family, tied, tokenizers_by_family, corpus, tmp_path):
    """Every row is copied bit for bit, and the logits are those of the source."""
    tokenizer = with_all_added_tokens_as_pieces(tokenizers_by_family[family])
    size = tokenizer.get_vocab_size()
    model = SOURCES["Llama"](size, num_hidden_layers=1, tie_word_embeddings=tied)
    write_side(tmp_path / "source", model, tokenizer)
    write_side(tmp_path / "plm", PLMS["BERT"](size, num_hidden_layers=1), permuted(tokenizer))

    result = transfer(tmp_path / "source", tmp_path / "plm", tmp_path / "out")

    assert set(result.provenance.origin.tolist()) <= {Origin.SHARED, Origin.SPECIAL}
    new = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = [result.tokenizer.token_to_id(tokenizer.id_to_token(id)) for id in range(size)]
    place = torch.tensor(ids)
    old_rows, new_rows = (m.get_input_embeddings().weight for m in (model, new))
    assert torch.equal(new_rows[place], old_rows)
    assert torch.equal(
        new.get_output_embeddings().weight[place], model.get_output_embeddings().weight
    )
    assert (new.lm_head.weight is new.model.embed_tokens.weight) == tied
    lines = corpus[::4]  # every language
    batch = [tokenizer.encode(line).ids for line in lines]
    renumbered = AutoTokenizer.from_pretrained(tmp_path / "out")(lines)["input_ids"]
    for old, new_ids in zip(batch, renumbered, strict=True):
        assert new_ids == place[old].tolist()
        with torch.inference_mode():
            before = model(torch.tensor([old])).logits
            after = new(torch.tensor([new_ids])).logits
        torch.testing.assert_close(after[..., place], before, atol=1e-5, rtol=1e-5)


def noise(rows, width, seed):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def naive_rows(record, plm, tables):
    """SALT steps 2 to 4 as the paper writes them, in float64, a new token at a time."""
    plm, *tables = (table.double().numpy() for table in (plm, *tables))
    anchors = record.anchor_ids.numpy()
    shared = plm[record.plm_ids.numpy()[anchors]]
    units = shared / np.linalg.norm(shared, axis=1, keepdims=True)
    made = [[] for _ in tables]
    for row in plm[record.plm_ids.numpy()[record.new_ids.numpy()]]:
        cosines = units @ row / np.linalg.norm(row)
        order = np.argsort(-cosines)
        total = np.cumsum(cosines[order])
        size = 1 + np.flatnonzero(1 + np.arange(1, len(order) + 1) * cosines[order] > total)[-1]
        near = order[:size]
        for rows, table in zip(made, tables, strict=True):
            x = np.linalg.pinv(shared[near], rcond=1e-5) @ table[record.source_ids[anchors[near]]]
            rows.append(row @ x)
    return [np.array(rows) for rows in made]


@pytest.mark.parametrize("h_t", [6, 48], ids=["k above h_t", "k below h_t"])
def test_a_whole_transfer_equals_a_float64_oracle(h_t, tokenizers_by_family):
    left, right = tokenizers_by_family["bytelevel"], tokenizers_by_family["unigram"]
    v_s, v_t = left.get_vocab_size(), right.get_vocab_size()
    embedding, head, plm = noise(v_s + 9, 10, 1), noise(v_s + 9, 10, 2), noise(v_t + 5, h_t, 3)
    embedding[v_s:] = head[v_s:] = 1e6  # padding that would be seen if it were used
    bias = noise(v_s + 9, 1, 4).squeeze(1)
    result = transfer_embeddings(
        embedding, plm, source_tokenizer=left, plm_tokenizer=right, head=head, head_bias=bias
    )
    record = result.provenance
    k = record.neighbours.k
    assert result.counts["shared"] > 100
    assert len(record.new_ids) > 100
    assert (k > h_t).all() if h_t == 6 else (k < h_t).any()
    # The bias is a column of the head: beside it, its numbers may cancel out as they like.
    tables = [embedding, torch.cat([head, bias.unsqueeze(1)], 1)]
    found = [result.embedding, torch.cat([result.head, result.head_bias.unsqueeze(1)], 1)]
    for rows, wanted in zip(found, naive_rows(record, plm, tables), strict=True):
        error = np.linalg.norm(rows[record.new_ids].double().numpy() - wanted, axis=1)
        assert np.all(error <= 1e-4 * np.linalg.norm(wanted, axis=1))


def test_the_order_of_the_vocabularies_changes_nothing(tokenizers_by_family):
    sides = [tokenizers_by_family["bytelevel"], tokenizers_by_family["wordpiece"]]
    tables = [noise(sides[0].get_vocab_size(), 6, 5), noise(sides[1].get_vocab_size(), 12, 6)]

    def run(tokenizers, tables):
        result = transfer_embeddings(
            *tables, source_tokenizer=tokenizers[0], plm_tokenizer=tokenizers[1]
        )
        tokens = sorted(result.tokenizer.get_vocab().items())
        places = torch.tensor([id for _, id in tokens])
        record = result.provenance
        return [token for token, _ in tokens], record.origin[places], result.embedding[places]

    shuffled = [permuted(side, seed=8) for side in sides]
    moved = [
        table[[old.token_to_id(new.id_to_token(id)) for id in range(len(table))]]
        for old, new, table in zip(sides, shuffled, tables, strict=True)
    ]
    strings, origins, rows = run(sides, tables)
    again, same_origins, same_rows = run(shuffled, moved)
    assert strings == again
    assert torch.equal(origins, same_origins)
    assert (origins == Origin.MADE).any()
    torch.testing.assert_close(rows, same_rows, atol=1e-4, rtol=1e-4)


def test_the_seed_changes_sampled_rows_and_no_others(tokenizers_by_family):
    left, right = tokenizers_by_family["bytelevel"], tokenizers_by_family["wordpiece"]
    plm = noise(right.get_vocab_size(), 12, 1)
    new = [id for token, id in right.get_vocab().items() if token.startswith("##")]
    plm[new[::4]] = 0
    first, again, other = (
        transfer_embeddings(
            noise(left.get_vocab_size(), 6, 2),
            plm,
            source_tokenizer=left,
            plm_tokenizer=right,
            config=TransferConfig(seed=seed),
        )
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.embedding, again.embedding)
    is_sampled = first.provenance.origin == Origin.SAMPLED
    assert is_sampled.sum() > 10
    assert torch.equal((first.embedding != other.embedding).all(1), is_sampled)
    assert torch.equal((first.embedding != other.embedding).any(1), is_sampled)


def test_auxiliary_vectors_in_memory_decide_what_is_near(tokenizers_by_family):
    left, right = tokenizers_by_family["bytelevel"], tokenizers_by_family["wordpiece"]
    v_t = right.get_vocab_size()
    is_known = torch.arange(v_t) % 3 > 0
    auxiliary = AuxiliaryVectors(torch.eye(v_t), is_known, "one axis a token")
    result = transfer_embeddings(
        noise(left.get_vocab_size(), 6, 1),
        noise(v_t, 12, 2),
        source_tokenizer=left,
        plm_tokenizer=right,
        auxiliary=auxiliary,
    )
    record = result.provenance
    assert is_known[record.plm_ids[record.anchor_ids]].all()
    assert is_known[record.plm_ids[record.new_ids]].all()
    assert not is_known[record.plm_ids[record.origin == Origin.SAMPLED]].any()
    assert (record.neighbours.k == len(record.anchor_ids)).all()  # all are equally far


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"aux": "train", "trust_remote_code": True}, "aux, trust_remote_code"),
        ({"plm_vectors": "vectors:v.vec"}, "plm_vectors"),
        ({"target_tokenizer": "org/other"}, "target_tokenizer"),
        ({"max_shard_size": "1GB"}, "max_shard_size"),
        ({"tensors": {"source_head": "head"}}, "tensors"),
        ({"fasttext": {"epochs": 9}}, "fasttext"),
        ({"fits": {"head": True}}, "fits"),
        ({"preset": "paper"}, "preset, aux"),
        ({"language": "de"}, "language"),
        ({"prove": True}, "prove"),
        ({"link": "auto"}, "link"),
        ({"calibration": {"unigrams": ["english.txt"]}}, "calibration.unigrams"),
    ],
)
def test_options_of_files_are_refused_in_memory(options, named, tokenizers_by_family):
    """What `transfer_embeddings` cannot do it does not leave out in silence."""
    left, right = tokenizers_by_family["bytelevel"], tokenizers_by_family["wordpiece"]
    message = f"works on objects in memory and cannot do {named}\nhint: pass tables, auxiliary="
    with pytest.raises(ConfigError, match=message):
        transfer_embeddings(
            noise(left.get_vocab_size(), 6, 1),
            noise(right.get_vocab_size(), 12, 2),
            source_tokenizer=left,
            plm_tokenizer=right,
            config=TransferConfig(**options),
        )


def test_every_option_of_files_is_refused_in_memory():
    cases = {"aux", "trust_remote_code", "plm_vectors", "target_tokenizer", "max_shard_size"}
    cases |= {"tensors", "fasttext", "fits", "preset", "language", "prove", "link"}
    cases |= {"low_memory"}
    assert cases == TransferConfig.model_fields.keys() - RowsConfig.model_fields.keys()


def test_tokens_without_rows_in_memory(tokenizers_by_family):
    left, right = tokenizers_by_family["bytelevel"], tokenizers_by_family["wordpiece"]
    sides = {"source_tokenizer": left, "plm_tokenizer": right}
    v_s, v_t = left.get_vocab_size(), right.get_vocab_size()
    with pytest.raises(VocabularyError, match=f"2 tokens of the source lie beyond the {v_s - 2} "):
        transfer_embeddings(noise(v_s - 2, 6, 1), noise(v_t, 6, 1), **sides)
    with pytest.raises(VocabularyError, match=f"1 tokens of the PLM lie beyond the {v_t - 1} rows"):
        transfer_embeddings(noise(v_s, 6, 1), noise(v_t - 1, 6, 1), **sides)


@pytest.fixture(scope="module")
def parents(tokenizers_by_family, tmp_path_factory):
    """A source and a PLM on disk; tests only read them."""
    source, plm = write_pair(tmp_path_factory.mktemp("parents"), tokenizers_by_family, source="Phi")
    (source / "LICENSE").write_text("Everything is allowed.")
    (source / "LICENSES").mkdir()
    (source / "modeling_mine.py").write_text("raise SystemExit")
    return source, plm


@pytest.fixture(scope="module")
def made(parents, tmp_path_factory):
    """The model that a transfer makes of the parents, and its result; tests only read them."""
    out = tmp_path_factory.mktemp("made") / "out"
    return out, transfer(*parents, out)


def test_the_directory_holds_what_the_result_holds(made):
    out, result = made
    model = AutoModelForCausalLM.from_pretrained(out)
    assert torch.equal(model.get_input_embeddings().weight, result.embedding)
    assert torch.equal(model.lm_head.weight, result.head)
    assert torch.equal(model.lm_head.bias, result.head_bias)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert (
        json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        == (json.loads(result.tokenizer.to_str())["model"])
    )
    loaded = Provenance.load(out)
    assert torch.equal(loaded.origin, result.provenance.origin)
    assert torch.equal(loaded.fit.coefficients, result.provenance.fit.coefficients)
    assert repr(result).startswith(f"TransferResult({len(result.embedding):,} tokens: ")


def test_objects_in_memory_give_what_directories_give(parents, made):
    source, plm = parents
    model = AutoModelForCausalLM.from_pretrained(source)
    with safe_open(plm / "model.safetensors", "pt") as opened:
        plm_embedding = opened.get_tensor("embeddings.word_embeddings.weight")
    result = transfer_embeddings(
        model.get_input_embeddings().weight.detach(),
        plm_embedding,
        source_tokenizer=AutoTokenizer.from_pretrained(source),
        plm_tokenizer=AutoTokenizer.from_pretrained(plm),
        head=model.lm_head.weight.detach(),
        head_bias=model.lm_head.bias.detach(),
    )
    for name in ("embedding", "head", "head_bias"):
        assert torch.equal(getattr(result, name), getattr(made[1], name))
    assert result.tokenizer.to_str() == made[1].tokenizer.to_str()
    assert result.counts == made[1].counts


def test_shared_tokens_can_be_made_anew_as_in_wechsel(parents, made, tmp_path):
    result = transfer(*parents, tmp_path / "out", method="mean", copy_shared=False)
    plain, origin = made[1].provenance, result.provenance.origin
    is_anew = (origin == Origin.MADE) & (plain.origin == Origin.SHARED)
    assert is_anew.nonzero().flatten().tolist() == plain.anchor_ids.tolist()
    rows = result.embedding[origin == Origin.MADE]
    assert torch.equal(rows, rows[:1].expand_as(rows))
    assert (result.provenance.source_ids[is_anew] == -1).all()
    copied = result.provenance.source_ids >= 0
    assert torch.equal(result.embedding[copied], made[1].embedding[copied])
    for mode in ("extend", "swap"):
        with pytest.raises(ConfigError, match=f"mode={mode} keeps the source's rows"):
            transfer(*parents, tmp_path / "other", mode=mode, copy_shared=False)


def test_the_same_inputs_give_the_same_bytes(parents, made, tmp_path):
    transfer(*parents, tmp_path / "out")
    first, second = contents(made[0]), contents(tmp_path / "out")
    assert first.keys() == second.keys()
    records = [json.loads(files.pop("saltlm/manifest.json")) for files in (first, second)]
    assert first == second
    for record in records:
        for key in ("seconds", "peak_memory_bytes", "environment"):
            assert record.pop(key)
    assert records[0] == records[1]


@pytest.mark.parametrize("mode", ["replace", "extend"])
def test_tables_in_files_give_the_same_bytes(mode, parents, tmp_path, monkeypatch):
    """And the source's files stay as they are, whatever is done to the tables."""
    monkeypatch.setattr(mapped, "_LARGE", 64)
    before, made, in_files = contents(parents[0]), [], []
    empty = mapped.empty_table

    def seen(*args):
        in_files.append(mapped.are_in_files())
        return empty(*args)

    for place in (mapped, row_tables):
        monkeypatch.setattr(place, "empty_table", seen)
    for low_memory in (False, True):
        out = tmp_path / str(low_memory)
        transfer(*parents, out, mode=mode, low_memory=low_memory)
        made.append({k: v for k, v in contents(out).items() if not k.startswith("saltlm/manifest")})
    for files in made:
        assert files.pop("README.md")  # has the options
    assert made[0] == made[1]
    assert in_files == sorted(in_files)
    assert {*in_files} == {False, True}
    assert contents(parents[0]) == before
    assert {path.name for path in tmp_path.iterdir()} == {"False", "True"}


def test_chat_template_framing_and_ids_are_the_sources(parents, made):
    old, new = (AutoTokenizer.from_pretrained(place) for place in (parents[0], made[0]))
    assert new.chat_template == TEMPLATE
    chat = [{"content": "Das Haus"}]
    ids = new.apply_chat_template(chat, tokenize=True)["input_ids"]
    assert new.convert_ids_to_tokens(ids)[0] == "<|im_start|>"
    assert new.convert_ids_to_tokens(ids)[-1] == "<|im_end|>"
    # The source puts nothing around a text; the PLM would have put [CLS] and [SEP].
    assert new("Das Haus")["input_ids"] == new("Das Haus", add_special_tokens=False)["input_ids"]
    assert not {"[CLS]", "[SEP]", "[MASK]", "[PAD]"} & new.get_vocab().keys()
    model = AutoModelForCausalLM.from_pretrained(made[0])
    ends = [new.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    assert model.generation_config.eos_token_id == ends
    assert model.config.eos_token_id == ends[0]
    assert model.config.bos_token_id == new.convert_tokens_to_ids("<|im_start|>")
    assert model.config.vocab_size == len(new)
    assert (old.bos_token, old.eos_token) == (new.bos_token, new.eos_token)


def test_the_manifest_says_what_was_done(parents, made):
    out, result = made
    source, plm = parents
    manifest = read_manifest(out)
    assert manifest["source"]["name"] == str(source)
    assert manifest["source"]["licence"] == "apache-2.0"
    assert manifest["plm"]["licence"] == "mit"
    for side, place in (("source", source), ("plm", plm)):
        assert manifest[side]["revision"] is None
        assert manifest[side]["files"] == {
            name: sha256(place / name) for name in ("config.json", "tokenizer.json")
        }
    assert manifest["source"]["is_tied"] is False
    assert manifest["source"]["tables"].keys() == {"embedding", "head", "head_bias"}
    assert manifest["method"]["name"] == "salt"
    assert manifest["method"]["options"]["rcond"] == 1e-5
    assert manifest["options"] == TransferConfig().model_dump(mode="json")
    assert manifest["auxiliary"] == "the PLM's own rows, 16-d"
    counts = manifest["counts"]
    assert {key: counts[key] for key in result.counts} == result.counts
    assert sum(result.counts.values()) == len(result.embedding)
    assert counts["anchors"] == len(result.provenance.anchor_ids)
    assert counts["source_padding_rows"] == PADDING
    assert 1 <= counts["k"]["min"] <= counts["k"]["median"] <= counts["k"]["max"]
    assert {"role": "eos", "token": "<|im_end|>"}.items() <= manifest["roles"][1].items()
    laps = ["read", "auxiliary vectors", "yardstick", "rows", "write", "prove"]
    assert list(manifest["seconds"]) == laps
    assert manifest["yardstick"]["r2"] == result.score.r2._asdict()


def test_the_manifest_compares_every_tensor(parents, made):
    tensors = read_manifest(made[0])["tensors"]
    with safe_open(parents[0] / "model.safetensors", "pt") as opened:
        assert tensors.keys() == set(opened.keys())
    replaced = {name for name, both in tensors.items() if both["source"] is None}
    assert replaced == {"lm_head.bias", "lm_head.weight", "model.embed_tokens.weight"}
    assert all(
        tensors[name]["source"] == tensors[name]["written"] for name in tensors.keys() - replaced
    )


def test_the_size_of_the_weights_is_known_before(parents, made, tmp_path):
    pair = read_pair(*map(str, parents), TransferConfig())
    file = made[0] / "model.safetensors"
    with file.open("rb") as opened:
        header = int.from_bytes(opened.read(8), "little")
    assert expected_bytes(pair, TransferConfig(), tmp_path) == file.stat().st_size - 8 - header


def test_what_has_no_ids_comes_along(made, parents, tmp_path):
    assert (made[0] / "LICENSE").read_text() == "Everything is allowed."
    assert not (made[0] / "modeling_mine.py").exists()
    transfer(*parents, tmp_path / "out", trust_remote_code=True)
    assert (tmp_path / "out" / "modeling_mine.py").read_text() == "raise SystemExit"


def test_options_reach_what_they_name(parents, tmp_path):
    vectors = tmp_path / "words.txt"
    pieces = json.loads((parents[1] / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(piece for piece in pieces if piece.isalpha())[::4]
    table = noise(len(words), 5, 1).tolist()
    lines = [" ".join([word, *map(str, row)]) for word, row in zip(words, table, strict=True)]
    vectors.write_text(f"{len(words)} 5\n" + "\n".join(lines) + "\n")
    config = TransferConfig(
        aux=f"vectors:{vectors}",
        method="focus",
        min_shared=5,
        special_tokens={"roles": {"pad": "<|endoftext|>"}, "carry_plm": ["[MASK]"]},
    )
    result = transfer(*parents, tmp_path / "out", config=config)
    assert result.counts["sampled"] > result.counts["made"] > 0
    record = result.provenance
    torch.testing.assert_close(record.fit.coefficients, record.neighbours.weights)  # FOCUS
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.pad_token == "<|endoftext|>"
    assert "[MASK]" in tokenizer.get_vocab()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert read_manifest(tmp_path / "out")["auxiliary"].startswith("vectors words.txt, 5-d")


def test_force_replaces_a_model(parents, made, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    (tmp_path / "out" / "stale.safetensors").write_text("old")
    transfer(*parents, tmp_path / "out", force=True)
    assert contents(tmp_path / "out").keys() == contents(made[0]).keys()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_options_beside_a_config(parents, tmp_path):
    (tmp_path / "run.yaml").write_text("min_shared: 90000\nmethod: mean\n")
    for config in (TransferConfig(min_shared=90000, method="mean"), tmp_path / "run.yaml"):
        with pytest.raises(VocabularyError, match="80000 are needed"):
            transfer(*parents, tmp_path / "out", config=config, min_shared=80000)
    with pytest.raises(ConfigError, match="there is no option 'sed'"):
        transfer(*parents, tmp_path / "out", sed=1)


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        ([1.0, 4.9, math.nan], None),
        ([], None),
        ([1.0, 5.2, math.nan], "1 made row is over 5 times as long .* in the head, #8 5.2 times"),
        ([6.0, 83.4, 7.0], "3 made rows are over 5 times .* in the head, #8 83.4 times"),
        ([6.0, 1.0, math.inf], "2 made rows are over 5 times .* in the head, #9 inf times"),
    ],
)
def test_long_rows_are_counted_and_the_longest_named(ratio, said):
    ids = torch.arange(7, 7 + len(ratio))
    found = note_of_long_rows("head", torch.tensor(ratio), ids)
    assert [bool(re.match(said or "", note)) for note in found] == [True] * (said is not None)


@pytest.mark.parametrize(
    ("source", "method", "sides"),
    [
        ("SmolLM2", "global", ["embedding"]),
        ("Llama", "global", ["embedding", "head"]),
        ("Llama", "mean/global", ["head"]),
        ("Llama", "global/mean", ["embedding"]),
    ],
)
def test_rows_that_are_far_too_long_are_told(source, method, sides, tokenizers_by_family, tmp_path):
    pair = write_pair(tmp_path, tokenizers_by_family, source)
    plain = transfer(*pair, tmp_path / "plain", method=method)
    assert not any("as long" in note for note in plain.notes)
    new = plain.provenance.new_ids[:2]
    weights = load_file(pair[1] / "model.safetensors")
    table = next(rows for name, rows in weights.items() if name.endswith("word_embeddings.weight"))
    table[plain.provenance.plm_ids[new]] *= torch.tensor([[500.0], [1000.0]])
    save_file(weights, pair[1] / "model.safetensors", {"format": "pt"})
    long = transfer(*pair, tmp_path / "long", method=method)
    expected = []
    for side in sides:
        rows = long.embedding if side == "embedding" else long.head
        lengths = rows.norm(dim=1)
        ratio = lengths[new[1]] / lengths[long.provenance.anchor_ids].mean()
        assert ratio > 10
        told = f"2 made rows are over 5 times as long as the shared tokens' in the {side}"
        expected.append(f"{told}, #{int(new[1])} {float(ratio):.3g} times")
    for notes in (long.notes, read_manifest(tmp_path / "long")["notes"]):
        assert [note.split(";")[0] for note in notes if "as long" in note] == expected
    level = transfer(*pair, tmp_path / "level", method=method, calibration={"norms": True})
    assert not any("as long" in note for note in level.notes)


def test_calibrations_fit_norms_and_frequencies(tokenizers_by_family, corpus, tmp_path):
    """The mean logit of each new token, less the shared tokens' mean, is its log-frequency."""
    pair = write_pair(tmp_path, tokenizers_by_family)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(corpus), encoding="utf-8")
    plain = transfer(*pair, tmp_path / "plain")
    level = transfer(*pair, tmp_path / "level", calibration={"norms": True})
    new, shared = plain.provenance.new_ids, plain.provenance.anchor_ids
    wanted = plain.embedding[shared].norm(dim=1).mean()
    torch.testing.assert_close(level.embedding[new].norm(dim=1), wanted.expand(len(new)))
    assert torch.equal(level.embedding[shared], plain.embedding[shared])

    fitted = transfer(
        *pair, tmp_path / "fitted", corpus=[text], calibration={"unigrams": [str(text)]}
    )
    source = AutoModelForCausalLM.from_pretrained(pair[0]).eval()
    lines = list(documents([text]))
    hidden = mean_hidden(source, AutoTokenizer.from_pretrained(pair[0]), lines)
    table = fitted.embedding if fitted.head is None else fitted.head
    used = Counter(
        id
        for encoding in fitted.tokenizer.encode_batch(lines, add_special_tokens=False)
        for id in encoding.ids
    )
    rows = len(table)
    log_p = torch.tensor(
        [math.log((used[id] + 0.5) / (sum(used.values()) + rows / 2)) for id in range(rows)]
    )
    above = table @ hidden - log_p
    torch.testing.assert_close(
        above[new], above[shared].mean().expand(len(new)), atol=1e-3, rtol=1e-4
    )


def test_calibration_without_a_corpus_is_refused(tokenizers_by_family, corpus, tmp_path):
    pair = write_pair(tmp_path, tokenizers_by_family)
    (tmp_path / "text.txt").write_text("\n".join(corpus), encoding="utf-8")
    with pytest.raises(DataError, match=r"the corpus has no text \(none was given\)"):
        transfer(*pair, tmp_path / "out", calibration={"unigrams": [tmp_path / "text.txt"]})


def test_focus_as_published_knows_the_tokens_of_the_corpus_only(
    tokenizers_by_family, corpus, tmp_path
):
    """fastText on tokens, without composition: what occurs too rarely is sampled."""
    pair = write_pair(tmp_path, tokenizers_by_family)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(corpus), encoding="utf-8")
    result = transfer(
        *pair,
        tmp_path / "out",
        method="focus",
        aux="train",
        corpus=[text],
        fasttext={
            **{"units": "tokens", "compose": False, "min_count": 2, "epochs": 1},
            **{"dimension": 16, "bucket": 2**12},
        },
    )
    assert f"trained on the tokens of {text.name}" in result.auxiliary
    counts = Counter(
        id
        for encoding in result.tokenizer.encode_batch(corpus, add_special_tokens=False)
        for id in encoding.ids
    )
    origin = result.provenance.origin
    linear, sampled = (
        (origin == kind).nonzero().flatten().tolist() for kind in (Origin.MADE, Origin.SAMPLED)
    )
    assert linear
    assert all(counts[id] >= 2 for id in linear)
    assert all(counts[id] < 2 for id in sampled)


def test_files_of_a_method_are_in_the_record(tokenizers_by_family, tmp_path):
    pair = write_pair(tmp_path, tokenizers_by_family)
    file = tmp_path / "words" / "words.vec"
    file.parent.mkdir()
    file.write_text("the 1 0 0\nund 0 1 0\ndog 0 0 1\n")
    method = f"wechsel:source_vectors={file}:target_vectors={file}"
    transfer(*pair, tmp_path / "out", method=method)
    manifest = read_manifest(tmp_path / "out")
    assert manifest["method"]["options"]["source_vectors"] == str(file)
    assert manifest["files"] == {str(file): sha256(file)}
    with pytest.raises(OutputError, match="holds .*words.vec, which is an input"):
        transfer(*pair, file.parent, method=method, force=True)
