"""The PLM's tokens that a corpus needs, and what is made of the places that are left.

Places go to what the new tokenizer can make of the corpus: first the PLM's numbers go that the
source's way of taking digits never makes. What is left is counted, and the most frequent stays.
"""

from collections.abc import Iterator, Set
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from saltlm.config.transfer import RowsConfig
from saltlm.files.documents import check_corpus, documents
from saltlm.tokenizer.budget import MIN_OCCURRENCES
from saltlm.tokenizer.carried import digits_at_once
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.joined import join_pieces
from saltlm.tokenizer.lossless import cannot_be_lossless, check_lossless, out_of_reach
from saltlm.tokenizer.prune import prune_tokenizer, without_pieces
from saltlm.tokenizer.pruning_loss import pruning_loss
from saltlm.tokenizer.tokens import Tokens, read_tokens

_MAX_DOCUMENTS = 5000  # of the corpus are read to say what pruning loses


def prune_to_corpus(
    wanted: Tokens, source: Tokens, config: RowsConfig, size: int, record: dict[str, Any]
) -> tuple[Tokens, Int64[Tensor, " v"]]:
    """Cut a tokenizer to a corpus, and record the loss.

    Before and after are compared on documents from all over the corpus.

    Args:
        wanted: the PLM's tokenizer, or another whose tokens are wanted.
        source: says how digits are taken.
        config: names the corpus, and whether pieces are joined.
        size: tokens to keep.
        record: what is recorded; edited.

    Returns:
        the tokenizer, and the old id of each of its tokens, -1 for one that is joined.
    """
    check_corpus(config.corpus)
    special, n_documents = wanted.special.tokens, 0

    def counted() -> Iterator[str]:
        nonlocal n_documents
        for text in documents(config.corpus):
            n_documents += 1
            yield text

    dead = _numbers_out_of_reach(wanted, source, config)
    reached = without_pieces(wanted.definition, dead) if dead else wanted.definition
    counts = count_tokens(reached.tokenizer, counted())
    if config.vocabulary == "joined":
        joined = join_pieces(
            reached,
            counts,
            documents(config.corpus),
            size=size,
            special=special,
            least=config.min_occurrences or MIN_OCCURRENCES,
        )
        pruned, made, record["joined_tokens"] = joined.pruned, joined.definition, joined.n_joined
    else:
        pruned = prune_tokenizer(reached, counts, size=size, special=special)
        made = pruned.definition
    step = 1 + n_documents // _MAX_DOCUMENTS
    sample = islice(documents(config.corpus), 0, None, step)
    record |= {
        "wanted_tokens": size,
        "kept_tokens": len(pruned.kept),
        "used_tokens": pruned.n_used,
        "numbers_out_of_reach": len(dead),
        "pruning": asdict(pruning_loss(reached, pruned.definition, sample)),
    }
    tokens = read_tokens(made, wanted.special)
    old = wanted.definition.ids
    return tokens, torch.tensor([old.get(token, -1) for token in tokens.vocabulary.strings])


def _numbers_out_of_reach(wanted: Tokens, source: Tokens, config: RowsConfig) -> Set[str]:
    """Return the pieces with digits that the new tokenizer can never make."""
    is_spelled_anew = config.mode != "replace" or not cannot_be_lossless(
        check_lossless(wanted.definition, lossy=True)
    )
    if config.digits == "plm" or not is_spelled_anew:
        return set()
    at_once = digits_at_once(source.definition)
    return out_of_reach(wanted.definition, wanted.vocabulary, at_once)
