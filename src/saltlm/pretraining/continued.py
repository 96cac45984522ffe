"""An LLM's own tokenizer for a PLM: its tokens that occur in a corpus, and merges made of them.

So a PLM has no token that the LLM's tokenizer could not be made to reach (`--mode extend`); or,
without such merges, the same tokens, and can be the teacher of the LLM.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Int64
from torch import Tensor

from saltlm.alignment.align import english_text
from saltlm.errors import VocabularyError
from saltlm.models.hub import resolve_model
from saltlm.pretraining.config import Arch
from saltlm.pretraining.tokenizer import MOST_TOKENS, TrainedTokenizer, with_special_tokens
from saltlm.tokenizer.budget import budget_vocabulary
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.extend import EXTENDABLE
from saltlm.tokenizer.insert import splice
from saltlm.tokenizer.load import load_tokenizer
from saltlm.tokenizer.probes import CHAT, PROBES
from saltlm.tokenizer.prune import prune_tokenizer
from saltlm.tokenizer.special_tokens import read_special_tokens
from saltlm.tokenizer.tokens import Tokens, read_tokens

# An LLM's own may write text around special tokens otherwise: SentencePiece's puts a space there.
_PROBES = {kind: text for kind, text in PROBES.items() if kind != CHAT}


def tokenizer_of(model: str, texts: Callable[[], Iterable[str]]) -> TrainedTokenizer:
    """Return a model's tokenizer for a gpt, with the tokens alone that a corpus uses.

    It cuts that corpus as the model does; of other text it may lose letters.

    Args:
        model: a directory or Hub id.
        texts: begins a pass over the corpus.
    """
    own = _read(model)
    pruned = prune_tokenizer(own.definition, _occurrences(own, texts))
    return with_special_tokens(pruned.definition, "gpt", probes={})


def continue_tokenizer(
    arch: Arch,
    source: str,
    texts: Callable[[], Iterable[str]],
    *,
    size: int | None,
    budget: int,
    min_occurrences: float,
) -> TrainedTokenizer:
    """Continue a tokenizer on a corpus.

    Args:
        arch: whose special tokens it gets.
        source: the LLM, a directory or Hub id.
        texts: begins a new pass over the corpus.
        size: tokens wanted, the source's that occur among them; None: all new ones that the budget
            teaches, up to `MOST_TOKENS` in all.
        budget: tokens of training.
        min_occurrences: that a new token must have in them.

    Raises:
        VocabularyError: the source's tokenizer cannot be extended, or too few tokens are wanted.
    """
    tokens = _read(source)
    definition, vocabulary = tokens.definition, tokens.vocabulary
    if vocabulary.family not in EXTENDABLE:
        raise VocabularyError(
            f"the tokenizer of {source} is a {vocabulary.family} one, which cannot be continued",
            "leave --continue-tokenizer out: a tokenizer is then trained anew",
        )
    chosen = budget_vocabulary(
        definition,
        texts(),
        english_text(),
        budget=budget,
        min_occurrences=min_occurrences if size is None else budget / 2**60,
    )
    n_rows, occurs = len(vocabulary), _occurrences(tokens, texts)
    own = prune_tokenizer(definition, occurs)
    n_new = max(0, (size or MOST_TOKENS) - len(own.kept))
    if size is not None and not n_new:
        raise VocabularyError(
            f"{size:,} tokens leave no room for new ones beside the {len(own.kept):,} of {source}"
            " that the corpus uses",
            f"--vocab-size {len(own.kept) + 1000}, or auto",
        )
    # Spliced into the whole tokenizer, whose merges they go on with, and then cut.
    extended = splice(definition, n_rows, chosen.tokens[:n_new], frozenset(), is_ranked=True)
    new = torch.ones(len(extended.added), dtype=torch.int64)
    pruned = prune_tokenizer(extended.definition, torch.cat([occurs, new]))
    return with_special_tokens(pruned.definition, arch, probes=_PROBES)


def _read(model: str) -> Tokens:
    directory = resolve_model(model, with_weights=False)
    tokenizer = load_tokenizer(directory)
    special = read_special_tokens(directory, tokenizer)
    return read_tokens(Definition.of(tokenizer).unbounded(), special)


def _occurrences(own: Tokens, texts: Callable[[], Iterable[str]]) -> Int64[Tensor, " v"]:
    """Return how often each token occurs; white space does once at least, so that it is kept."""
    forms = own.vocabulary.forms
    blank = torch.tensor([form is not None and not form.text.strip() for form in forms])
    return count_tokens(own.definition.tokenizer, texts(), n_rows=len(forms)) + blank.long()
