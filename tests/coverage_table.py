"""docs/coverage.md: what the tests cover, written from their own cases and docstrings."""

from collections.abc import Callable, Iterable
from typing import Any

from models import test_gguf, test_quantised_tables
from tokenizer import test_load, test_sentencepiece
from vocabulary_transfer import test_architectures, test_layouts, test_parents
from vocabulary_transfer import test_vocabulary_choices as choices

FAMILIES = {
    "bytelevel": "byte-level BPE",
    "sentencepiece": "SentencePiece BPE, byte fallback",
    "metaspace": "SentencePiece BPE",
    "unigram": "Unigram",
    "wordpiece": "WordPiece",
}


def coverage() -> str:
    """The document. Its rows are the cases of tests, so a row that fails is a failing test."""
    checks = [says(check) for check in test_architectures.CHECKS]
    return "\n".join(
        [
            "# What is covered",
            "",
            "Made from the cases of the tests; a test compares the two. Each row is a pair of",
            "tiny models, saved by transformers with tokenizers of real kinds, that goes through a",
            "whole transfer and back into transformers. Every row passes, or the suite fails.",
            "",
            "## Source and PLM",
            "",
            "Checked in every row:",
            "",
            *(f"{number}. {check}" for number, check in enumerate(checks, 1)),
            "",
            *table(
                ["source", "tied", "its tokenizer", "PLM", "its tokenizer", "result"],
                (
                    [
                        pair.source + (" (padded rows)" if pair.padding else ""),
                        "tied" if pair.is_tied else "untied",
                        FAMILIES[pair.source_family],
                        pair.plm,
                        FAMILIES[pair.plm_family],
                        f"1 to {len(checks)} hold",
                    ]
                    for pair in test_architectures.PAIRS
                ),
            ),
            "",
            "## Layouts of sources",
            "",
            "Sources with more than an embedding and a head; a run beside the source proves each.",
            "A benchmark tries every class of transformers: [census.md](census.md).",
            "",
            *table(["what", "source", "mode"], layouts()),
            "",
            "## Other vocabularies, files and PLMs",
            "",
            *table(["what", "source", "PLM", "result"], others()),
            "",
        ]
    )


def layouts() -> Iterable[list[str]]:
    (mark,) = test_layouts.test_a_layout.pytestmark
    for name, change, mode in mark.args[1]:
        yield [says(change), name, mode]
    yield [says(test_layouts.test_positions_begin_where_they_did), "RoBERTa", "replace"]
    (mark,) = test_quantised_tables.test_numbers_are_those_of_the_format.pytestmark
    decoded = "Embedding or head quantised: " + "; ".join(mark.args[1])
    yield [decoded, "Llama", "any"]


def others() -> Iterable[list[str]]:
    for what, cases, test in (
        ("`--mode extend`", choices.EXTENDED, choices.test_extended),
        ("`--mode swap`", choices.SWAPPED, choices.test_swapped),
        ("`--target-tokenizer`", choices.RETOKENIZED, choices.test_another_tokenizer),
        ("`--prune-to`", choices.PRUNED, choices.test_pruned),
    ):
        for case in cases:
            tied = "tied" if case.is_tied else "untied"
            padded = ", padded rows" if case.padding else ""
            source = f"{case.source}, {tied}{padded}, {FAMILIES[case.source_family]}"
            yield [what, source, f"{case.plm}, {FAMILIES[case.plm_family]}", says(test)]
    formats = ", ".join(test_gguf.NUMBERS)
    tiny, plm = "SmolLM2, tied, byte-level BPE", "BERT, Unigram"
    blocks = test_gguf.test_quantised_rows_are_what_their_blocks_say
    yield [f"GGUF of {formats}", "Llama", "", says(blocks)]
    yield ["GGUF's tokenizer", "Llama", "", says(test_gguf.test_digits_are_split_as_the_file_says)]
    yield ["GGUF as SOURCE", "Llama", plm, says(test_gguf.test_a_file_as_source)]
    vectors = "a tokenizer (WordPiece) and a file of word vectors"
    yield ["`plm_vectors`", tiny, vectors, says(test_parents.test_word_vectors_stand_for_a_plm)]
    only = "T5 encoder with a SentencePiece model only"
    yield [only, tiny, only, says(test_parents.test_a_sentencepiece_model_is_converted)]
    for what, test in (
        ("tokenizer.json that transformers changes", test_load.test_tokenizer_json_is_the_truth),
        ("vocab.txt only", test_load.test_vocab_txt_alone),
        ("vocab.json and merges.txt only", test_load.test_vocab_json_and_merges_alone),
    ):
        (mark,) = test.pytestmark
        yield [f"{what}: " + "; ".join(mark.kwargs["ids"]), "", "", says(test)]
    (mark,) = test_load.test_programs_are_refused_by_name.pytestmark
    names = "; ".join(name for _, name, _ in mark.args[1])
    yield [names, "", "", says(test_load.test_programs_are_refused_by_name)]
    for test in (
        test_sentencepiece.test_cut_and_rows_are_those_of_the_model,
        test_sentencepiece.test_what_no_tokenizer_can_be_made_of_is_refused,
    ):
        (mark,) = test.pytestmark
        yield [
            "SentencePiece model only: " + "; ".join(mark.kwargs["ids"]),
            "",
            "",
            says(test),
        ]


def table(heading: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [heading, ["---"] * len(heading), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def says(test: Callable[..., Any]) -> str:
    """The first line of a docstring, without the period."""
    assert test.__doc__ is not None, test.__name__
    return test.__doc__.partition("\n")[0].removesuffix(".")
