"""The composed tokenizer cuts text as the PLM does and has the source's special tokens."""

import itertools
import json
import re

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from saltlm.config.transfer import SpecialTokensConfig
from saltlm.errors import VocabularyError
from saltlm.tokenizer import replace, save
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.replace import replace_vocabulary
from saltlm.tokenizer.save import save_tokenizer
from saltlm.tokenizer.special_tokens import SpecialTokens, read_framing, special_tokens_of
from saltlm.tokenizer.target import RoleRow, TargetTokenizer, role_table
from saltlm.tokenizer.tokens import read_tokens
from saltlm.tokenizer.vocabulary import read_vocabulary

FAMILIES = ["bytelevel", "sentencepiece", "metaspace", "unigram", "wordpiece"]
PAIRS = list(itertools.product(FAMILIES, FAMILIES))
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}{{ bos_token }}"


@pytest.fixture
def special(tokenizers_by_family, roles_by_family):
    """A function that returns the special tokens of a family's tokenizer."""

    def read(family: str, **settings: object) -> SpecialTokens:
        options = {**roles_by_family[family], **settings}
        return special_tokens_of(
            PreTrainedTokenizerFast(tokenizer_object=tokenizers_by_family[family], **options)
        )

    return read


@pytest.fixture
def compose(tokenizers_by_family, special):
    """A function that composes a family's PLM with another family's source."""

    def run(plm: str, source: str, **config: object) -> TargetTokenizer:
        return replace_vocabulary(
            read_tokens(Definition.of(tokenizers_by_family[plm]), special(plm)),
            read_tokens(Definition.of(tokenizers_by_family[source]), special(source)),
            SpecialTokensConfig(**config),
        )

    return run


def bpe(pieces: list[str], merges: list[tuple[str, str]], specials: list[str]) -> Tokenizer:
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(specials)
    return tokenizer


def composed(
    plm: Tokenizer, source: Tokenizer, *, lossy: bool = False, **config: object
) -> TargetTokenizer:
    return replace_vocabulary(
        read_tokens(Definition.of(plm), special_tokens_of(plm)),
        read_tokens(Definition.of(source), special_tokens_of(source)),
        SpecialTokensConfig(**config),
        lossy=lossy,
    )


def strings(target: TargetTokenizer) -> list[str]:
    return [target.tokenizer.id_to_token(id) for id in range(len(target.plm_ids))]


def roles(target: TargetTokenizer) -> dict[str, str]:
    return {role: target.tokenizer.id_to_token(id) for role, id in target.roles.items()}


@pytest.mark.parametrize(("plm", "source"), PAIRS)
def test_words_are_cut_as_the_plm_cuts_them(tokenizers_by_family, corpus, compose, plm, source):
    target, old = compose(plm, source), tokenizers_by_family[plm]
    text = " ".join(corpus)
    words = re.findall(r"[^\W_]+", text)
    # WordPiece begins a word behind any punctuation; a word behind a space is one for all.
    lines = words if plm == "wordpiece" else [*words, *(" ".join(line.split()) for line in corpus)]
    n_tokens = 0
    for line in lines:
        expected = old.encode(line, add_special_tokens=False)
        if not {"[UNK]", "<unk>"}.isdisjoint(expected.tokens) or old.decode(expected.ids) != line:
            continue
        found = target.tokenizer.encode(line, add_special_tokens=False)
        ids = [id for id in target.plm_ids[found.ids].tolist() if id >= 0]
        assert ids == expected.ids
        n_tokens += len(ids)
    assert n_tokens > 300


@pytest.mark.parametrize(("plm", "source"), PAIRS)
def test_special_tokens_are_the_sources(tokenizers_by_family, special, compose, plm, source):
    target, old = compose(plm, source), tokenizers_by_family[source]
    carried = special(source).tokens
    for token in carried:
        id = target.tokenizer.token_to_id(token)
        assert target.source_special_ids[id] == old.token_to_id(token)
        assert target.tokenizer.encode(token, add_special_tokens=False).ids[-1] == id
    assert (target.source_special_ids >= 0).sum() == len(carried)
    # the PLM's own are gone, except for an unk piece where the source spells no bytes
    left = {*special(plm).tokens} - {*carried}
    assert left.intersection(strings(target)) <= {"<unk>", "[UNK]"}
    assert read_framing(target.tokenizer) == read_framing(old)


