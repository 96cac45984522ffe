"""Two or three tensors of one place in a model become one.

In all of them a weight of 0 and of 1 give back one of the tensors bit for bit, but for the chat
vector at 1. Numbers are computed in float32, float64 stays float64; angles in float64.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

_AT_ONCE = 2**22  # numbers in float64
_FLAT = 1e-7  # sine of an angle below which the arc is the line, in float64


def interpolated(
    base: Float[Tensor, "*s"], adapted: Float[Tensor, "*s"], weight: float
) -> Float[Tensor, "*s"]:
    """Return ``base + weight (adapted - base)``."""
    return torch.lerp(_wide(base), _wide(adapted), weight)


def slerp(
    base: Float[Tensor, "*s"], adapted: Float[Tensor, "*s"], weight: float
) -> Float[Tensor, "*s"]:
    """Return the point of the arc from base to adapted that is ``weight`` of the angle away.

    Each tensor is one vector (Shoemake 1985): ``sin((1 - w) a) / sin(a) base + sin(w a) / sin(a)
    adapted`` with the angle ``a`` between the two; the line where they are parallel, opposite or
    zero.
    """
    angle = _angle(base, adapted)
    if math.sin(angle) < _FLAT:
        return interpolated(base, adapted, weight)
    left, right = (math.sin(part * angle) / math.sin(angle) for part in (1 - weight, weight))
    return left * _wide(base) + right * _wide(adapted)


def with_chat_vector(
    adapted: Float[Tensor, "*s"],
    chat: Float[Tensor, "*s"],
    pretrained: Float[Tensor, "*s"],
    weight: float,
) -> Float[Tensor, "*s"]:
    """Return ``adapted + weight (chat - pretrained)`` (Huang et al. 2024, "Chat Vector")."""
    return _wide(adapted) + weight * (_wide(chat) - _wide(pretrained))


def _angle(one: Tensor, other: Tensor) -> float:
    """Return the angle of two tensors as vectors; 0 if one is zero.

    From the unit vectors' difference and sum (Kahan), which keeps its digits where the cosine has
    none left: near 0, where models lie that were adapted for a short time.
    """
    norms = [math.sqrt(sum(float(part.square().sum()) for part in _parts(t))) for t in (one, other)]
    if not all(norms):
        return 0.0
    apart = together = 0.0
    for left, right in zip(_parts(one), _parts(other), strict=True):
        apart += float((left / norms[0] - right / norms[1]).square().sum())
        together += float((left / norms[0] + right / norms[1]).square().sum())
    return 2 * math.atan2(math.sqrt(apart), math.sqrt(together))


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    for part in tensor.reshape(-1).split(_AT_ONCE):
        yield part.double()


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
