"""What a tokenizer cannot write: the kinds of text that do not come back from it as they were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from saltlm.tokenizer.probes import PROBES

_MOST_NAMED = 6
_AROUND = 12  # characters that are shown before and behind the first difference


@dataclass(frozen=True)
class Loss:
    """A text that comes back as another one.

    Attributes:
        kind: of text, in plain words.
        text: that was read.
        back: what is written for it.
    """

    kind: str
    text: str
    back: str


def losses(tokenizer: Tokenizer, probes: Mapping[str, str] = PROBES) -> list[Loss]:
    """Return the texts that a tokenizer does not give back letter for letter, white space included.

    Args:
        tokenizer: any; special tokens that a text names come back too.
        probes: kind of text -> an example of it.
    """
    found = []
    for kind, text in probes.items():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        back = tokenizer.decode(ids, skip_special_tokens=False)
        if back != text:
            found.append(Loss(kind, text, back))
    return found


def new_losses(source: Tokenizer, new: Tokenizer, probes: Mapping[str, str] = PROBES) -> list[Loss]:
    """Return what a tokenizer cannot write although another one can."""
    already = {loss.kind for loss in losses(source, probes)}
    return [loss for loss in losses(new, probes) if loss.kind not in already]


def in_words(found: Sequence[Loss]) -> str:
    r"""Say what is lost, with an example; `found` holds one or more.

    >>> in_words([Loss("tabs", "a\tb", "a b")])
    "tabs: 'a\\tb' comes back as 'a b'"
    """
    named = [loss.kind for loss in found[:_MOST_NAMED]]
    more = f" and {len(found) - len(named)} more" if len(found) > len(named) else ""
    text, back = found[0].text, found[0].back
    pairs = enumerate(zip(text, back, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(text), len(back)))
    part = slice(max(0, at - _AROUND), at + _AROUND)
    return f"{', '.join(named)}{more}: {text[part]!r} comes back as {back[part]!r}"
