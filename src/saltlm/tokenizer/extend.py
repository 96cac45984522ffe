"""The source's tokenizer with new tokens of the PLM, which leaves the source's own text alone.

What is guaranteed, by how tokens are spliced in (see `saltlm.tokenizer.insert`) and by what is left
out:

- Every token of the source keeps its id.
- Every new token is made of its own spelling.
- No new token turns up in the sample, a text of the source's language: those that do are taken out
  again until none does. So the sample is cut as before, which is measured as well.

Other text of the source's language may meet a new token; the larger the sample, the less it does.
"""

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from saltlm.config.transfer import SpecialTokensConfig
from saltlm.errors import ConfigError, VocabularyError
from saltlm.tokenizer.counts import count_tokens, encode_texts
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.insert import Splice, splice
from saltlm.tokenizer.special_tokens import ROLES, SpecialTokens
from saltlm.tokenizer.target import TargetTokenizer, check_names
from saltlm.tokenizer.vocabulary import (
    SPECIAL,
    TEXT,
    Form,
    Vocabulary,
    cut_words,
    read_vocabulary,
    speller,
)

logger = logging.getLogger(__name__)

EXTENDABLE = ("byte-level BPE", "SentencePiece BPE", "Unigram")
"""Families of tokenizers that new tokens can be put into."""

_REPLACE = "--mode replace (without vocabulary=auto, budget and keep)"


@dataclass(frozen=True)
class Extension:
    """A source's tokenizer with new tokens behind its own.

    Attributes:
        target: the tokenizer; ``plm_ids`` are those of the new tokens only.
        vocabulary: what its ids stand for.
        n_new: tokens of the PLM, new to the source, that it has now.
        n_intermediate: tokens that only lead to others.
        n_out_of_reach: tokens of the PLM that the source's tokenizer cannot make, whatever is
            spliced in: it splits text where they do not, or writes text in another way.
        n_protected: tokens of the PLM that are left out for the sake of the sample.
        sample_tokens: tokens of the sample.
        sample_changed: documents of the sample that are cut in another way than before.
    """

    target: TargetTokenizer
    vocabulary: Vocabulary
    n_new: int
    n_intermediate: int
    n_out_of_reach: int
    n_protected: int
    sample_tokens: int
    sample_changed: int

    def record(self) -> dict[str, int]:
        """Return the counts, for the manifest."""
        counts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in counts.items() if isinstance(value, int)}


def extend_tokenizer(
    source: Definition,
    source_special: SpecialTokens,
    source_vocabulary: Vocabulary,
    plm: Vocabulary,
    config: SpecialTokensConfig,
    sample: Sequence[str],
    *,
    is_ranked: bool = False,
) -> Extension:
    """Put tokens of a PLM into the source's own vocabulary and merges.

    Args:
        source: the source's tokenizer, as transformers loads it.
        source_special: its special tokens, which stay as they are.
        source_vocabulary: what its ids stand for.
        plm: the vocabulary that the tokens come from; those that the source has are passed over.
        config: roles for the source's special tokens.
        sample: text in the source's language.
        is_ranked: whether each token of ``plm`` is made of two that come before it, so that they
            are spliced in in this order.

    Raises:
        ConfigError: ``config`` drops or carries special tokens.
        VocabularyError: the source's tokenizer is neither a BPE nor a Unigram one, or ``config``
            names roles or tokens that do not exist.
    """
    _check(source_special, source_vocabulary, config)
    source = source.unbounded()
    size, known = len(source_vocabulary), set(source_vocabulary.forms)
    new = [
        (id, form)
        for id, (form, kind) in enumerate(zip(plm.forms, plm.kinds, strict=True))
        if kind == TEXT and form not in known
    ]
    spellings = dict(_spellings(source, new))
    first, spliced = _protect(source, size, list(spellings), sample, is_ranked=is_ranked)
    # Written and read again, so that it says what the file will say.
    definition = Definition.of(spliced.definition.tokenizer)
    if not source.ids.items() <= definition.ids.items():
        raise VocabularyError(
            "the source's tokens do not keep their ids", "report this with the name of the model"
        )
    plm_ids = [spellings.get(token, -1) for token in spliced.added]
    n_new = sum(id >= 0 for id in plm_ids)
    before, after = (encode_texts(each.tokenizer, sample) for each in (source, definition))
    special = [id if kind == SPECIAL else -1 for id, kind in enumerate(source_vocabulary.kinds)]
    ids = source.ids
    roles = {
        role: ids[token] for role, token in source_special.roles.items() if token and token in ids
    }
    target = TargetTokenizer(
        definition=definition,
        plm_ids=torch.tensor([-1] * size + plm_ids, dtype=torch.int64),
        source_special_ids=torch.tensor(special + [-1] * len(plm_ids), dtype=torch.int64),
        source_text_ids=torch.full((size + len(plm_ids),), -1),
        roles=roles | {role: ids[token] for role, token in config.roles.items()},
        chat_templates=source_special.chat_templates,
        settings=source_special.settings,
        notes=(),
    )
    extension = Extension(
        target=target,
        vocabulary=read_vocabulary(definition, special=source_special.tokens),
        n_new=n_new,
        n_intermediate=len(plm_ids) - n_new,
        n_out_of_reach=len(new) - first,
        n_protected=first - n_new,
        sample_tokens=sum(map(len, before)),
        sample_changed=sum(old != new for old, new in zip(before, after, strict=True)),
    )
    logger.debug("extended vocabulary: %s", extension.record())
    return extension


