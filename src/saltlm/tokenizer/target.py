"""The tokenizer of a new model, and where each of its tokens comes from."""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from tokenizers import Tokenizer
from torch import Tensor

from saltlm.errors import VocabularyError
from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.special_tokens import ROLES, SpecialTokens


@dataclass(frozen=True)
class TargetTokenizer:
    """A tokenizer for the new model, and where each of its tokens comes from.

    Attributes:
        definition: of the new tokenizer.
        plm_ids: the PLM's id of each token, -1 for those that only the source has.
        source_special_ids: the source's id of each carried special token, -1 for all others.
        source_text_ids: the source's id of each token of text that comes along with its row
            although the PLM lacks it, -1 for all others.
        roles: role -> new id, for the roles that are filled.
        chat_templates: name -> template, as in the source.
        settings: what of the source's tokenizer_config.json the new one repeats.
        notes: what was decided that a user may not expect, a sentence each.
    """

    definition: Definition
    plm_ids: Int64[Tensor, " v"]
    source_special_ids: Int64[Tensor, " v"]
    source_text_ids: Int64[Tensor, " v"]
    roles: dict[str, int]
    chat_templates: dict[str, str]
    settings: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def tokenizer(self) -> Tokenizer:
        """The new tokenizer."""
        return self.definition.tokenizer

    def selected(self, definition: Definition, ids: Int64[Tensor, " n"]) -> "TargetTokenizer":
        """Return what is said of some of the tokens, which a definition has in the order given."""
        new_ids = {old: new for new, old in enumerate(ids.tolist())}
        return replace(
            self,
            definition=definition,
            plm_ids=self.plm_ids[ids],
            source_special_ids=self.source_special_ids[ids],
            source_text_ids=self.source_text_ids[ids],
            roles={role: new_ids[id] for role, id in self.roles.items()},
        )


class RoleRow(NamedTuple):
    """A line of the role table; ``role`` is empty for control tokens without one."""

    role: str
    token: str
    new_id: int
    source_id: int | None
    note: str


def own_tokenizer(definition: Definition, special: SpecialTokens) -> TargetTokenizer:
    """Return a tokenizer with its own special tokens, as `save_tokenizer` takes it.

    Args:
        definition: of any; its ids stay.
        special: its special tokens; roles whose token it does not have stay empty.
    """
    ids = definition.ids
    everything = torch.arange(1 + max(ids.values(), default=-1))
    return TargetTokenizer(
        definition=definition,
        plm_ids=everything,
        source_special_ids=torch.full_like(everything, -1),
        source_text_ids=torch.full_like(everything, -1),
        roles={role: ids[token] for role, token in special.roles.items() if token and token in ids},
        chat_templates=special.chat_templates,
        settings=special.settings,
        notes=(),
    )


def role_table(target: TargetTokenizer) -> list[RoleRow]:
    """Return the roles and the control tokens of the new model, to be printed or reviewed."""
    played = [(role, target.roles[role]) for role in ROLES if role in target.roles]
    special = torch.nonzero(target.source_special_ids >= 0).flatten().tolist()
    others = [("", id) for id in special if id not in target.roles.values()]
    rows = []
    for role, id in played + others:
        source_id = int(target.source_special_ids[id])
        if source_id < 0:
            note = "the PLM's; its row is made like any new token's"
        elif target.plm_ids[id] >= 0:
            note = "the source's row, in the place of a piece of the PLM"
        else:
            note = "the source's row"
        token = str(target.tokenizer.id_to_token(id))
        rows.append(RoleRow(role, token, id, source_id if source_id >= 0 else None, note))
    return rows


def check_names(option: str, names: Iterable[str], known: Collection[str]) -> None:
    """Make sure that what an option of ``special_tokens`` names exists.

    Raises:
        VocabularyError: it does not.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
            if not near and len(known) <= 40:
                hint = "there are: " + ", ".join(map(repr, dict.fromkeys(known)))
            raise VocabularyError(f"special_tokens.{option}: there is no {name!r}", hint)
