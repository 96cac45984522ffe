"""The model card names both parents and what may be done with the model."""

import pytest
import yaml

from saltlm.errors import CheckpointError
from saltlm.record.card import check_record, languages_of, licence_of, model_card, with_section
from saltlm.record.manifest import write_manifest


def manifest(**changes):
    return {
        "source": {"name": "org/source", "licence": "apache-2.0"},
        "plm": {"name": "org/plm", "licence": "mit"},
        "vocabulary": {"mode": "replace", "tokenizer": None},
        "auxiliary": "the PLM's own rows, 16-d",
        "method": {"name": "salt", "options": {}},
        "output": None,
        "options": {"seed": 7, "aux": "plm"},
        "counts": {"shared": 1234, "made": 56789, "sampled": 0, "special": 3, "anchors": 1200},
        "environment": {"libraries": {"saltlm": "0.1.0"}},
        **changes,
    }


def front_matter(card):
    head, _, _ = card.removeprefix("---\n").partition("---\n")
    return yaml.safe_load(head)


def test_the_card_names_parents_licences_and_rows():
    card = model_card("Mein Modell", manifest())
    assert front_matter(card)["base_model"] == ["org/source", "org/plm"]
    assert "\n# Mein Modell\n" in card
    assert "| layers, shared and special token rows | org/source | apache-2.0 |" in card
    assert "mapped from | org/plm | mit |" in card
    assert "| 1,234 | copied from the source: the token stands in both vocabularies |" in card
    assert "| 56,789 | " in card
    assert "1,200" not in card
    assert "Auxiliary space: the PLM's own rows, 16-d." in card
    assert "```yaml\nseed: 7\naux: plm\n```" in card
    assert "\norg/source with the vocabulary of org/plm, made by saltlm 0.1.0.\n" in card
    assert "16-d.\n\n```" in card
    assert "\nMethod: salt, a least-squares map per token, over its sparsemax neighbours; " in card
    assert "**This model has not been adapted yet.**" in card


def test_the_card_of_another_method_names_it():
    card = model_card("m", manifest(method={"name": "focus", "options": {}}))
    assert "\nMethod: focus, the sparsemax mean of the nearest shared rows; " in card


def test_the_card_tells_what_the_yardstick_said():
    value = {"value": 0.1234, "low": 0.1, "high": 0.2}
    measures = ("r2", "cosine", "norm_ratio", "retrieval")
    score = {"n_tokens": 1234, **dict.fromkeys(measures, value)}
    card = model_card("m", manifest(yardstick=score))
    assert "16-d.\n\nOf 1,234 shared tokens that it was not shown, the method predicts" in card
    assert " an r2 of 0.123 (95 % interval 0.100 to 0.200),\na centred cosine of 0.123 and" in card
    assert "; 12.3 % of the predictions\nare nearest to their own row.\n\n```" in card
    assert model_card("m", manifest(yardstick=None)) == model_card("m", manifest())


def test_the_card_of_an_adapted_model_says_on_what_and_how_far():
    runs = [
        {"tokens": 1234, "options": {"data": {"a": None, "b": 0.1}}, "bits_per_byte": {}},
        {
            "tokens": 7,
            "options": {"data": {"c": None}},
            "bits_per_byte": {"target": 1.9, "English": 2},
        },
    ]
    card = model_card("m", manifest(adaptations=runs))
    assert "not been adapted" not in card
    assert "\nAdapted on 1,234 tokens of a, b.\n" in card
    assert "tokens of c; bits per byte at the end: target 1.900, English 2.000.\n" in card


def test_the_card_shows_what_the_model_wrote_before_and_after():
    run = {"tokens": 7, "options": {"data": {"c": None}}, "bits_per_byte": {}}
    sample = {"beginning": "Das | Haus", "before": "a\n\nb", "after": " ist *neu*"}
    earlier = {**run, "samples": [{**sample, "after": "earlier"}]}
    card = model_card("m", manifest(adaptations=[earlier, {**run, "samples": [sample]}]))
    heading = "| beginning of a text that it was not trained on | written before training | after |"
    assert f"\n\n{heading}\n|---|---|---|\n| Das \\| Haus ... | a b | ist \\*neu\\* |\n\n" in card
    assert "earlier" not in card
    assert model_card("m", manifest(adaptations=[run])).count("|---|---|---|") == 1


