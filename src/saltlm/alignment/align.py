"""How two vocabularies meet: which tokens the new model has, and where their rows can come from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from saltlm.alignment.match import (
    FurtherAnchors,
    VocabularyMatch,
    further_anchors,
    match_extension,
    match_vocabularies,
    no_further_anchors,
    same_tokens,
    selected,
)
from saltlm.alignment.piece_means import PieceMeans, add_piece_means
from saltlm.alignment.pruned import prune_to_corpus
from saltlm.config.transfer import RowsConfig
from saltlm.errors import VocabularyError
from saltlm.files.documents import check_corpus, documents
from saltlm.tokenizer.budget import as_vocabulary, budget_notes, budget_vocabulary
from saltlm.tokenizer.counts import count_tokens
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.extend import extend_tokenizer
from saltlm.tokenizer.losses import losses, new_losses
from saltlm.tokenizer.renumber import with_id
from saltlm.tokenizer.replace import replace_vocabulary
from saltlm.tokenizer.special_tokens import SpecialTokens
from saltlm.tokenizer.swap import swap_notes, swap_tokenizer
from saltlm.tokenizer.target import TargetTokenizer
from saltlm.tokenizer.tokens import Tokens, read_tokens
from saltlm.tokenizer.vocabulary import TEXT, Form, Vocabulary

OWN_ENGLISH = Path(__file__).with_name("english.txt.gz")  # that comes with saltlm
_OF_EXTENSION = {
    "n_intermediate": "more of which they are put together",
    "n_out_of_reach": "are left out: the source's tokenizer cannot make them",
    "n_protected": "are left out: they turn up in text of the source's own language",
}


@dataclass(frozen=True)
class Alignment:
    """Two vocabularies put together.

    Attributes:
        target: the tokenizer of the new model.
        source: what the source's ids stand for.
        plm: what the PLM's ids stand for.
        match: where the new model's rows can come from; ``plm_ids`` beyond the PLM's are those of
            the piece means.
        piece_means: PLM rows for tokens that the PLM does not have.
        source_definition: of the source's tokenizer.
        plm_definition: of the PLM's.
        record: how the vocabulary was chosen, for the manifest.
        further: shared tokens that are anchors, and no tokens of the new model.
    """

    target: TargetTokenizer
    source: Vocabulary
    plm: Vocabulary
    match: VocabularyMatch
    piece_means: PieceMeans
    source_definition: Definition
    plm_definition: Definition
    record: dict[str, Any]
    further: FurtherAnchors = field(default_factory=no_further_anchors)

    @property
    def forms(self) -> tuple[Form | None, ...]:
        """What each PLM row stands for, those of the piece means included."""
        return self.plm.forms + self.piece_means.forms

    @property
    def kinds(self) -> bytes:
        """The kind of token that each of these rows stands for."""
        return self.plm.kinds + bytes([TEXT]) * len(self.piece_means.forms)

    @property
    def surface(self) -> list[str | None]:
        """The text of each of these rows without word marker; None if it has none of its own."""
        return [_surface(form) for form in self.forms]

    @property
    def native(self) -> list[str | None]:
        """Each of these rows' token as the new model's tokenizer has it; None if it has none."""
        names: list[str | None] = [None] * len(self.forms)
        for id, row in enumerate(self.match.plm_ids.tolist()):
            if row >= 0:
                names[row] = self.target.tokenizer.id_to_token(id)
        return names


class _Choice(NamedTuple):
    """The new model's tokens. Those with an id in ``vocabulary`` may get a composed row."""

    target: TargetTokenizer
    match: VocabularyMatch
    vocabulary: Vocabulary
    ids: Int64[Tensor, " v"]


def english_text() -> Iterator[str]:
    """Return the documents of English that come with saltlm."""
    return documents((OWN_ENGLISH,))


