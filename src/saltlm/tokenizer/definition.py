"""A tokenizer's definition, as ``tokenizer.json`` holds it: parsed once, never edited in place."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import ByteLevel

Step = Mapping[str, Any]
"""A step of a normalizer, pre-tokenizer, decoder or post-processor."""

BYTE_FALLBACK = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""How models with byte fallback spell the bytes."""

_SPACE_LETTER = "Ġ"  # a space in the byte alphabet
_CHILDREN = ("normalizers", "pretokenizers", "decoders", "processors")


@dataclass(frozen=True, eq=False, repr=False)
class Definition:
    """What ``tokenizer.json`` says.

    A changed one is a new one: `replace` and `with_model` share with it all that stays.

    Attributes:
        json: the whole content, which nobody edits.
    """

    json: Mapping[str, Any]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Definition":
        """Return the definition of a tokenizer, which then stays as it is."""
        definition = cls(json.loads(tokenizer.to_str()))
        definition.__dict__["tokenizer"] = tokenizer
        return definition

    def __repr__(self) -> str:
        return f"Definition({self.kind}, {len(self.pieces):,} pieces, {len(self.added)} added)"

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; treat it as read-only, since it is made once."""
        return self.build()

    def build(self) -> Tokenizer:
        """Return a tokenizer of its own that does what the definition says."""
        return Tokenizer.from_str(json.dumps(self.json))

    def replace(self, **parts: Any) -> "Definition":
        """Return a definition with other parts (``normalizer``, ``added_tokens``, ...)."""
        return Definition({**self.json, **parts})

    def with_model(self, **fields: Any) -> "Definition":
        """Return a definition with other fields of the model (``vocab``, ``merges``, ...)."""
        return self.replace(model={**self.model, **fields})

    def unbounded(self) -> "Definition":
        """Return a definition that neither cuts texts off nor fills them up."""
        return self.replace(truncation=None, padding=None)

    @property
    def model(self) -> Mapping[str, Any]:
        """The model: type, vocabulary, merges, ..."""
        model: Mapping[str, Any] = self.json["model"]
        return model

    @property
    def kind(self) -> str:
        """The type of the model: BPE, Unigram, WordPiece or WordLevel."""
        return str(self.model["type"])

    @property
    def added(self) -> tuple[Mapping[str, Any], ...]:
        """The added tokens, special or not, as the file lists them."""
        return tuple(self.json["added_tokens"])

    @property
    def specials(self) -> tuple[str, ...]:
        """The added tokens that are marked special."""
        return tuple(token["content"] for token in self.added if token["special"])

    @cached_property
    def pieces(self) -> Mapping[int, str]:
        """Id -> piece of the model, in the order of the ids; added tokens aside."""
        vocabulary = self.model["vocab"]
        if isinstance(vocabulary, list):
            return dict(enumerate(piece for piece, _ in vocabulary))
        if [*vocabulary.values()] == [*range(len(vocabulary))]:  # as most files list them
            return dict(enumerate(vocabulary))
        return {id: piece for piece, id in sorted(vocabulary.items(), key=lambda item: item[1])}

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """String -> id of every piece and added token."""
        pieces = {piece: id for id, piece in self.pieces.items()}
        return {token["content"]: token["id"] for token in self.added} | pieces

    @property
    def prefix(self) -> str:
        """What continues a word, in models that write it (WordPiece's ``##``); else nothing."""
        return self.model.get("continuing_subword_prefix") or ""

    @property
    def suffix(self) -> str:
        """What ends a word, in models that write it (``</w>``); else nothing."""
        return self.model.get("end_of_word_suffix") or ""

    @property
    def unknown(self) -> str | None:
        """The piece that the model writes for what it cannot spell; None if it names none."""
        if self.kind == "Unigram":
            id = self.model["unk_id"]
            return None if id is None else self.pieces[id]
        piece: str | None = self.model.get("unk_token")
        return piece if piece in self.model["vocab"] else None

    @property
    def unknown_id(self) -> int:
        """The id of that piece; -1 if there is none."""
        return -1 if self.unknown is None else self.ids[self.unknown]

    @property
    def has_byte_fallback(self) -> bool:
        """Whether the model spells what it has no piece for in bytes, as far as it has them."""
        return bool(self.model.get("byte_fallback"))

    @property
    def normalizer_steps(self) -> tuple[Step, ...]:
        """The steps of the normalizer, sequences unfolded."""
        return tuple(_steps(self.json["normalizer"]))

    @property
    def pre_tokenizer_steps(self) -> tuple[Step, ...]:
        """The steps of the pre-tokenizer, sequences unfolded."""
        return tuple(_steps(self.json["pre_tokenizer"]))

    @property
    def decoder_steps(self) -> tuple[Step, ...]:
        """The steps of the decoder, sequences unfolded."""
        return tuple(_steps(self.json["decoder"]))

    @property
    def post_processor_steps(self) -> tuple[Step, ...]:
        """The steps of the post-processor, sequences unfolded."""
        return tuple(_steps(self.json["post_processor"]))

    @property
    def is_byte_level(self) -> bool:
        """Whether text is spelled in the byte alphabet."""
        steps = self.normalizer_steps + self.pre_tokenizer_steps
        return any(step["type"] == "ByteLevel" for step in steps)

    @cached_property
    def mark(self) -> str:
        """What stands for a space, as the definition writes it or undoes it; else nothing."""
        if self.is_byte_level:
            return _SPACE_LETTER
        marks: list[str] = []
        marks += (
            step["replacement"]
            for step in self.pre_tokenizer_steps + self.decoder_steps
            if step["type"] == "Metaspace"
        )
        marks += (
            content for pattern, content in _replaced(self.normalizer_steps) if pattern == " "
        )
        marks += (pattern for pattern, content in _replaced(self.decoder_steps) if content == " ")
        marks += (step["prepend"] for step in self.normalizer_steps if step["type"] == "Prepend")
        return next((mark for mark in marks if mark.strip()), "")

    @property
    def spells_everything(self) -> bool:
        """Whether it is a BPE with a piece for every byte; other models ask for an unk piece."""
        if self.kind != "BPE":
            return False
        letters = ByteLevel.alphabet() if self.is_byte_level else BYTE_FALLBACK
        is_spelled = self.is_byte_level or self.has_byte_fallback
        return is_spelled and all(letter in self.model["vocab"] for letter in letters)


def highest_id(tokenizer: Tokenizer) -> int:
    """Return the highest id of a tokenizer, -1 if it has none.

    Those of a Unigram have no gaps; of other models, all have to be listed.
    """
    if isinstance(tokenizer.model, Unigram):
        return tokenizer.get_vocab_size() - 1
    return max(tokenizer.get_vocab().values(), default=-1)


def _steps(node: Step | None) -> Iterator[Step]:
    if node is None:
        return
    if node["type"] != "Sequence":
        yield node
        return
    for children in _CHILDREN:
        for child in node.get(children, ()):
            yield from _steps(child)


def _replaced(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    """Return what is replaced, and by what."""
    return [
        (str(next(iter(step["pattern"].values()))), step["content"])
        for step in steps
        if step["type"] == "Replace"
    ]
