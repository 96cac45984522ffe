"""How large a model a corpus can feed, and what it is trained with."""

from dataclasses import dataclass

from saltlm.pretraining.config import SizeName

_WANTED = 20  # tokens read for each parameter of the layers (Hoffmann et al. 2022)
_BYTES = 4.0  # of text make about one token


@dataclass(frozen=True)
class Size:
    """A model's shape, and its training.

    Attributes:
        name: of the size.
        width: of its rows.
        layers: of a gpt or bert; a t5 has half of them on each side.
        heads: of attention.
        batch_tokens: tokens in a step.
        learning_rate: the peak.
    """

    name: SizeName
    width: int
    layers: int
    heads: int
    batch_tokens: int
    learning_rate: float

    @property
    def n_parameters(self) -> int:
        """Parameters of the layers, embeddings aside."""
        return 12 * self.width**2 * self.layers


SIZES: dict[SizeName, Size] = {
    "mini": Size("mini", 128, 4, 4, 4_096, 2e-3),
    "small": Size("small", 256, 6, 4, 8_192, 1e-3),
    "base": Size("base", 512, 8, 8, 16_384, 6e-4),
}


def estimated_tokens(n_bytes: int) -> int:
    """Return about how many tokens a text of so many bytes has."""
    return round(n_bytes / _BYTES)


def choose_size(asked: SizeName | None, n_read: int) -> tuple[Size, str]:
    """Return the size that was asked for, or the largest that the text feeds, and why.

    Args:
        asked: the size; None leaves the choice.
        n_read: tokens that the run reads, every pass counted.
    """
    fed = [size for size in SIZES.values() if n_read >= _WANTED * size.n_parameters]
    size = SIZES[asked] if asked else (fed[-1] if fed else SIZES["mini"])
    why = "as asked" if asked else f"the largest that is fed {_WANTED} tokens a parameter"
    if not asked and not fed:
        why = f"the smallest there is, though {_WANTED} tokens a parameter would be better"
    return size, (
        f"size {size.name}, {why}: its layers have {size.n_parameters / 1e6:.1f}M parameters, and"
        f" about {n_read:,} tokens are read, {n_read / size.n_parameters:.1f} for each"
    )
