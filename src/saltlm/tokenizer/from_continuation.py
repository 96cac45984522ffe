"""A tokenizer of fastBPE's files, vocab.txt and bpe.codes: PhoBERT, BERTweet, BARTpho-word.

They write ``ngh@@ iêng``: a piece that goes on ends in ``@@``. Here the same piece is ``ngh``, and
one that ends a word is ``iêng</w>``, as the codes themselves spell it.
"""

from typing import NamedTuple

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from saltlm.errors import VocabularyError
from saltlm.files.json_object import read_json
from saltlm.tokenizer.declared import Declared

_GOES_ON, _ENDS = "@@", "</w>"
_FIRST = (("bos", "<s>"), ("pad", "<pad>"), ("eos", "</s>"), ("unk", "<unk>"))


class FastBPE(NamedTuple):
    """A tokenizer of fastBPE's files.

    Attributes:
        tokenizer: it.
        between: (id, id of the left part, id of the right part) of each piece that merges pass
            through and the vocabulary does not have; both parts are the unknown piece for letters.
    """

    tokenizer: Tokenizer
    between: tuple[tuple[int, int, int], ...]


def tokenizer_of_continuation(declared: Declared) -> FastBPE:
    """Return the tokenizer of a directory's vocab.txt and bpe.codes.

    Where the original knows every piece of a text, the text is cut as the original cuts it. Where
    it writes its unknown token, a piece that merges pass through may stand instead.

    Raises:
        VocabularyError: the class rewrites text first, or a file is of another format.
    """
    directory = declared.directory
    if declared.kind == "bertweet" and declared.settings.get("normalization"):
        raise VocabularyError(
            f"the {declared.class_name} of {directory} rewrites text before it cuts it (user names,"
            " links, emoji), by a program beside the vocabulary",
            'set "normalization": false in tokenizer_config.json; text is then cut as it stands',
        )
    special = [declared.token(role, default) for role, default in _FIRST]
    mask = declared.token("mask", "<mask>")
    words = [line.rpartition(" ")[0] for line in _lines(declared, "vocab.txt")]
    ids = {token: id for id, token in enumerate(dict.fromkeys(special))}
    for word in words:
        ids[_spelled(word)] = len(ids)
    ids.setdefault(mask, len(ids))
    merges = [(a, b) for a, b, *_ in (line.split() for line in _lines(declared, "bpe.codes"))]
    rows = read_json(directory / "config.json").get("vocab_size", 0)
    between = _complete(ids, merges, max(len(ids), rows), ids[special[3]])
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token=special[3], end_of_word_suffix=_ENDS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.BPEDecoder(suffix=_ENDS)
    tokens = list(dict.fromkeys([*special, mask]))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in tokens])
    first, last = special[0], special[2]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} {last} $B {last}",
        special_tokens=[(first, ids[first]), (last, ids[last])],
    )
    return FastBPE(tokenizer, between)


def _lines(declared: Declared, name: str) -> list[str]:
    lines = [line.strip() for line in declared.text(name).split("\n")]
    lines = [line for line in lines if line]
    if strange := [line for line in lines if " " not in line]:
        raise VocabularyError(
            f"{declared.directory / name} is not of fastBPE: a line is {strange[0]!r}",
            "fetch the file anew, or give a copy of the model that has a tokenizer.json",
        )
    return lines


def _spelled(word: str) -> str:
    return word.removesuffix(_GOES_ON) if word.endswith(_GOES_ON) else word + _ENDS


def _complete(
    ids: dict[str, int], merges: list[tuple[str, str]], first: int, unknown: int
) -> tuple[tuple[int, int, int], ...]:
    """Give ids to what merges pass through and the vocabulary does not have; edits ``ids``."""
    found: list[tuple[int, int, int]] = []

    def add(piece: str, left: int, right: int) -> None:
        if piece not in ids:
            ids[piece] = first + len(found)
            found.append((ids[piece], left, right))

    for left, right in merges:
        add(left, unknown, unknown)
        add(right, unknown, unknown)
        add(left + right, ids[left], ids[right])
    return tuple(found)
