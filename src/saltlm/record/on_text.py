"""What the new vocabulary makes of text beside the source's: a part of the manifest."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypedDict

import torch
from jaxtyping import Int64, UInt8
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.record.arrays import Origin
from saltlm.tokenizer.counts import count_tokens, encode_texts
from saltlm.tokenizer.kinds import script_of
from saltlm.tokenizer.shown import shown_token
from saltlm.tokenizer.vocabulary import Vocabulary, spoken_text

MOST_DOCUMENTS = 1000
_MOST_CHARACTERS = 1 << 20  # of all documents together
_LONGEST = 1 << 14  # characters of a document that count
_SAMPLES = 6
_EARNERS = 40
_SENTENCE = re.compile(r"[^.!?。؟\n]{40,150}[.!?。؟]")


class EarnerRecord(TypedDict):
    """A new token and what it saves.

    Attributes:
        id: of the token.
        token: as people can see it.
        count: how often it occurs.
        pieces: tokens of the source that spell it.
    """

    id: int
    token: str
    count: int
    pieces: int


class SampleRecord(TypedDict):
    """A sentence, cut by both tokenizers.

    Attributes:
        text: the sentence.
        source: the source's tokens, as people can see them.
        new: the new ones.
        ids: of the new ones.
    """

    text: str
    source: list[str]
    new: list[str]
    ids: list[int]


class TextRecord(TypedDict):
    """Text, cut by the source's tokenizer and by the new one.

    Attributes:
        documents: that were read.
        bytes: of UTF-8 in them.
        words: between white space.
        source_tokens: of the source's tokenizer.
        new_tokens: of the new one.
        origins: new tokens in the text by the origin of their rows.
        scripts: the same for each script.
        earners: the new rows that save most tokens, the first most.
        samples: sentences from all over the text.
    """

    documents: int
    bytes: int
    words: int
    source_tokens: int
    new_tokens: int
    origins: dict[str, int]
    scripts: dict[str, dict[str, int]]
    earners: list[EarnerRecord]
    samples: list[SampleRecord]


def text_record(
    texts: Iterable[str],
    source: tuple[Tokenizer, Vocabulary],
    new: tuple[Tokenizer, Vocabulary],
    origin: UInt8[Tensor, " v"],
) -> TextRecord:
    """Return what two tokenizers make of text.

    Args:
        texts: a document each; about a million characters of them are read.
        source: the source's tokenizer and what its ids stand for.
        new: likewise.
        origin: an `Origin` for each row of the new model.
    """
    texts = list(_enough(texts))
    counts = count_tokens(new[0], texts, n_rows=len(origin))
    names = [Origin(kind).name.lower() for kind in origin.tolist()]
    origins: Counter[str] = Counter()
    scripts: dict[str, Counter[str]] = {}
    for id in counts.nonzero().flatten().tolist():
        n = int(counts[id])
        origins[names[id]] += n
        scripts.setdefault(script_of(new[1].forms[id]), Counter())[names[id]] += n
    return TextRecord(
        documents=len(texts),
        bytes=sum(len(text.encode()) for text in texts),
        words=sum(len(text.split()) for text in texts),
        source_tokens=int(count_tokens(source[0], texts).sum()),
        new_tokens=int(counts.sum()),
        origins=dict(origins.most_common()),
        scripts={
            script: dict(count.most_common())
            for script, count in sorted(scripts.items(), key=lambda item: -item[1].total())
        },
        earners=_earners(counts * (origin == Origin.MADE), source[0], new[1]),
        samples=_samples(texts, source, new),
    )


def _enough(texts: Iterable[str]) -> Iterable[str]:
    left = _MOST_CHARACTERS
    for text in texts:
        if left <= 0:
            return
        yield text[:_LONGEST]
        left -= min(len(text), _LONGEST)


def _earners(
    counts: Int64[Tensor, " v"], source: Tokenizer, vocabulary: Vocabulary
) -> list[EarnerRecord]:
    """Return the tokens that save most; halves of characters are nobody's word."""
    spelled = [
        (id, text)
        for id in counts.nonzero().flatten().tolist()
        if (form := vocabulary.forms[id]) and (text := spoken_text(form))
    ]
    pieces = encode_texts(source, [text for _, text in spelled])
    found = [(id, int(counts[id]), len(ids)) for (id, _), ids in zip(spelled, pieces, strict=True)]
    found.sort(key=lambda one: (-one[1] * (one[2] - 1), one[0]))
    return [
        EarnerRecord(id=id, token=shown_token(vocabulary, id), count=count, pieces=n)
        for id, count, n in found[:_EARNERS]
    ]


def _samples(
    texts: Sequence[str], source: tuple[Tokenizer, Vocabulary], new: tuple[Tokenizer, Vocabulary]
) -> list[SampleRecord]:
    """Return the first sentence of documents that lie equally far apart."""
    found = [match[0].strip() for text in texts if (match := _SENTENCE.search(text))]
    places = torch.linspace(0, len(found) - 1, min(_SAMPLES, len(found))).round().long().tolist()
    chosen = list(dict.fromkeys(found[place] for place in places))
    cut = [encode_texts(tokenizer, chosen) for tokenizer, _ in (source, new)]
    return [
        SampleRecord(
            text=text,
            source=[shown_token(source[1], id) for id in source_ids],
            new=[shown_token(new[1], id) for id in ids],
            ids=ids,
        )
        for text, source_ids, ids in zip(chosen, *cut, strict=True)
    ]