@pytest.mark.parametrize(
    ("loses", "said"),
    [
        ([], "It writes every kind of text that org/source does, white space included."),
        (["tabs", "emoji"], "It cannot write some text that org/source can: tabs, emoji."),
    ],
)
def test_the_card_says_what_text_is_lost(loses, said):
    vocabulary = {**manifest()["vocabulary"], "loses": loses}
    assert f"saltlm.\n{said}\n\n**This" in model_card("m", manifest(vocabulary=vocabulary))


def test_the_card_judges_the_last_training():
    run = {"tokens": 7, "options": {"data": {"c": None}}, "bits_per_byte": {"target": 1.9}}
    measured = {**run, "before": {"target": 2.2}, "untouched": {"target": 2.0}}
    told = "\nVerdict after training (good): bits per byte 1.900 (source 2.000, before 2.200).\n\n"
    assert told in model_card("m", manifest(adaptations=[run, measured]))
    assert "after training (" not in model_card("m", manifest(adaptations=[measured, run]))
    worse = {**run, "bits_per_byte": {"english": 1.2}, "before": {"english": 1.0}}
    assert "training (stop): English 1.00 to 1.20" in model_card("m", manifest(adaptations=[worse]))


def test_the_card_says_whose_tokens_they_are_and_what_was_decided():
    other = {"name": "org/tokenizer", "licence": "cc0-1.0"}
    changes = {
        "vocabulary": {"mode": "extend", "tokenizer": other},
        "counts": {"shared": 3, "kept": 4},
        "notes": ["7 tokens are left out", "more"],
        "source": {"name": "org/source", "licence": "mit"},
    }
    card = model_card("m", manifest(**changes))
    assert "\norg/source with new tokens of org/tokenizer, made by saltlm 0.1.0.\n" in card
    assert "| what the new rows are mapped from | org/plm | mit |\n| vocabulary | org/tok" in card
    assert "| org/tokenizer | cc0-1.0 |\n\nA licence" in card
    assert "| 4 | copied from the source: the token is not the PLM's |" in card
    assert "16-d.\n\n- 7 tokens are left out\n- more\n\n```" in card
    assert "license" not in front_matter(card)
    assert front_matter(card)["base_model"] == ["org/source", "org/plm"]


@pytest.mark.parametrize(
    ("source", "plm", "licence"),
    [
        ("mit", "mit", "mit"),
        ("apache-2.0", "mit", None),
        (None, None, None),
        ("mit", None, None),
    ],
)
def test_a_licence_is_claimed_only_if_both_parents_have_it(source, plm, licence):
    parents = {"source": {"name": "a/b", "licence": source}, "plm": {"name": "c/d", "licence": plm}}
    card = model_card("m", manifest(**parents))
    assert front_matter(card).get("license") == licence
    assert card.count("not stated |") == [source, plm].count(None)


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (None, None),
        ("# No front matter\nlicense: mit\n", None),
        (
            "---\nlicense: apache-2.0\ntags: [a]\n---\n# Title\n---\nlicense: mit\n---\n",
            "apache-2.0",
        ),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense:\n---\n", None),
        ("---\ntags: [a]\n---\n", None),
        ("---\n- license\n---\n", None),
        ("---\nlicense: [\n---\n", None),
        ("---\nlicense: mit\n", None),
    ],
)
def test_the_licence_that_a_parent_states(text, licence, tmp_path):
    if text is not None:
        (tmp_path / "README.md").write_bytes(text.encode())
    assert licence_of(tmp_path) == licence


def test_a_card_that_is_not_utf_8(tmp_path):
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\n---\n\xff")
    assert licence_of(tmp_path) == "mit"


