import gzip
import json
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from saltlm.errors import CheckpointError, DataError, VocabularyError
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.prune import prune_tokenizer
from saltlm.tokenizer.pruning_loss import pruning_loss, unreachable_pieces
from saltlm.vocabulary_transfer.prune_model import prune_model

FAMILIES = ["bytelevel", "sentencepiece", "metaspace", "unigram", "wordpiece"]


def tokens(tokenizer, text):
    return tokenizer.encode(text).tokens


@pytest.fixture(params=FAMILIES)
def donor(request, tokenizers_by_family):
    return tokenizers_by_family[request.param]


def test_every_used_token_kept_means_the_same_tokens(donor, corpus):
    german = corpus[6:12]
    pruned = prune_tokenizer(Definition.of(donor), count_tokens(donor, german))
    assert len(pruned.kept) < donor.get_vocab_size()
    for text in german:
        assert tokens(pruned.tokenizer, text) == tokens(donor, text)
    loss = pruning_loss(Definition.of(donor), pruned.definition, german)
    assert loss.tokens == loss.tokens_before
    assert loss.resegmented == 0
    assert loss.n_documents == 6
    assert (loss.n_changed, loss.unreachable) == (0, ())


def test_kept_names_the_donors_id_of_every_token(donor, corpus):
    pruned = prune_tokenizer(Definition.of(donor), count_tokens(donor, corpus[6:12]))
    assert pruned.tokenizer.get_vocab_size() == len(pruned.kept)
    assert [pruned.tokenizer.id_to_token(id) for id in range(len(pruned.kept))] == [
        donor.id_to_token(id) for id in pruned.kept.tolist()
    ]
    assert pruned.kept.unique().tolist() == pruned.kept.tolist()


def test_a_small_vocabulary_still_spells_the_corpus(donor, corpus):
    german = corpus[6:12]
    counts = count_tokens(donor, german)
    with pytest.raises(VocabularyError, match=r"prune to \d+ tokens") as error:
        prune_tokenizer(Definition.of(donor), counts, size=1)
    smallest = int(str(error.value).split()[-4])
    size = smallest + 12
    pruned = prune_tokenizer(Definition.of(donor), counts, size=size)
    assert smallest <= len(pruned.kept) <= size
    loss = pruning_loss(Definition.of(donor), pruned.definition, german)
    assert loss.tokens > loss.tokens_before
    gone = set(counts.nonzero().flatten().tolist()) - set(pruned.kept.tolist())
    assert 0 < int(counts[list(gone)].sum()) <= loss.resegmented < loss.tokens_before
    assert loss.unknown == loss.unknown_before == 0
    assert (loss.n_changed, loss.unreachable) == (0, ())


def test_the_most_frequent_tokens_stay(tokenizers_by_family, corpus):
    donor = tokenizers_by_family["unigram"]
    counts = count_tokens(donor, corpus)
    pruned = prune_tokenizer(Definition.of(donor), counts, size=400)
    dropped = torch.ones(len(counts), dtype=torch.bool)
    dropped[pruned.kept] = False
    longer = torch.tensor([len(donor.id_to_token(id)) > 1 for id in range(len(counts))])
    kept = ~dropped & longer & (counts > 0)
    assert len(pruned.kept) == 400
    assert counts[kept].min() >= counts[dropped].max() > 0


def test_where_the_corpus_needs_fewer_tokens_others_that_look_like_them_follow():
    words = "an na a n d e nad é ana Δ nana È"
    scored = [(word, -2.0 - rank) for rank, word in enumerate(words.split())]
    donor = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -1.0), *scored], unk_id=0))
    donor.pre_tokenizer = pre_tokenizers.Metaspace()
    counts = count_tokens(donor, ["d an na e"])
    needed = {"<unk>", "▁", "an", "na", "a", "n", "d", "e"}

    def kept(size):
        pruned = prune_tokenizer(Definition.of(donor), counts, size=size)
        assert pruned.n_used == len(needed)
        return set(pruned.tokenizer.get_vocab())

    assert kept(None) == kept(8) == needed
    assert kept(9) == needed | {"é"}  # no letter of the corpus follows another as in "nad"
    assert kept(11) == needed | {"é", "ana", "nana"}
    assert kept(12) == kept(100) == needed | {"é", "ana", "nana", "È"}