def align(
    source: Definition,
    source_special: SpecialTokens,
    plm: Definition,
    plm_special: SpecialTokens,
    config: RowsConfig,
    *,
    n_source_rows: int,
    other: tuple[Definition, SpecialTokens] | None = None,
    held: int | None = None,
) -> Alignment:
    """Make the new tokenizer and match its tokens with both models' (SALT steps 1 and 2).

    Args:
        source: the source's tokenizer, as transformers loads it.
        source_special: its special tokens.
        plm: the PLM's tokenizer.
        plm_special: its special tokens.
        config: which vocabulary is wanted, and what counts as the same token.
        n_source_rows: rows of the source's embedding; tokens beyond it have none.
        other: a tokenizer and its special tokens, if these tokens are wanted instead of the PLM's.
        held: an id of the source whose token keeps it, as pad does where positions begin behind it.

    Raises:
        ConfigError: a corpus is missing or cannot be read, or special tokens cannot be as asked.
        VocabularyError: a tokenizer cannot be read, cut or extended.
    """
    llm, wanted = read_tokens(source, source_special), read_tokens(plm, plm_special)
    plm_vocabulary, in_plm = wanted.vocabulary, torch.arange(len(wanted.vocabulary))
    if other is not None:
        wanted = read_tokens(*other)
        everything = torch.arange(len(wanted.vocabulary))
        in_plm = same_tokens(wanted.vocabulary, plm_vocabulary, ids=everything)
    record: dict[str, Any] = {
        "mode": config.mode,
        "tokens_before": len(wanted.vocabulary),
        "source_loses": [loss.kind for loss in losses(source.tokenizer)],
    }
    if config.prune_to is not None:
        wanted, old = prune_to_corpus(wanted, llm, config, config.prune_to, record)
        in_plm = _in_plm(wanted, plm_vocabulary, in_plm, old)
    if config.vocabulary == "auto":
        wanted = _choose(llm, config, record)
    if config.mode == "replace":
        choice = _replace(llm, wanted, plm_vocabulary, in_plm, config, n_source_rows)
    else:
        choice = _extend(llm, wanted, plm_vocabulary, config, n_source_rows, record)
    if held is not None:
        choice = _with_held(choice, held, llm.vocabulary)
    rows, piece_means = add_piece_means(
        choice.vocabulary, choice.match.plm_ids, choice.ids, plm, plm_vocabulary
    )
    found = new_losses(source.tokenizer, choice.target.tokenizer)
    record["loses"] = [loss.kind for loss in found]  # that the source does not
    record["composed_rows"] = len(piece_means.pieces)
    further = no_further_anchors()
    if config.anchors == "all" and config.mode != "extend":  # which has them all
        n_rows = min(n_source_rows, len(llm.vocabulary))
        further = further_anchors(
            choice.match, plm_vocabulary, llm.vocabulary, n_rows=n_rows, mode=config.match
        )
    record["further_anchors"] = len(further.names)
    return Alignment(
        target=replace(choice.target, notes=(*choice.target.notes, *_notes(record))),
        source=llm.vocabulary,
        plm=plm_vocabulary,
        match=replace(choice.match, plm_ids=rows),
        piece_means=piece_means,
        source_definition=source,
        plm_definition=plm,
        record=record,
        further=further,
    )


def _in_plm(
    wanted: Tokens, plm: Vocabulary, in_plm: Int64[Tensor, " v"], old: Int64[Tensor, " w"]
) -> Int64[Tensor, " w"]:
    """Return the PLM's id of each token, where the old tokenizer's are known; -1 for none.

    A joined token may be one that the PLM has and never makes.
    """
    is_joined = (old < 0).nonzero().squeeze(1)
    found = torch.where(old >= 0, in_plm[old], -1)
    found[is_joined] = same_tokens(wanted.vocabulary, plm, ids=is_joined)
    return found


def _choose(source: Tokens, config: RowsConfig, record: dict[str, Any]) -> Tokens:
    """Choose the new tokens for a budget, and record what they save."""
    check_corpus(config.corpus)
    chosen = budget_vocabulary(
        source.definition,
        documents(config.corpus),
        documents(config.keep) if config.keep else english_text(),
        budget=config.budget,
        min_occurrences=config.min_occurrences,
    )
    record["budget"] = chosen.record()
    return source._replace(vocabulary=as_vocabulary(chosen, source.definition))


def _replace(
    source: Tokens,
    wanted: Tokens,
    plm_vocabulary: Vocabulary,
    in_plm: Int64[Tensor, " v_d"],
    config: RowsConfig,
    n_source_rows: int,
) -> _Choice:
    """Choose the PLM's tokens, with the special tokens of the source."""
    target = replace_vocabulary(
        wanted, source, config.special_tokens, lossy=config.lossy, digits=config.digits
    )
    match = match_vocabularies(
        wanted.vocabulary,
        source.vocabulary,
        plm_ids=target.plm_ids,
        source_special_ids=target.source_special_ids,
        source_text_ids=target.source_text_ids,
        n_rows=min(n_source_rows, len(source.vocabulary)),
        mode=config.match,
    )
    # What comes along from the source may be in the PLM all the same, if this was pruned.
    along = same_tokens(source.vocabulary, plm_vocabulary, ids=target.source_text_ids)
    plm_ids = torch.where(target.plm_ids >= 0, in_plm[target.plm_ids], along)
    return _Choice(target, replace(match, plm_ids=plm_ids), wanted.vocabulary, target.plm_ids)


