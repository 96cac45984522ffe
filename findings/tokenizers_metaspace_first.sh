#!/usr/bin/env bash
# tokenizers 0.23.3: Metaspace(prepend_scheme="first") marks no first word where a normalizer removed
# something before it.
#
# Behaviour: " house" and "house", after a normalizer that strips leading spaces, are the same text,
#   "house", when they come to Metaspace. With "always" both get the mark of a word's start; with "first"
#   only the second does: whether a piece is the first is asked of its offset in the text before
#   normalisation, and that is no longer 0.
# Why it surprises: "first" differs from "always" only behind added tokens, by its documentation, and these
#   examples have none. normalize_str gives equal strings for both inputs, yet the ids differ: a document
#   that begins with a space or line break opens with a piece from within a word. A byte order mark that
#   a normalizer takes away does the same.
# Seen: tokens of "house", " house", "\nhouse", U+FEFF + "house" under "first": with the mark, without,
#   without, without; under "always": all four with the mark.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
python3 -m pip install -qq --target "$work/packages" tokenizers==0.23.3
cd "$work"

python3 - <<'PYTHON'
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

MARK = "\u2581"


def tokens(scheme: str, text: str) -> list[str]:
    """The tokens of a two-word Unigram tokenizer that strips its text first."""
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), (f"{MARK}house", -1.0), ("house", -2.0)], unk_id=0))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("\ufeff", ""), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    assert tokenizer.normalizer.normalize_str(text) == "house"
    return tokenizer.encode(text).tokens


for text in ("house", " house", "\nhouse", "\ufeffhouse"):
    first, always = tokens("first", text), tokens("always", text)
    print(ascii(text), "first", ascii(first), "always", ascii(always))
    assert always == [f"{MARK}house"]
    assert first == ([f"{MARK}house"] if text == "house" else ["house"])
PYTHON
