"""A tokenizer of which there is only vocab.txt: WordPiece, as BERT has it."""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from saltlm.errors import VocabularyError
from saltlm.tokenizer.declared import Declared
from saltlm.tokenizer.unconvertible import MULTILINGUAL

_DEFAULTS = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
_MARK = "\u2581"
_FEW_MARKED = 0.1  # of the pieces; BERT's own has the mark as a letter
_FEW_CAPITALS = 0.01  # of the pieces; a vocabulary of lower-cased text has hardly any


def tokenizer_of_vocab_txt(declared: Declared) -> tuple[Tokenizer, tuple[str, ...]]:
    """Return the WordPiece tokenizer of a directory's vocab.txt, and notes on it.

    Lower-casing and accents are as tokenizer_config.json says. Where it says nothing, the pieces
    do: a vocabulary with capitals was not made of lower-cased text.

    Raises:
        VocabularyError: the vocabulary has no piece for unknown words, or is SentencePiece's.
    """
    file = declared.directory / "vocab.txt"
    lines = declared.text("vocab.txt").removesuffix("\n").split("\n")
    vocabulary = {line.rstrip("\r"): id for id, line in enumerate(lines)}
    _check_no_sentencepiece(file, vocabulary)
    tokens = {role: declared.token(role, default) for role, default in _DEFAULTS.items()}
    if tokens["unk"] not in vocabulary:
        raise VocabularyError(
            f"{file} has no {tokens['unk']!r}, so it is no WordPiece vocabulary",
            "name the unk_token in tokenizer_config.json, or give a copy with a tokenizer.json",
        )
    lowercase, notes = _lowercase(declared, vocabulary)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=tokens["unk"]))
    if declared.settings.get("do_basic_tokenize", True):
        tokenizer.normalizer = normalizers.BertNormalizer(
            lowercase=lowercase,
            strip_accents=declared.settings.get("strip_accents"),
            handle_chinese_chars=declared.settings.get("tokenize_chinese_chars", True),
        )
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    present = [token for token in dict.fromkeys(tokens.values()) if token in vocabulary]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in present])
    ends = [(tokens[role], vocabulary.get(tokens[role])) for role in ("cls", "sep")]
    if all(id is not None for _, id in ends):
        (first, _), (last, _) = ends
        tokenizer.post_processor = TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} $B:1 {last}:1",
            special_tokens=ends,
        )
    return tokenizer, notes


def _check_no_sentencepiece(file: Path, vocabulary: dict[str, int]) -> None:
    marked = sum(piece.startswith(_MARK) for piece in vocabulary)
    if marked > _FEW_MARKED * len(vocabulary):
        raise VocabularyError(
            f"{file} lists the pieces of a SentencePiece model: {marked} of {len(vocabulary)} begin"
            f" with {_MARK!r}; how they cut a text stands in the model alone",
            f"give a copy of the model that has a tokenizer.json, or {MULTILINGUAL}",
        )


def _lowercase(declared: Declared, vocabulary: dict[str, int]) -> tuple[bool, tuple[str, ...]]:
    said = declared.settings.get("do_lower_case")
    if isinstance(said, bool):
        return said, ()
    pieces = [piece for piece in vocabulary if not piece.startswith(("[", "<"))]
    capitals = sum(piece != piece.lower() for piece in pieces)
    if capitals <= _FEW_CAPITALS * len(pieces):
        return True, ()
    return False, (
        f"{declared.directory} does not say whether its tokenizer lower-cases text; {capitals} of"
        f" its {len(pieces)} pieces have capitals, so it does not",
    )