def test_an_evaluation_stands_once_and_nothing_else_changes():
    card = model_card("m", manifest())
    once = with_section(card, "saltlm evaluate", "## Evaluation\n\n| 1 |\n")
    assert once.startswith(
        card.rstrip() + "\n\n<!-- saltlm evaluate -->\n## Evaluation\n\n| 1 |\n<!--"
    )
    more = once + "\nWritten by hand.\n"
    twice = with_section(more, "saltlm evaluate", "## Evaluation\n\n| 2 |")
    assert twice == more.replace("| 1 |", "| 2 |")
    assert with_section("", "a", "x") == "<!-- a -->\nx\n<!-- /a -->\n"


def test_no_folder_of_this_machine_is_in_the_card():
    parents = {
        "source": {"name": "/home/me/llm", "revision": None, "licence": "mit"},
        "plm": {"name": "models/plm", "revision": None, "licence": "mit"},
    }
    run = {"tokens": 9, "bits_per_byte": {}}
    data = {"/home/me/german.txt": None, "owner/texts": None}
    runs = [{**run, "options": {"data": data, "english": ["/home/me/en.txt"]}}]
    options = {
        "corpus": ["/home/me/texts/german.txt", "~/home.txt", "../home/x.txt#field:a", "my/data"],
        "aux": "vectors:/home/me/cc.vec",
        "method": "wechsel:source_vectors=/home/en.vec:dictionary=/home/en-de.txt",
        "calibration": {"unigrams": ["https://a.org/b"]},
    }
    told = {"options": options, "notes": ["/home/me/llm has no row for it"]}
    card = model_card("m", manifest(**parents, adaptations=runs, **told))
    assert front_matter(card)["base_model"] == ["llm", "plm"]
    assert "- german.txt\n- home.txt\n- x.txt#field:a\n- my/data\n" in card
    assert "aux: vectors:cc.vec\n" in card
    assert "method: wechsel:source_vectors=en.vec:dictionary=en-de.txt\n" in card
    assert "https://a.org/b" in card
    assert "- llm has no row for it" in card
    assert "Adapted on 9 tokens of german.txt, owner/texts, en.txt." in card
    assert "home" not in card.replace("home.txt", "")


def test_languages_are_those_of_the_source_and_the_new_one(tmp_path):
    (tmp_path / "README.md").write_text("---\nlanguage: [en, de-AT, 7, Klingon]\n---\n")
    assert languages_of(tmp_path) == ["en", "de-AT"]
    (tmp_path / "README.md").write_text("---\nlanguage: de\n---\n")
    assert languages_of(tmp_path) == ["de"]
    assert languages_of(tmp_path / "none") == []
    source = {"name": "a/b", "licence": None, "languages": ["en"]}
    plm = {"name": "c/d", "licence": None, "languages": ["de"]}
    both = {"source": source, "plm": plm}
    assert front_matter(model_card("m", manifest(**both)))["language"] == ["en", "de"]
    plm["languages"] = ["de", "fr"]
    assert "language" not in front_matter(model_card("m", manifest(**both)))
    card = model_card("m", manifest(**both, options={"language": "fr"}))
    assert front_matter(card)["language"] == ["en", "fr"]


def test_the_card_shows_how_to_load_the_model_and_the_verdict():
    value = {"value": 0.3, "low": 0.1, "high": 0.4}
    measures = ("r2", "cosine", "norm_ratio", "retrieval")
    score = {"n_tokens": 1234, **dict.fromkeys(measures, value)}
    card = model_card("My model", manifest(yardstick=score))
    assert "\nVerdict before training (good): r2 0.30.\n" in card
    assert 'AutoTokenizer.from_pretrained("My model")' in card


def test_a_record_that_makes_no_card_is_damaged(tmp_path):
    check_record(tmp_path)
    write_manifest(tmp_path, {"kind": "transfer", **manifest()})
    check_record(tmp_path)
    told = f"{tmp_path}/saltlm/manifest.json is damaged"
    for damaged in (manifest(notes=[5]), manifest(counts={"shared": "x"}), {"merges": [{}]}):
        write_manifest(tmp_path, {"kind": "transfer", **damaged})
        with pytest.raises(CheckpointError, match=told):
            check_record(tmp_path)