def test_what_a_bpe_token_is_merged_from_stays_although_unused(tokenizers_by_family):
    donor = tokenizers_by_family["bytelevel"]
    assert donor.encode(" language").tokens == ["Ġlanguage"]
    pruned = prune_tokenizer(Definition.of(donor), count_tokens(donor, [" language"]))
    assert pruned.tokenizer.encode(" language language").tokens == ["Ġlanguage"] * 2
    merges = json.loads(pruned.tokenizer.to_str())["model"]["merges"]
    assert len(merges) >= 3
    assert {a + b for a, b in merges} <= pruned.tokenizer.get_vocab().keys()
    assert len(pruned.kept) == 3 + 256 + len(merges)


def test_a_byte_level_tokenizer_still_writes_any_text(tokenizers_by_family, corpus):
    donor = tokenizers_by_family["bytelevel"]
    pruned = prune_tokenizer(Definition.of(donor), count_tokens(donor, corpus[:3])).tokenizer
    for text in corpus:
        assert pruned.decode(pruned.encode(text).ids) == text


def test_special_tokens_stay_where_post_processors_put_them(tokenizers_by_family, corpus):
    donor = Tokenizer.from_str(tokenizers_by_family["wordpiece"].to_str())
    ids = [(token, donor.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    donor.post_processor = processors.BertProcessing(*ids)
    donor.add_special_tokens(["<late>"])
    pruned = prune_tokenizer(
        Definition.of(donor), count_tokens(donor, corpus[6:8]), special=["Hund"]
    ).tokenizer
    assert pruned.encode("Hund <late>").tokens == ["[CLS]", "Hund", "<late>", "[SEP]"]
    assert pruned.encode("Hund").ids[-1] == pruned.token_to_id("[SEP]")


def test_added_tokens_that_are_text_stay_only_if_used(tokenizers_by_family):
    donor = Tokenizer.from_str(tokenizers_by_family["bytelevel"].to_str())
    donor.add_tokens([AddedToken("<think>"), AddedToken("<never>")])
    pruned = prune_tokenizer(Definition.of(donor), count_tokens(donor, ["ab<think>"])).tokenizer
    assert "<never>" not in pruned.get_vocab()
    assert pruned.encode("<think>").tokens == ["<think>"]


def test_a_piece_that_its_letters_cannot_spell_stays_whole():
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("▁ab", -3.0), ("a", -4.0), ("c", -4.0), ("▁ac", -3.5)]
    donor = Tokenizer(models.Unigram(pieces, unk_id=0))
    donor.pre_tokenizer = pre_tokenizers.Metaspace()
    counts = count_tokens(donor, ["ab", "ac ac ac"])
    pruned = prune_tokenizer(Definition.of(donor), counts, size=5).tokenizer
    assert set(pruned.get_vocab()) == {"<unk>", "▁", "▁ab", "a", "c"}
    assert pruned.encode("ab ac").tokens == ["▁ab", "▁", "a", "c"]


def test_ignored_merges_need_no_closure():
    vocabulary = {letter: id for id, letter in enumerate("abĠ")} | {"ab": 3, "abab": 4}
    donor = Tokenizer(models.BPE(vocabulary, [("a", "b")], ignore_merges=True))
    donor.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pruned = prune_tokenizer(Definition.of(donor), count_tokens(donor, ["abab"])).tokenizer
    assert pruned.encode("abab").tokens == ["abab"]
    assert "ab" not in pruned.get_vocab()


def test_unreachable_pieces_are_found(tokenizers_by_family):
    donor = tokenizers_by_family["bytelevel"]
    definition = json.loads(donor.to_str())
    merges = definition["model"]["merges"]
    definition["model"]["merges"] = [merge for merge in merges if "".join(merge) != "Ġlanguage"]
    whole, broken = Definition.of(donor), Definition(definition)
    assert list(unreachable_pieces(whole, broken)) == ["Ġlanguage"]
    assert pruning_loss(whole, broken, ["a language"]).unreachable == ("Ġlanguage",)


@pytest.fixture
def german_file(tmp_path, corpus):
    file = tmp_path / "de.txt.gz"
    file.write_bytes(gzip.compress("\n".join(corpus[6:12]).encode()))
    return file


def save_donor(model, family, tokenizers, roles, save_tokenizer_dir, directory: Path) -> Path:
    model.save_pretrained(directory)
    (directory / "README.md").write_text("---\nlicense: mit\n---\n")
    return save_tokenizer_dir(tokenizers[family], directory, **roles[family])


def test_a_pruned_encoder_gives_the_donors_logits(
    tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path, german_file, corpus
):
    torch.manual_seed(0)
    rows = tokenizers_by_family["unigram"].get_vocab_size() + 7
    config = BertConfig(
        vocab_size=rows,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=1,
    )
    model = BertForMaskedLM(config).eval()
    torch.nn.init.normal_(model.cls.predictions.bias)
    arguments = tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path / "donor"
    donor_dir = save_donor(model, "unigram", *arguments)

    loss = prune_model(donor_dir, tmp_path / "pruned", [german_file])
    donor = AutoTokenizer.from_pretrained(donor_dir)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "pruned")
    pruned = AutoModelForMaskedLM.from_pretrained(tmp_path / "pruned").eval()
    assert pruned.config.vocab_size == len(tokenizer) < rows - 7
    assert pruned.config.pad_token_id == tokenizer.pad_token_id
    kept = [
        donor.convert_tokens_to_ids(tokenizer.convert_ids_to_tokens(i))
        for i in range(len(tokenizer))
    ]
    inputs = donor(corpus[7], return_tensors="pt"), tokenizer(corpus[7], return_tensors="pt")
    with torch.no_grad():
        expected, found = model(inputs[0].input_ids).logits, pruned(inputs[1].input_ids).logits
    torch.testing.assert_close(found, expected[..., kept])
    assert (tmp_path / "pruned/README.md").read_text() == (donor_dir / "README.md").read_text()
    manifest = json.loads((tmp_path / "pruned/saltlm/manifest.json").read_text())
    assert manifest["pruned"]["tokens"] == len(tokenizer)
    assert manifest["pruned"]["loss"]["tokens"] == loss.tokens


