"""A SentencePiece model as a tokenizer of the tokenizers library, from the model's own definition.

Normalization, white space, byte fallback and symbols are what the file says of them, whatever class
a directory names. The class says two things only: which ids the pieces have in the embedding, and
what it does to a text before SentencePiece sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from saltlm.errors import VocabularyError
from saltlm.files.json_object import read_json
from saltlm.tokenizer.declared import Declared

MARK = "\u2581"
_UNIGRAM, _BPE, _WORD, _CHAR = 1, 2, 3, 4
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED = 1, 2, 3, 4, 5
_SQUEEZE = (
    normalizers.Replace(Regex(" {2,}"), " "),
    normalizers.Replace(Regex(r" \z"), ""),
)
_MAY_LOWERCASE = ("albert", "xlnet", "fnet", "debertav2")
# GPT-SW3 drops these characters and takes these for spaces.
_UNPRINTABLE = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00a0\u00ad\u034f\u061c\u200b-\u200f\u2060\ufeff]"
_OTHER_SPACES = "[\u2000-\u200a\u202f\u205f\u3000\u00a0\u2009\u000b\u0085]"
_FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")
_CAMEMBERT = ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED")
_PEGASUS = ("<pad>", "</s>", "<mask_1>", "<mask_2>", *(f"<unk_{i}>" for i in range(2, 103)))


_COUNTED_AS_PIECES = (
    *("t5", "mt5", "umt5", "llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "gptsw3"),
    *("debertav2", "rembert", "xlnet", "albert", "bigbird", "fnet", "barthez", "reformer"),
)
_COUNTED_FROM_FOUR = (
    *("xlmroberta", "xlmrobertaxl", "xmod"),
    *("mbart", "mbart50", "nllb", "m2m100", "xglm"),
)


@dataclass(frozen=True)
class Layout:
    """Which ids of an embedding the pieces have.

    Attributes:
        strings: of the tokens by id.
        scores: of the tokens by id; 0 for those that the SentencePiece model does not have.
        unknown: id of the piece for what cannot be spelled.
    """

    strings: tuple[str, ...]
    scores: tuple[float, ...]
    unknown: int


def layout_of(proto: Any, declared: Declared) -> Layout:
    """Return the ids of a SentencePiece model's pieces in the model that uses it.

    Args:
        proto: the parsed SentencePiece model.
        declared: what the directory says; M2M100 lists its ids in vocab.json, BARTpho in dict.txt.
    """
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    scores = dict(pieces)
    unknown = next(id for id, piece in enumerate(proto.pieces) if piece.type == _UNKNOWN)
    directory, kind = declared.directory, declared.kind
    if kind == "m2m100" and (listed := read_json(directory / "vocab.json")):
        strings = sorted(listed, key=listed.__getitem__)
    elif kind in ("bartpho", "mbart") and (directory / "dict.txt").is_file():
        strings = [*_FAIRSEQ, *_first_words(declared.text("dict.txt")), "<mask>"]
    elif kind in (
        "xlmroberta",
        "xlmrobertaxl",
        "xmod",
        "mbart",
        "mbart50",
        "nllb",
        "m2m100",
        "xglm",
        "plbart",
    ):
        mask = ["<mask>"] if kind in _COUNTED_FROM_FOUR[:3] else []
        strings = [*_FAIRSEQ, *(piece for piece, _ in pieces[3:]), *mask]
    elif kind == "camembert":
        strings = [*_CAMEMBERT, *(piece for piece, _ in pieces[1:]), "<mask>"]
    elif kind == "pegasus":
        strings = [*_PEGASUS, *(piece for piece, _ in pieces[2:])]
    else:
        _check_pad(pieces, declared)
        return Layout(
            tuple(piece for piece, _ in pieces), tuple(score for _, score in pieces), unknown
        )
    return Layout(
        strings=tuple(strings),
        scores=tuple(scores.get(string, 0.0) for string in strings),
        unknown=strings.index(proto.pieces[unknown].piece),
    )


def _check_pad(pieces: Sequence[tuple[str, float]], declared: Declared) -> None:
    """Make sure that a model whose class is not known counts its ids as the pieces are counted."""
    if declared.kind in _COUNTED_AS_PIECES:
        return
    pad = declared.roles.get("pad_token")
    id = read_json(declared.directory / "config.json").get("pad_token_id")
    strings = [piece for piece, _ in pieces]
    if isinstance(id, int) and pad in strings and strings.index(pad) != id:
        raise VocabularyError(
            f"the pad token {pad!r} is piece {strings.index(pad)} of the SentencePiece model in"
            f" {declared.directory}, but id {id} in config.json: which ids its pieces have is not"
            f" known for a {declared.class_name or declared.kind or 'nameless class'}",
            "give a copy of the model that has a tokenizer.json",
        )


def _first_words(text: str) -> list[str]:
    lines = text.splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def convert(proto: Any, declared: Declared) -> Tokenizer:
    """Return the tokenizer of a parsed SentencePiece model.

    Raises:
        VocabularyError: the model knows whole words alone, or marks where words end.
    """
    trainer = proto.trainer_spec
    for is_so, reason in (
        (trainer.model_type == _WORD, "knows whole words alone"),
        (trainer.treat_whitespace_as_suffix, "marks where words end, not where they begin"),
    ):
        if is_so:
            raise VocabularyError(
                f"the SentencePiece model in {declared.directory} {reason}",
                "use a model with a Unigram, BPE or WordPiece tokenizer",
            )
    layout = layout_of(proto, declared)
    tokenizer = Tokenizer(_model(proto, layout))
    user = [piece.piece for piece in proto.pieces if piece.type == _USER]
    # Whether a text behind a control token begins a word as well. SentencePiece itself does not
    # know control tokens; it knows the symbols that it was trained with.
    is_once = bool(user) or declared.settings.get("legacy") is False
    _set_spaces(tokenizer, proto.normalizer_spec, layout, is_once=is_once)
    before = [*class_steps(declared), *_charsmap(proto)]
    tokenizer.normalizer = normalizers.Sequence([*before, tokenizer.normalizer])
    special = _special(proto, layout)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in user])
    return tokenizer


def _set_spaces(tokenizer: Tokenizer, spec: Any, layout: Layout, *, is_once: bool) -> None:
    """Make a tokenizer write spaces as the marks that SentencePiece writes; edits it."""
    steps: list[normalizers.Normalizer] = list(_SQUEEZE) if spec.remove_extra_whitespaces else []
    # A text that begins with a space gets a second mark from SentencePiece, and from Prepend only.
    always = spec.add_dummy_prefix and not steps and not is_once
    if always:
        steps.append(normalizers.Prepend(MARK))
    if always or not spec.add_dummy_prefix:
        steps.append(normalizers.Replace(" ", MARK))
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme="first" if is_once else "always",
            split=not any(MARK in string[1:] for string in layout.strings),
        )
    tokenizer.normalizer = normalizers.Sequence(steps)
    first = [decoders.Strip(" ", 1, 0)] if spec.add_dummy_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), *first]
    )


def _special(proto: Any, layout: Layout) -> list[str]:
    """Return the control tokens, and those that the SentencePiece model does not have."""
    types = {piece.piece: piece.type for piece in proto.pieces}
    control = (_CONTROL, _UNKNOWN)
    return [string for string in layout.strings if types.get(string, _CONTROL) in control]


def _model(proto: Any, layout: Layout) -> models.Model:
    byte_fallback = bool(proto.trainer_spec.byte_fallback)
    if proto.trainer_spec.model_type == _UNIGRAM:
        scored = list(zip(layout.strings, layout.scores, strict=True))
        return models.Unigram(scored, unk_id=layout.unknown, byte_fallback=byte_fallback)
    ids = {string: id for id, string in enumerate(layout.strings)}
    merges = [] if proto.trainer_spec.model_type == _CHAR else _merges(proto, ids)
    return models.BPE(
        ids,
        merges,
        unk_token=layout.strings[layout.unknown],
        fuse_unk=True,
        byte_fallback=byte_fallback,
    )


def _merges(proto: Any, ids: dict[str, int]) -> list[tuple[str, str]]:
    """Return the merges of a BPE: every split of a piece into two, the best piece first."""
    normal = {piece.piece: piece.score for piece in proto.pieces if piece.type == _NORMAL}
    found = [
        (-score, ids[left], ids[right], left, right)
        for piece, score in normal.items()
        for at in range(1, len(piece))
        if (left := piece[:at]) in normal and (right := piece[at:]) in normal
        if piece in ids and left in ids and right in ids
    ]
    return [(left, right) for *_, left, right in sorted(found)]


def _charsmap(proto: Any) -> list[normalizers.Normalizer]:
    """Return the rewriting of characters that the file holds.

    The library applies the table to a letter with its marks and may drop the marks behind what it
    has rewritten. So what Unicode composes is composed before, and the table finds it done.
    """
    table = proto.normalizer_spec.precompiled_charsmap
    if not table:
        return []
    name = proto.normalizer_spec.name
    found: list[normalizers.Normalizer] = []
    if name.startswith("nmt"):
        found.append(normalizers.Replace("\r\n", "  "))  # for the same reason: two characters
    if "nfkc" in name:
        found.append(normalizers.NFKC())
    return [*found, normalizers.Precompiled(table)]


def class_steps(declared: Declared) -> list[normalizers.Normalizer]:
    """Return what the class that a directory names does before SentencePiece."""
    settings, kind = declared.settings, declared.kind
    found: list[normalizers.Normalizer] = []
    if kind in ("albert", "xlnet", "fnet"):
        found += [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        if not settings.get("keep_accents", kind == "fnet"):
            found += [normalizers.NFKD(), normalizers.StripAccents()]
    if kind == "gptsw3":
        found += [normalizers.Replace(Regex(_UNPRINTABLE), "")]
        found += [normalizers.Replace(Regex(_OTHER_SPACES), " "), normalizers.NFC()]
    if settings.get("do_lower_case", kind == "albert") and kind in _MAY_LOWERCASE:
        found.append(normalizers.Lowercase())
    return found
