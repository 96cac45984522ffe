"""The two models, read without their weights, and how their vocabularies meet."""

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedConfig

from saltlm.architecture import check_convertible, check_is_causal_lm, read_config
from saltlm.auxiliary import read_vectors
from saltlm.checkpoint import Checkpoint, open_checkpoint
from saltlm.config import TransferConfig
from saltlm.errors import VocabularyError
from saltlm.hub import resolve_model, revision_of
from saltlm.meeting import Meeting, meet
from saltlm.roles import SpecialTokens, read_special_tokens
from saltlm.slow_tokenizer import check_conversion, find_sentencepiece, require_sentencepiece
from saltlm.tables import Tables, read_tables


@dataclass(frozen=True)
class Side:
    """One of the two models.

    Attributes:
        name: as the user gave it.
        directory: where its files are.
        revision: commit of the Hub repository; None for a local directory.
    """

    name: str
    directory: Path
    revision: str | None
    config: PreTrainedConfig
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    special: SpecialTokens


@dataclass(frozen=True)
class Pair:
    """Two models with their per-token tables, and how their vocabularies meet."""

    source: Side
    plm: Side
    tables: Tables
    plm_tables: Tables
    meeting: Meeting


def read_pair(source: str, plm: str, config: TransferConfig) -> Pair:
    """Read all of two models that a transfer needs, and let their vocabularies meet.

    Args:
        source: Hub id or directory of the LLM.
        plm: Hub id or directory of the target-language model.
        config: options of the transfer.

    Raises:
        CheckpointError: a model is not there, the source is no causal LLM, or a table is missing
            or damaged.
        VocabularyError: a tokenizer cannot be read, or has tokens without rows.
    """
    left = load_side(source, trust_remote_code=config.trust_remote_code)
    load_plm = load_side if config.plm_vectors is None else load_tokenizer_side
    right = load_plm(plm, trust_remote_code=config.trust_remote_code)
    check_is_causal_lm(left.config, left.directory)
    if config.dtype is not None:
        check_convertible(left.config, left.directory)
    other = _other_tokenizer(config)
    names = config.tensors
    tables = read_tables(
        left.checkpoint,
        left.config,
        side="source",
        embedding=names.source_embedding,
        head=names.source_head,
    )
    check_ids(left.name, left.tokenizer, len(tables.embedding))
    if config.plm_vectors is None:
        plm_tables = read_tables(
            right.checkpoint, right.config, side="plm", embedding=names.plm_embedding
        )
        check_ids(right.name, right.tokenizer, len(plm_tables.embedding))
    meeting = meet(
        left.tokenizer,
        left.special,
        right.tokenizer,
        right.special,
        config,
        n_source_rows=len(tables.embedding),
        other=other,
    )
    if config.plm_vectors is not None:
        rows = read_vectors(config.plm_vectors, meeting.surface[: len(meeting.plm)]).matrix
        plm_tables = Tables(rows, None, None, {"embedding": (config.plm_vectors,)}, is_tied=False)
    return Pair(left, right, tables, plm_tables, meeting)


def _other_tokenizer(config: TransferConfig) -> tuple[Tokenizer, SpecialTokens] | None:
    """Return the tokenizer that is wanted instead of the PLM's, with its special tokens."""
    if config.target_tokenizer is None:
        return None
    directory = resolve_model(config.target_tokenizer, with_weights=False)
    tokenizer = load_tokenizer(directory, trust_remote_code=config.trust_remote_code)
    return tokenizer, read_special_tokens(directory, tokenizer)


def load_side(ref: str, *, trust_remote_code: bool = False) -> Side:
    """Find a model and read everything but its weights.

    Raises:
        CheckpointError: the model is not there, or its files are not sound.
        VocabularyError: it has no fast tokenizer.
    """
    directory = resolve_model(ref)
    config = read_config(directory, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(directory, trust_remote_code=trust_remote_code)
    return Side(
        name=ref,
        directory=directory,
        revision=revision_of(directory),
        config=config,
        checkpoint=open_checkpoint(directory),
        tokenizer=tokenizer,
        special=read_special_tokens(directory, tokenizer),
    )


def load_tokenizer_side(ref: str, *, trust_remote_code: bool = False) -> Side:
    """Find a tokenizer whose rows come from elsewhere.

    Raises:
        CheckpointError: the directory is not there.
        VocabularyError: it has no fast tokenizer.
    """
    directory = resolve_model(ref, with_weights=False)
    tokenizer = load_tokenizer(directory, trust_remote_code=trust_remote_code)
    return Side(
        name=ref,
        directory=directory,
        revision=revision_of(directory),
        config=PreTrainedConfig(),
        checkpoint=Checkpoint(directory, {}, (), {}),
        tokenizer=tokenizer,
        special=read_special_tokens(directory, tokenizer),
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
