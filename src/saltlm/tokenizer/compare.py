"""The tokenizer of a file beside the one that transformers makes of the same directory.

transformers may rebuild a tokenizer from the class that a directory names, or from the type of the
model, and forget steps that stand in ``tokenizer.json``.
"""

from pathlib import Path

from tokenizers import Tokenizer

from saltlm.tokenizer.declared import FLAGS, Declared, token_string
from saltlm.tokenizer.probes import PROBES
from saltlm.tokenizer.special_tokens import SEQUENCE_A, SEQUENCE_B, read_framing

_MOST_NAMED = 4
_WITHOUT_RULES = ("PreTrainedTokenizerFast", "TokenizersBackend")
_LISTS_OF_TOKENS = ("additional_special_tokens", "extra_special_tokens")
_PATCHED = ("mistral", "ministral", "pixtral", "voxtral")  # models whose cutting is mended
_NO_RULES = {
    *("tokenizer_class", "backend", "is_local", "local_files_only", "name_or_path"),
    *("model_max_length", "model_input_names", "padding_side", "truncation_side"),
    *("clean_up_tokenization_spaces", "chat_template", "added_tokens_decoder"),
}
"""Settings on which nothing hangs that cuts text."""


def differing_probes(one: Tokenizer, other: Tokenizer) -> list[str]:
    """Return the names of the probes that two tokenizers give different ids."""
    return [
        name
        for name, text in PROBES.items()
        if one.encode(text, add_special_tokens=False).ids
        != other.encode(text, add_special_tokens=False).ids
    ]


def load_with_transformers(directory: Path, *, trust_remote_code: bool = False) -> Tokenizer | str:
    """Return the tokenizer that transformers makes of a directory, or why it makes none."""
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=trust_remote_code
        )
        backend = getattr(loaded, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            return f"its {type(loaded).__name__} is written in Python alone"
        backend.encode_batch([*PROBES.values()])  # a WordPiece without its unknown piece gives up
    except Exception as error:  # tokenizers raises plain Exception on a broken file
        return str(error).strip().partition("\n")[0] or type(error).__name__
    backend.no_truncation()
    backend.no_padding()
    return backend


def is_taken_as_it_stands(declared: Declared, tokenizer: Tokenizer) -> bool:
    """Tell whether transformers changes nothing of a ``tokenizer.json``, by what it would look at.

    So it is where the directory names a class that has no rules of its own, its type of model none
    that goes before, and every setting is one that no rule hangs on.

    Args:
        declared: what the directory says.
        tokenizer: of the file alone.
    """
    from transformers.models.auto import tokenization_auto as auto

    known = {
        token.content: tuple(getattr(token, flag) for flag in FLAGS)
        for token in tokenizer.get_added_tokens_decoder().values()
    }
    named = {key: value for key, value in declared.settings.items() if key.endswith("_token")}
    lists = [declared.settings.get(key) or () for key in _LISTS_OF_TOKENS]
    tokens = [*named.values(), *(token for tokens in lists for token in tokens)]
    return (
        declared.class_name in _WITHOUT_RULES
        and declared.model_type not in auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
        and not any(name in declared.model_type for name in _PATCHED)
        and declared.settings.keys() <= {*named, *_LISTS_OF_TOKENS, *_NO_RULES}
        and all(token is None or token_string(token) in known for token in tokens)
        and all(
            known.get(token["content"]) == tuple(token.get(flag) for flag in FLAGS)
            for token in declared.added.values()
        )
        and not (declared.directory / "special_tokens_map.json").exists()
    )


def take_framing(tokenizer: Tokenizer, loaded: Tokenizer) -> None:
    """Put those special tokens around a text that transformers puts there; edits the first.

    Nothing changes where the two agree already, or where the tokens have other ids.
    """
    theirs = read_framing(loaded)
    if theirs == read_framing(tokenizer) or loaded.post_processor is None:
        return
    pieces = {piece for piece, _ in theirs.single + theirs.pair} - {SEQUENCE_A, SEQUENCE_B}
    if all(tokenizer.token_to_id(piece) == loaded.token_to_id(piece) for piece in pieces):
        tokenizer.post_processor = loaded.post_processor


def differences(tokenizer: Tokenizer, loaded: Tokenizer | str, directory: Path) -> list[str]:
    """Say what transformers makes otherwise; nothing if it cuts every probe alike.

    Args:
        tokenizer: as the directory's files say.
        loaded: of `load_with_transformers`.
        directory: for the message.
    """
    import transformers

    name = f"transformers {transformers.__version__}"
    if isinstance(loaded, str):
        return [
            f"{name} does not load the tokenizer in {directory}: {loaded}; saltlm reads its files"
        ]
    differing = differing_probes(tokenizer, loaded)
    if not differing:
        return []
    first = PROBES[differing[0]]
    ours, theirs = (
        each.encode(first, add_special_tokens=False).tokens for each in (tokenizer, loaded)
    )
    at = next(
        (at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
        min(len(ours), len(theirs)),
    )
    start = max(0, at - 1)
    more = f" and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
    return [
        f"{name} loads another tokenizer from {directory} than its files say: it cuts"
        f" {', '.join(differing[:_MOST_NAMED])}{more} differently"
        f" ({theirs[start : at + 3]} for {ours[start : at + 3]}); saltlm takes the file"
    ]
