"""A model directory's tokenizer, as transformers loads it."""

from pathlib import Path

from tokenizers import Tokenizer

from saltlm.errors import VocabularyError
from saltlm.tokenizer.sentencepiece import (
    check_conversion,
    find_sentencepiece,
    require_sentencepiece,
)


def load_tokenizer(directory: Path, *, trust_remote_code: bool = False) -> Tokenizer:
    """Return the fast tokenizer of a model directory, as transformers loads it.

    A directory that has only a SentencePiece model will do if its conversion loses nothing.

    Raises:
        VocabularyError: there is none.
        MissingExtraError: there is only a SentencePiece model, and no package to read it.
    """
    from transformers import AutoTokenizer

    slow = None
    if not (directory / "tokenizer.json").is_file():
        slow = find_sentencepiece(directory)
        if slow is None:
            raise VocabularyError(
                f"{directory} has neither tokenizer.json, the file of a fast tokenizer, nor a"
                " SentencePiece model",
                "save its tokenizer there with the tokenizers library, if it can be written so",
            )
        require_sentencepiece(slow)
    try:
        loaded = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # tokenizers raises plain Exception on a broken file
        reason = str(error).partition("\n")[0]
        raise VocabularyError(f"the tokenizer in {directory} cannot be loaded: {reason}") from error
    tokenizer = getattr(loaded, "backend_tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        raise VocabularyError(
            f"transformers loads the tokenizer in {directory} as a {type(loaded).__name__}, which "
            "is not a fast tokenizer",
            "set tokenizer_class to PreTrainedTokenizerFast in its tokenizer_config.json",
        )
    tokenizer.no_truncation()  # some files ask for it, and texts would be counted cut off or padded
    tokenizer.no_padding()
    if slow is not None:
        check_conversion(tokenizer, slow)
    return tokenizer


def check_ids(name: str, tokenizer: Tokenizer, n_rows: int) -> None:
    """Make sure that every token has a row.

    Args:
        name: of the model, for the message.
        tokenizer: its tokenizer.
        n_rows: of its embedding.

    Raises:
        VocabularyError: the tokenizer gives ids beyond the embedding.
    """
    beyond = sorted((id, token) for token, id in tokenizer.get_vocab().items() if id >= n_rows)
    if beyond:
        first = ", ".join(f"{token!r} ({id})" for id, token in beyond[:3])
        raise VocabularyError(
            f"{len(beyond)} tokens of {name} lie beyond the {n_rows} rows of its embedding: "
            f"{first}",
            "the tokenizer and the weights are of two models; fetch both from one place",
        )
