"""A tokenizer that marks the pieces which go on: PhoBERT, BERTweet, BARTpho-word, CTRL, Blenderbot.

They write ``ngh@@ iêng``: a piece that goes on ends in ``@@``. Here the same piece is ``ngh``, and
one that ends a word is ``iêng</w>``, as the merges themselves spell it. fastBPE's files are
vocab.txt and bpe.codes; CTRL and the small Blenderbot have vocab.json and merges.txt.
"""

from typing import NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from saltlm.errors import VocabularyError
from saltlm.files.json_object import read_json
from saltlm.tokenizer.declared import Declared

_GOES_ON, _ENDS = "@@", "</w>"
_FIRST = (("bos", "<s>"), ("pad", "<pad>"), ("eos", "</s>"), ("unk", "<unk>"))
_SPECIAL = {
    "ctrl": {"unk": "<unk>"},
    "blenderbotsmall": {
        "unk": "__unk__", "bos": "__start__", "eos": "__end__", "pad": "__null__"
    },
}  # fmt: skip
"""Class with vocab.json and merges.txt -> its special tokens, if the files do not name others."""


class Continued(NamedTuple):
    """A tokenizer whose files mark the pieces that go on.

    Attributes:
        tokenizer: it.
        between: (id, id of the left part, id of the right part) of each piece that merges pass
            through and the vocabulary does not have; both parts are the unknown piece for letters.
    """

    tokenizer: Tokenizer
    between: tuple[tuple[int, int, int], ...]


def is_of_continuation(declared: Declared) -> bool:
    """Tell whether a directory has a vocabulary that marks the pieces which go on."""
    is_json = declared.kind in _SPECIAL
    files = ("vocab.json", "merges.txt") if is_json else ("vocab.txt", "bpe.codes")
    return all((declared.directory / name).is_file() for name in files)


def tokenizer_of_continuation(declared: Declared) -> Continued:
    """Return the tokenizer of a directory whose vocabulary marks the pieces that go on.

    Where the original knows every piece of a text, the text is cut as the original cuts it. Where
    it writes its unknown token, a piece that merges pass through may stand instead.

    Raises:
        VocabularyError: the class rewrites text first, or a file is of another format.
    """
    if declared.kind in _SPECIAL:
        return _of_merges(declared)
    return _of_codes(declared)


def _of_merges(declared: Declared) -> Continued:
    """Return the tokenizer of vocab.json and merges.txt."""
    words: dict[str, int] = read_json(declared.directory / "vocab.json")
    special = [declared.token(role, token) for role, token in _SPECIAL[declared.kind].items()]
    ids = {word if word in special else _spelled(word): id for word, id in words.items()}
    for token in special:
        ids.setdefault(token, 1 + max(ids.values()))
    lines = declared.text("merges.txt").split("\n")[1:]
    continued = _continued(declared, ids, lines, special[0], special)
    if declared.kind == "ctrl":  # whose words end with the line break behind them
        words_and_breaks = Regex(r"\S+\n?")
        cut = pre_tokenizers.Split(words_and_breaks, behavior="removed", invert=True)
        continued.tokenizer.pre_tokenizer = cut
    else:
        continued.tokenizer.normalizer = normalizers.Sequence(
            [
                normalizers.Lowercase(),
                normalizers.Replace(Regex(r"(?<=[^\s'])\n"), " __newln__ "),
                normalizers.Replace(Regex(r"(?=[.,!?()])"), " "),
                normalizers.Replace("'", " ' "),
            ]
        )
    return continued


def _of_codes(declared: Declared) -> Continued:
    """Return the tokenizer of fastBPE's files."""
    directory = declared.directory
    if declared.kind == "bertweet" and declared.settings.get("normalization"):
        raise VocabularyError(
            f"the {declared.class_name} of {directory} rewrites text before it cuts it (user names,"
            " links, emoji), by a program beside the vocabulary",
            'set "normalization": false in tokenizer_config.json; text is then cut as it stands',
        )
    special = [declared.token(role, default) for role, default in _FIRST]
    mask = declared.token("mask", "<mask>")
    lines = declared.text("vocab.txt").split("\n")
    words = [pair.rpartition(" ")[0] for pair in _filled(declared, "vocab.txt", lines)]
    ids = {token: id for id, token in enumerate(dict.fromkeys(special))}
    for word in words:
        ids[_spelled(word)] = len(ids)
    ids.setdefault(mask, len(ids))
    codes = declared.text("bpe.codes").split("\n")
    continued = _continued(declared, ids, codes, special[3], [*special, mask])
    first, last = special[0], special[2]
    continued.tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} {last} $B {last}",
        special_tokens=[(first, ids[first]), (last, ids[last])],
    )
    return continued


def _continued(
    declared: Declared, ids: dict[str, int], lines: list[str], unknown: str, special: list[str]
) -> Continued:
    """Return a tokenizer of pieces with their ids, to which those between are added."""
    name = "merges.txt" if declared.kind in _SPECIAL else "bpe.codes"
    merges = [(a, b) for a, b, *_ in (line.split() for line in _filled(declared, name, lines))]
    for id, token in declared.added.items():
        ids.setdefault(str(token["content"]), id)
    rows = read_json(declared.directory / "config.json").get("vocab_size", 0)
    between = _complete(ids, merges, max(1 + max(ids.values()), rows), ids[unknown])
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token=unknown, end_of_word_suffix=_ENDS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.BPEDecoder(suffix=_ENDS)
    tokens = list(dict.fromkeys(special))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in tokens])
    return Continued(tokenizer, between)


def _filled(declared: Declared, name: str, lines: list[str]) -> list[str]:
    """Return the lines that are not empty, each of which must be several words."""
    filled = [line.strip() for line in lines if line.strip()]
    if strange := [line for line in filled if " " not in line]:
        raise VocabularyError(
            f"{declared.directory / name} is of another format: a line is {strange[0]!r}",
            "fetch the file anew, or put the model's tokenizer.json beside it",
        )
    return filled


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