@pytest.mark.parametrize(("plm", "source"), PAIRS)
def test_every_id_has_one_origin(tokenizers_by_family, compose, plm, source):
    target, old = compose(plm, source), tokenizers_by_family[plm]
    from_plm = target.plm_ids[target.plm_ids >= 0].tolist()
    assert from_plm == sorted(set(from_plm))
    assert target.tokenizer.get_vocab_size() == len(target.plm_ids)
    comes_along = target.source_text_ids >= 0
    assert not bool((comes_along & (target.plm_ids >= 0)).any())
    assert not bool((comes_along & (target.source_special_ids >= 0)).any())
    # Where both are spelled alike a token has the form that its parents have.
    forms = read_vocabulary(target.definition).forms
    plm_forms = read_vocabulary(Definition.of(old)).forms
    source_forms = read_vocabulary(Definition.of(tokenizers_by_family[source])).forms
    for id, form in enumerate(forms):
        if target.plm_ids[id] >= 0 and target.source_special_ids[id] < 0 and form is not None:
            assert form == plm_forms[target.plm_ids[id]]
        if target.source_text_ids[id] >= 0:
            assert form == source_forms[target.source_text_ids[id]]


@pytest.mark.parametrize("plm", FAMILIES)
def test_tokens_without_a_row_are_bytes_of_unknown_characters(compose, plm):
    target = compose(plm, "bytelevel")
    nowhere = (target.plm_ids < 0) & (target.source_special_ids < 0) & (target.source_text_ids < 0)
    for id in nowhere.nonzero().flatten().tolist():
        with pytest.raises(UnicodeDecodeError):
            read_vocabulary(target.definition).forms[id].text.decode()
    assert int(nowhere.sum()) <= 20


def test_unk_is_left_out_where_every_byte_has_a_piece(compose):
    target = compose("sentencepiece", "bytelevel")
    assert json.loads(target.tokenizer.to_str())["model"]["unk_token"] is None
    assert "<unk>" not in strings(target)
    assert "unk" not in target.roles


def test_unk_takes_the_sources_row_if_the_source_has_its_own(compose):
    target = compose("wordpiece", "unigram")
    unk = target.roles["unk"]
    assert target.tokenizer.encode("☃", add_special_tokens=False).ids == [unk]
    assert target.tokenizer.id_to_token(unk) == "<unk>"
    assert (target.plm_ids[unk], target.source_special_ids[unk]) == (1, 3)
    assert "[UNK]" not in strings(target)
    assert target.notes == ()


@pytest.mark.parametrize("plm", ["metaspace", "unigram", "wordpiece"])
def test_unk_goes_where_the_source_spells_bytes(compose, plm):
    target = compose(plm, "bytelevel")
    ids = target.tokenizer.encode("☃", add_special_tokens=False).ids
    assert target.tokenizer.decode(ids) == "☃"
    assert "unk" not in target.roles
    assert {"<unk>", "[UNK]"}.isdisjoint(strings(target))
    assert target.notes == ()


def test_unk_stays_as_a_new_token_if_the_source_has_neither_bytes_nor_unk(tokenizers_by_family):
    plm = tokenizers_by_family["unigram"]
    target = composed(plm, bpe(["▁", "a", "<", ">"], [], ["<s>"]))
    id = target.roles["unk"]
    assert target.tokenizer.id_to_token(id) == "<unk>"
    assert target.tokenizer.encode("☃", add_special_tokens=False).ids[-1] == id
    assert target.plm_ids[id] == plm.token_to_id("<unk>")
    assert target.source_special_ids[id] == -1
    assert "the PLM's '<unk>' stays" in target.notes[0]