def _check(special: SpecialTokens, vocabulary: Vocabulary, config: SpecialTokensConfig) -> None:
    if vocabulary.family not in EXTENDABLE:
        raise VocabularyError(
            f"the source's tokenizer is a {vocabulary.family} one, which cannot be extended",
            f"replace its vocabulary: {_REPLACE}",
        )
    if config.drop or config.carry_plm:
        raise ConfigError(
            "the modes extend and swap keep the source's special tokens and take none of the PLM's",
            f"leave special_tokens.drop and special_tokens.carry_plm empty, or use {_REPLACE}",
        )
    check_names("roles", config.roles, ROLES)
    check_names("roles", config.roles.values(), special.tokens)


def _spellings(
    source: Definition, new: Iterable[tuple[int, Form | None]]
) -> Iterator[tuple[str, int]]:
    """Yield how the source spells each new token, with its id, if such a text ever gets there.

    The normalizer may write it in another way, and the pre-tokenizer may split it.
    """
    spell = speller(source)
    for id, form in new:
        spelling = spell(form) if form is not None and form.text else None
        if form is None or spelling is None:
            continue
        try:
            text = "a" + " " * form.begins_word + form.text.decode()
        except UnicodeDecodeError:  # part of a character, which nothing splits
            yield spelling, id
        else:
            if any(spelling in word for word in cut_words(source.tokenizer, text)):
                yield spelling, id


def _protect(
    definition: Definition,
    size: int,
    spellings: Sequence[str],
    sample: Sequence[str],
    *,
    is_ranked: bool,
) -> tuple[int, Splice]:
    """Splice in what leaves the sample alone; return how many it was without that, and the splice.

    A token that is taken out may open the way for another, so it takes a few rounds.
    """
    wanted, banned, cuts = set(spellings), set[str](), dict[str, list[str]]()
    first = None
    while True:
        spliced = splice(definition, size, spellings, banned, cuts, is_ranked=is_ranked)
        tokenizer = spliced.definition.tokenizer
        made = {token for token in spliced.added if token in wanted and _makes(tokenizer, token)}
        first = len(made) if first is None else first
        found = count_tokens(tokenizer, sample, n_rows=size + len(spliced.added))[size:]
        unwanted = wanted.intersection(spliced.added) - made
        unwanted.update(spliced.added[place] for place in found.nonzero().squeeze(1).tolist())
        if not unwanted:
            return first, spliced
        banned |= unwanted


def _makes(tokenizer: Tokenizer, spelling: str) -> bool:
    return [token.value for token in tokenizer.model.tokenize(spelling)] == [spelling]