def _extend(
    source: Tokens,
    wanted: Tokens,
    plm_vocabulary: Vocabulary,
    config: RowsConfig,
    n_source_rows: int,
    record: dict[str, Any],
) -> _Choice:
    """Choose the source's tokens, and behind them those of the PLM that are new; record how."""
    kept_texts = list(documents(config.keep) if config.keep else english_text())
    extension = extend_tokenizer(
        source.definition,
        source.special,
        source.vocabulary,
        wanted.vocabulary,
        config.special_tokens,
        kept_texts,
        is_ranked=config.vocabulary == "auto",
    )
    record["extension"] = extension.record()
    match = match_extension(
        extension.vocabulary,
        source.vocabulary,
        plm_vocabulary,
        source_special_ids=extension.target.source_special_ids,
        n_rows=n_source_rows,
        mode=config.match,
    )
    ids = torch.arange(len(match.plm_ids))
    n_source, vocabulary = len(source.vocabulary), extension.vocabulary
    is_new = (ids >= n_source) & (ids < len(vocabulary))
    choice = _Choice(extension.target, match, vocabulary, torch.where(is_new, ids, -1))
    if config.mode == "extend":
        return choice
    check_corpus(config.corpus)
    swap = swap_tokenizer(
        extension,
        n_source,
        count_tokens(extension.target.tokenizer, documents(config.corpus), n_rows=len(vocabulary)),
        kept_texts,
        within=config.keep_within,
        special=source.special.tokens,
    )
    record["swap"] = swap.record()
    stays = swap.extended_ids
    return _Choice(swap.target, selected(match, stays), vocabulary, choice.ids[stays])


def _extension_notes(counts: Mapping[str, Any], *, is_counted: bool) -> Iterator[str]:
    """Say what an extension adds and leaves out; not only how much it adds, where that is said."""
    said = [f"{counts[key]:,} {what}" for key, what in _OF_EXTENSION.items() if counts[key]]
    if said or not is_counted:
        yield "; ".join([f"{counts['n_new']:,} new tokens", *said])
    if counts["sample_changed"]:
        yield f"{counts['sample_changed']} documents of that text are cut differently"


def _with_held(choice: _Choice, held: int, source: Vocabulary) -> _Choice:
    """Return a choice in which the source's token of an id has that id.

    Raises:
        VocabularyError: the new vocabulary does not have the token or the id, or another is pad.
    """
    target, n_pieces = choice.target, len(choice.target.definition.pieces)
    token = repr(source.strings[held]) if held < len(source) else "no token's"
    places = (choice.match.source_ids == held).nonzero().squeeze(1).tolist()
    if not places:
        problem = "the new vocabulary does not have it"
    elif held not in places and held >= n_pieces:
        problem = f"the new vocabulary has {n_pieces:,} pieces"
    elif target.roles.get("pad", places[0]) not in places:
        problem = f"pad would be {target.tokenizer.id_to_token(target.roles['pad'])!r}"
    elif held in places:
        return choice
    else:
        definition, ids = with_id(target.definition, places[0], held)
        target, match = target.selected(definition, ids), selected(choice.match, ids)
        return _Choice(target, match, choice.vocabulary, choice.ids[ids])
    raise VocabularyError(
        f"the source counts positions from the id of pad, {held} ({token}), which has to stay that"
        f" token's, but {problem}",
        "take the token out of special_tokens.drop and .roles; if it is in neither, --mode extend"
        " keeps all ids",
    )


def _notes(record: Mapping[str, Any]) -> Iterator[str]:
    """Say in words what the choice of the vocabulary costs."""
    if "pruning" in record:
        loss = record["pruning"]
        yield (
            f"{record['kept_tokens']:,} of {record['tokens_before']:,} tokens are kept: "
            f"{loss['resegmented'] / max(1, loss['tokens_before']):.1%} of the corpus' tokens are "
            f"cut differently, {loss['n_changed']} of {loss['n_documents']} documents do not come "
            f"back as before, {len(loss['unreachable'])} kept tokens can no longer be made"
        )
        if "joined_tokens" in record:
            yield (
                f"{record['joined_tokens']:,} further tokens are neighbours that often stand "
                "together in the corpus, joined"
            )
        if record["numbers_out_of_reach"]:
            yield (
                f"{record['numbers_out_of_reach']:,} of the PLM's numbers take no place: the "
                "source's way of cutting digits never makes them"
            )
        if (n_further := record["kept_tokens"] - record["used_tokens"]) > 0:
            yield (
                f"the corpus needs {record['used_tokens']:,} of the kept tokens; the other "
                f"{n_further:,} are the PLM's most frequent ones whose pairs of letters the corpus "
                "has"
            )
        n_made = record["kept_tokens"] + record.get("joined_tokens", 0)
        if n_made < record["wanted_tokens"]:
            yield (
                f"these are fewer than {record['wanted_tokens']:,}: no others have the same letters"
            )
    if "budget" in record:
        yield from budget_notes(record["budget"])
    if "extension" in record:
        yield from _extension_notes(record["extension"], is_counted="budget" in record)
    if "swap" in record:
        yield from swap_notes(record["swap"])
    if record["composed_rows"]:
        yield (
            f"{record['composed_rows']:,} tokens that the PLM lacks get the mean of the rows of "
            "their pieces in it"
        )
    if record["further_anchors"]:
        yield (
            f"methods also learn from {record['further_anchors']:,} shared tokens that the new "
            "model does not have"
        )


def _surface(form: Form | None) -> str | None:
    try:
        return form.text.decode() or None if form is not None else None
    except UnicodeDecodeError:
        return None
