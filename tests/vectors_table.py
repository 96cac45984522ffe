"""docs/vectors.md: formats of vectors, written from the tests' own files and messages."""

from pathlib import Path

import vector_files
from auxiliary import test_vector_file as tests
from coverage_table import says, table
from saltlm.auxiliary.vector_file import check_vector_file, read_words
from saltlm.errors import AuxiliaryVectorsError
from vector_files import Case

HEAD = """\
# Vector files

Made from the files of the tests; a test compares the two. `--aux vectors:FILE`,
`--aux fasttext:FILE` and `--set plm_vectors=vectors:FILE` take the same files: what a file is, its
content says, not its name or the spelling, and the log says so where they differ. Text and
word2vec's binary format are read as a stream and fastText's models are mapped, so that memory is
that of the rows that are used, which a test measures. floret tables are held whole, since words
share all their rows.

floret's and spaCy's formats need `pip install 'saltlm[vectors]'`, zstd before Python 3.14
`'saltlm[text]'`.

`saltlm vectors` writes such files: `train` of words or of a tokenizer's tokens, in 1.1 times
fastText's own time and, since only n-grams that occur are kept, a tenth of its size
(`benchmarks/results/vectors_speed.json`, a megabyte of German); `convert` of any file here, cut to
the words of a corpus or the tokens of a tokenizer. A `.bin` so cut is read by saltlm, not by
fastText. It represents the same of them as the whole file: where a token is only composed, a word
stays that shows its n-grams to be seen in training. Files without a list of words (floret tables,
spaCy) are cut to words that you name, into a `.vec`.
"""
TAIL = """\
- A token is looked up by its text without word marker. Case counts, but for Numberbatch, which has
  no capitals. A word that stands twice keeps its first vector; a word that is not there has none,
  and its new row is sampled.
- fastText's models compose a vector for each token that is in their dictionary, or has an n-gram
  that a word of the dictionary has; a vector that is zero decides nothing. A pruned `.ftz` has lost
  n-grams, and tokens with them. floret tables and spaCy's keep no list of words, so that there
  every token counts as represented.
- The vectors are what fastText 0.9 computes, means of rows of any length. The distribution
  `fasttext-community` gives vectors of unit length under the same name; a `.vec` file that was
  written with it has the same cosines, but as `plm_vectors` its rows have lost their lengths.
- spaCy itself takes lone word marks and empty strings for n-grams where a floret table has
  `minn` below 2; saltlm cuts as floret does, which trained the table.
"""


def vectors_table(folder: Path) -> str:
    """The document; its rows are the cases of tests."""
    words = says(tests.test_words_have_their_rows_and_nothing_else_has)
    subwords = says(tests.test_subwords_compose_vectors)
    rows = [
        *([case.what, "read", _noted(case)] for case in vector_files.WORD_FILES),
        *([case.what, "read", ""] for case in vector_files.SUBWORD_FILES),
    ]
    refused = []
    for number, case in enumerate(vector_files.REFUSED):
        place = folder / str(number)
        place.mkdir()
        refused.append([case.what, f"`{_way_out(case, place)}`"])
    n_words = len(vector_files.WORD_FILES)
    return "\n".join(
        [
            HEAD,
            f"## Lists of words\n\n{words}.\n",
            *table(["format", "result", "and says"], rows[:n_words]),
            f"\n## Subwords\n\n{subwords}.\n",
            *table(["format", "result"], [row[:2] for row in rows[n_words:]]),
            "\n## Refused, with a way out\n",
            says(tests.test_the_way_out_of_a_refusal_works) + ".",
            "Files of other kinds (databases, HDF5, Parquet, models) are refused by name.\n",
            *table(["format", "the hint, which a test follows"], refused),
            "\n## What the numbers are\n",
            TAIL,
        ]
    )


def _noted(case: Case) -> str:
    return f'"... {case.note} ..."' if case.note else ""


def _way_out(case: Case, folder: Path) -> str:
    path = case.write(folder)
    try:
        check_vector_file(path)
        read_words(path, set(vector_files.WORDS))
    except AuxiliaryVectorsError as error:
        return error.hint.replace(f"{folder}/", "")
    raise AssertionError(case.what)