def test_end_of_text_named_as_unk_is_no_unk(tokenizers_by_family):
    definition = json.loads(tokenizers_by_family["bytelevel"].to_str())
    definition["model"]["unk_token"] = "<|endoftext|>"
    source = Tokenizer.from_str(json.dumps(definition))
    loaded = PreTrainedTokenizerFast(
        tokenizer_object=source, eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    plm = tokenizers_by_family["unigram"]
    target = replace_vocabulary(
        read_tokens(Definition.of(plm), special_tokens_of(plm)),
        read_tokens(Definition.of(source), special_tokens_of(loaded)),
        SpecialTokensConfig(),
    )
    assert roles(target) == {"eos": "<|endoftext|>", "unk": "<|endoftext|>"}
    assert target.tokenizer.decode(target.tokenizer.encode("☃").ids) == "☃"


def test_unk_that_the_source_calls_like_a_piece_of_the_plm():
    plm = Tokenizer(models.WordPiece({"[UNK]": 0, "<unk>": 1, "a": 2}, unk_token="[UNK]"))
    plm.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    source = Tokenizer(models.Unigram([("▁", -1.0), ("<unk>", 0.0)], unk_id=1))
    source.pre_tokenizer = pre_tokenizers.Metaspace()
    target = composed(plm, source)
    assert strings(target)[:2] == ["<unk>", "Ġa"]
    assert target.plm_ids.tolist()[:2] == [1, 2]
    assert target.source_special_ids.tolist()[:2] == [1, -1]
    assert target.tokenizer.encode("☃").ids == [0]


def test_piece_that_merges_need_stays_as_text():
    plm = bpe(
        ["▁", "a", "b", "ab", "abb", "<s>", "<s>a", "▁a"],
        [("a", "b"), ("ab", "b"), ("<s>", "a"), ("▁", "a")],
        ["ab", "<s>"],
    )
    source = bpe(["▁", "x"], [], ["</s>"])
    source.decoder = plm.decoder = decoders.Metaspace()
    plm.add_tokens(["x"])  # all that the source spells, so that nothing else is needed
    target = composed(plm, source)
    assert strings(target) == ["▁", "a", "b", "ab", "abb", "<s>a", "▁a", "x", "</s>"]
    merges = json.loads(target.tokenizer.to_str())["model"]["merges"]
    assert merges == [["a", "b"], ["ab", "b"], ["▁", "a"]]
    assert target.tokenizer.encode("babb").tokens == ["▁", "b", "abb"]


def test_holes_are_closed_and_added_text_stays():
    plm = Tokenizer(models.BPE(vocab={"a": 0, "b": 4}, merges=[]))
    plm.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plm.add_special_tokens(["<cls>"])
    plm.add_tokens([AddedToken("  ", normalized=False)])
    target = composed(plm, bpe(["x"], [], ["<s>"]))
    spaces = target.tokenizer.token_to_id("  ")
    assert strings(target)[:2] + strings(target)[-2:] == ["a", "b", "  ", "<s>"]
    assert target.plm_ids[[0, 1, spaces, -1]].tolist() == [0, 4, plm.token_to_id("  "), -1]
    assert target.tokenizer.encode("a  b").ids == [0, spaces, 1]


def test_special_token_that_is_a_piece_takes_its_id():
    target = composed(bpe(["a", "<|x|>", "b"], [], []), bpe(["y"], [], ["<|x|>", "<|z|>"]))
    assert strings(target)[:3] + strings(target)[-1:] == ["a", "<|x|>", "b", "<|z|>"]
    assert target.plm_ids[[0, 1, 2, -1]].tolist() == [0, 1, 2, -1]
    assert target.source_special_ids[[0, 1, 2, -1]].tolist() == [-1, 1, -1, 2]
    assert role_table(target)[0].note == "the source's row, in the place of a piece of the PLM"


def test_flags_of_special_tokens_are_kept_but_never_normalized(tokenizers_by_family):
    source = Tokenizer.from_str(tokenizers_by_family["bytelevel"].to_str())
    source.add_special_tokens([AddedToken("<Img>", lstrip=True, normalized=True)])
    definition = json.loads(tokenizers_by_family["wordpiece"].to_str())
    definition["normalizer"]["lowercase"] = True
    target = composed(Tokenizer.from_str(json.dumps(definition)), source, lossy=True)
    ids = target.tokenizer.encode("DAS  <Img>\ndas").ids
    assert [target.tokenizer.id_to_token(id) for id in ids] == ["Ġdas", "<Img>", "Ċ", "Ġdas"]


def test_byte_level_post_processor_stays(tokenizers_by_family, compose):
    target = compose("bytelevel", "unigram")
    steps = json.loads(target.tokenizer.to_str())["post_processor"]["processors"]
    assert [step["type"] for step in steps] == ["ByteLevel", "TemplateProcessing"]
    plm = Tokenizer.from_str(tokenizers_by_family["bytelevel"].to_str())
    plm.post_processor = processors.Sequence([plm.post_processor])
    again = composed(plm, tokenizers_by_family["unigram"])
    assert json.loads(again.tokenizer.to_str())["post_processor"]["processors"] == steps


def test_truncation_and_padding_are_removed(tokenizers_by_family):
    plm = Tokenizer.from_str(tokenizers_by_family["unigram"].to_str())
    plm.enable_truncation(5)
    plm.enable_padding(length=20)
    target = composed(plm, tokenizers_by_family["bytelevel"])
    assert target.tokenizer.truncation is None
    assert target.tokenizer.padding is None


def test_config_carries_drops_and_names_roles(compose):
    target = compose(
        "unigram",
        "bytelevel",
        carry_plm=["<mask>", "<pad>"],
        drop=["<|im_end|>"],
        roles={"mask": "<mask>", "pad": "<pad>", "eos": "<|endoftext|>"},
    )
    assert roles(target) == {
        "bos": "<|im_start|>",
        "eos": "<|endoftext|>",
        "pad": "<pad>",
        "mask": "<mask>",
    }
    assert "<|im_end|>" not in strings(target)
    mask = target.roles["mask"]
    assert (target.plm_ids[mask], target.source_special_ids[mask]) == (800, -1)
    assert target.tokenizer.encode("das <mask>").ids[-1] == mask


def test_carried_unk_keeps_its_name(compose):
    target = compose("wordpiece", "unigram", carry_plm=["[UNK]"])
    assert roles(target)["unk"] == "[UNK]"
    assert target.source_special_ids[target.roles["unk"]] == -1


def test_notes_about_dropped_tokens(tokenizers_by_family, special):
    unigram = tokenizers_by_family["unigram"]
    source = special("unigram", chat_template="{{ '</s>' }}")
    config = SpecialTokensConfig(drop=["</s>"])
    definition = Definition.of(unigram)
    target = replace_vocabulary(
        read_tokens(definition, special("unigram")), read_tokens(definition, source), config
    )
    assert target.notes == (
        "'</s>' is dropped, but the chat template writes it; text now spells it",
        "'</s>' is dropped, so it is no longer put around texts",
    )
    assert [piece for piece, _ in read_framing(target.tokenizer).single] == ["<s>", "$A"]


def test_role_table(compose):
    rows = role_table(compose("wordpiece", "bytelevel", roles={"pad": "<|im_end|>"}))
    first = rows[-1].new_id
    assert rows == [
        RoleRow("bos", "<|im_start|>", first + 1, 1, "the source's row"),
        RoleRow("eos", "<|im_end|>", first + 2, 2, "the source's row"),
        RoleRow("pad", "<|im_end|>", first + 2, 2, "the source's row"),
        RoleRow("", "<|endoftext|>", first, 0, "the source's row"),
    ]
    unknown = role_table(compose("wordpiece", "unigram", carry_plm=["[UNK]"]))
    note = "the PLM's; its row is made like any new token's"
    assert RoleRow("unk", "[UNK]", 0, None, note) in unknown


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"carry_plm": ["<msk>"]}, r"carry_plm: there is no '<msk>'\nhint: did you mean '<mask>'"),
        ({"carry_plm": ["?"]}, "there is no '\\?'\nhint: there are: '<s>', '<pad>', '</s>'"),
        (
            {"drop": ["<|im_stop|>"]},
            "drop: there is no '<|im_stop|>'\nhint: did you mean '<|im_start|>'",
        ),
        ({"roles": {"boss": "<s>"}}, "roles: there is no 'boss'\nhint: did you mean 'bos'"),
        ({"roles": {"bos": "<|im_star|>"}}, "roles: there is no '<|im_star|>'"),
    ],
)
def test_error_names_that_do_not_exist(compose, config, message):
    with pytest.raises(VocabularyError, match=message.replace("|", r"\|")):
        compose("unigram", "bytelevel", **config)