def test_a_pruned_decoder_gives_the_donors_logits(
    tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path, german_file, corpus
):
    torch.manual_seed(0)
    rows = tokenizers_by_family["bytelevel"].get_vocab_size()
    config = GPT2Config(
        vocab_size=rows, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2
    )
    model = GPT2LMHeadModel(config).eval()
    arguments = tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path / "donor"
    donor_dir = save_donor(model, "bytelevel", *arguments)
    prune_model(donor_dir, tmp_path / "pruned", [german_file], size=320)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "pruned")
    pruned = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned").eval()
    assert len(tokenizer) == len(pruned.transformer.wte.weight) <= 320
    donor = AutoTokenizer.from_pretrained(donor_dir)
    ids = torch.tensor([tokenizer(corpus[7]).input_ids])
    donor_ids = donor.convert_tokens_to_ids(tokenizer.convert_ids_to_tokens(ids[0].tolist()))
    kept = donor.convert_tokens_to_ids(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    with torch.no_grad():
        expected, found = model(torch.tensor([donor_ids])).logits, pruned(ids).logits
    torch.testing.assert_close(found, expected[..., kept])


def test_no_corpus_and_no_embedding_are_told_before_anything_is_written(
    tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path, german_file
):
    config = GPT2Config(vocab_size=900, n_embd=8, n_layer=1, n_head=1)
    arguments = tokenizers_by_family, roles_by_family, save_tokenizer_dir, tmp_path / "donor"
    donor_dir = save_donor(GPT2LMHeadModel(config), "bytelevel", *arguments)
    with pytest.raises(DataError, match="the corpus has no text"):
        prune_model(donor_dir, tmp_path / "pruned", [])
    (donor_dir / "config.json").write_text(json.dumps({**config.to_dict(), "vocab_size": 901}))
    with pytest.raises(CheckpointError, match="has no embedding: looked for a tensor of 901 rows"):
        prune_model(donor_dir, tmp_path / "pruned", [german_file])
    assert not (tmp_path / "pruned").exists()
