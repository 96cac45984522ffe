#!/usr/bin/env bash
# tokenizers 0.23.3: what a Replace puts before a text makes the normalizer behind it panic.
#
# Behaviour: Replace(Regex("^"), " ") alone gives " Haus" for "Haus". In a Sequence with Lowercase, NFC, NFD,
#   NFKC, StripAccents, Strip, ByteLevel or BertNormalizer behind it, every text panics: index out of bounds.
#   So does any pattern of width zero where it matches at the start: (?=[.,]) does for ".a", not for "a.a".
#   With Lowercase before Replace, or Replace or Prepend behind it, nothing panics.
# Why it surprises: both steps are valid, each works alone, the other order works, and the same pattern works
#   inside a text. What is raised is pyo3's PanicException, which derives from BaseException, so that
#   "except Exception" lets a batch of texts end at one that begins with a full stop.
# Seen: for "Haus" with "^": " Haus", and PanicException with each of eight normalizers behind; for "a.a"
#   with (?=[.,]) and Lowercase "a .a", for ".a" PanicException. Issue 736 of 2021, closed as stale, has a like panic.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1 RUST_BACKTRACE=0
python3 -m pip install -qq --target "$work/packages" tokenizers==0.23.3
cd "$work"

python3 - 2>/dev/null <<'PYTHON'
from tokenizers import Regex, normalizers

BEHIND = ("Lowercase", "NFC", "NFD", "NFKC", "StripAccents", "Strip", "ByteLevel", "BertNormalizer")


def seen(steps: list, text: str) -> str:
    """The normalised text, or the name of what is raised."""
    try:
        return normalizers.Sequence(steps).normalize_str(text)
    except BaseException as error:
        assert not isinstance(error, Exception)
        return type(error).__name__


start = normalizers.Replace(Regex("^"), " ")
print("alone:", repr(seen([start], "Haus")))
assert seen([start], "Haus") == " Haus"
for name in BEHIND:
    behind = getattr(normalizers, name)()
    print(f"{name} behind: {seen([start, behind], 'Haus')}; before: {seen([behind, start], 'Haus')!r}")
    assert seen([start, behind], "Haus") == "PanicException"
    assert seen([behind, start], "Haus").startswith(" ")

stop, lower = normalizers.Replace(Regex("(?=[.,])"), " "), normalizers.Lowercase()
for text, expected in (("a.a", "a .a"), (".a", "PanicException")):
    print(ascii(text), repr(seen([stop, lower], text)))
    assert seen([stop, lower], text) == expected
PYTHON