def test_error_ids_that_do_not_fit(tokenizers_by_family):
    tokenizer = Definition.of(bpe(["a", "b"], [], []))
    with pytest.raises(VocabularyError, match="has 'b' at id 1, not 'c'"):
        replace._check_ids(tokenizer, ["a", "c"])
    with pytest.raises(VocabularyError, match="has 2 tokens, not 1"):
        replace._check_ids(tokenizer, ["a"])


MODEL_TYPES = ["llama", "gpt2", "gemma", "qwen2", "mistral", "of-another-library"]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize(("plm", "source"), [("unigram", "bytelevel"), ("bytelevel", "unigram")])
def test_transformers_loads_what_was_saved(tmp_path, corpus, compose, plm, source, model_type):
    target = compose(plm, source)
    save_tokenizer(target, tmp_path, model_type=model_type)
    config = {"model_type": model_type, "transformers_version": "4.40.0"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for line in corpus:
        assert loaded(line).input_ids == target.tokenizer.encode(line).ids
    assert loaded("a", "b").input_ids == target.tokenizer.encode("a", "b").ids
    assert sorted(loaded("a")) == ["attention_mask", "input_ids"]
    assert len(loaded) == len(target.plm_ids)
    for role in ("bos", "eos", "pad", "unk", "sep", "cls", "mask"):
        assert getattr(loaded, f"{role}_token_id") == target.roles.get(role)
    assert loaded.decode(loaded("Öffnen")["input_ids"], skip_special_tokens=True) == "Öffnen"


def test_only_rebuilt_classes_need_the_second_try(tmp_path, compose):
    for model_type in MODEL_TYPES:
        notes = save_tokenizer(compose("unigram", "bytelevel"), tmp_path, model_type=model_type)
        settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
        assert ("auto_map" in settings) == (model_type == "qwen2") == bool(notes)
        assert "trust_remote_code" not in settings


def test_a_rebuilt_class_stays_out_when_the_tokenizer_is_saved_again(tmp_path, compose):
    target = compose("unigram", "bytelevel")
    note = save_tokenizer(target, tmp_path, model_type="qwen2")[0]
    assert "the tokenizer of a qwen2 model" in note
    config = json.dumps({"model_type": "qwen2"})
    (tmp_path / "config.json").write_text(config)
    again = tmp_path / "again"
    AutoTokenizer.from_pretrained(tmp_path).save_pretrained(again)
    (again / "config.json").write_text(config)
    ids = target.tokenizer.encode("das Haus").ids
    assert AutoTokenizer.from_pretrained(again)("das Haus").input_ids == ids
    with pytest.raises(OSError, match="load_without_trust_remote_code"):
        AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)


