"""Translation ranking: is the right translation cheaper after its sentence than wrong ones?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saltlm.evaluation.bits_per_byte import bits_per_byte


@dataclass(frozen=True)
class Ranking:
    """Bits per byte of each sentence's candidates; the right translation is the first.

    Attributes:
        after: what a candidate costs after the sentence.
        alone: what it costs with nothing before it.
    """

    after: Float[np.ndarray, "n c"]
    alone: Float[np.ndarray, "n c"]

    @property
    def is_first(self) -> Bool[np.ndarray, " n"]:
        """Whether the right translation costs less per byte than every other candidate."""
        found: np.ndarray = self.after[:, 0] < self.after[:, 1:].min(1)
        return found

    @property
    def gains_most(self) -> Bool[np.ndarray, " n"]:
        """Whether the sentence makes the right translation cheaper than it makes the others."""
        gains = self.alone - self.after
        found: np.ndarray = gains[:, 0] > gains[:, 1:].max(1)
        return found


def draw_candidates(n_pairs: int, n_distractors: int, seed: int) -> Int64[np.ndarray, "n c"]:
    """Return for each pair its own index and those of other pairs, drawn without repetition."""
    generator = np.random.default_rng(seed)
    drawn = [generator.choice(n_pairs - 1, n_distractors, replace=False) for _ in range(n_pairs)]
    own = np.arange(n_pairs)[:, None]
    others = np.array(drawn, dtype=np.int64).reshape(n_pairs, n_distractors)
    return np.concatenate([own, others + (others >= own)], 1)


def rank_translations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    translations: Sequence[str],
    candidates: Int64[np.ndarray, "n c"],
) -> Ranking:
    """Return what each sentence's candidates cost, after a line with the sentence and alone.

    Args:
        model: a causal language model.
        tokenizer: of the model.
        sentences: what is translated.
        translations: of each sentence.
        candidates: indices into the translations, as `draw_candidates` gives them.
    """
    prompts = [f"{sentences[row]}\n" for row, places in enumerate(candidates) for _ in places]
    texts = [translations[index] for index in candidates.flat]
    after = bits_per_byte(model, tokenizer, texts, prompts=prompts)
    alone = bits_per_byte(model, tokenizer, translations)
    per_byte = np.array(after.bits) / np.array(after.n_bytes)
    per_byte_alone = np.array(alone.bits) / np.array(alone.n_bytes)
    return Ranking(per_byte.reshape(candidates.shape), per_byte_alone[candidates])