def test_chat_templates_and_settings_are_the_sources(tmp_path, tokenizers_by_family, special):
    source = special("bytelevel", model_max_length=77, padding_side="left")
    source.chat_templates.update(default=TEMPLATE, tools="{{ tools }}")
    source.chat_templates["../../outside"] = "{{ x }}"
    target = replace_vocabulary(
        read_tokens(Definition.of(tokenizers_by_family["metaspace"]), special("metaspace")),
        read_tokens(Definition.of(tokenizers_by_family["bytelevel"]), source),
        SpecialTokensConfig(),
    )
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    save_tokenizer(target, folder)
    assert {file.name for file in tmp_path.rglob("*.jinja")} == {
        "chat_template.jinja",
        "tools.jinja",
        "outside.jinja",
    }
    assert not (tmp_path / "outside.jinja").exists()
    loaded = AutoTokenizer.from_pretrained(folder)
    assert (loaded.model_max_length, loaded.padding_side) == (77, "left")
    messages = [{"role": "user", "content": "das Haus"}]
    text = loaded.apply_chat_template(messages, tokenize=False)
    assert text == "<|im_start|>das Haus<|im_end|><|im_start|>"
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert loaded(text).tokens()[-3:] == ["ĠHaus", "<|im_end|>", "<|im_start|>"]


def test_save_twice_gives_the_same_bytes(tmp_path, compose):
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_tokenizer(compose("wordpiece", "unigram"), tmp_path / name)
        written.append({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()})
    assert written[0] == written[1]


def test_error_transformers_loads_something_else(tmp_path, compose, monkeypatch):
    monkeypatch.setattr(save, "_loads_as", lambda *_: False)
    with pytest.raises(VocabularyError, match="does not load the tokenizer in .* type 'x'"):
        save_tokenizer(compose("unigram", "bytelevel"), tmp_path, model_type="x")
