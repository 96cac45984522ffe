"""A tokenizer of which there are only vocab.json and merges.txt: BPE, as in GPT-2 or HerBERT."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from saltlm.errors import VocabularyError
from saltlm.files.json_object import read_json
from saltlm.tokenizer.declared import Declared
from saltlm.tokenizer.unconvertible import MULTILINGUAL, resave_command

_SUFFIX = "</w>"
_SPACE = "\u0120"  # a space in the byte alphabet
_CUT_LIKE_GPT2 = (
    *("gpt2", "gptneo", "gptj", "gptbigcode", "codegen", "opt", "phi", "whisper"),
    *("roberta", "robertaprelayernorm", "longformer", "bart", "led", "mvp", "deberta", "luke"),
)


def tokenizer_of_merges(declared: Declared) -> tuple[Tokenizer, tuple[str, ...]]:
    """Return the BPE tokenizer of a directory's vocab.json and merges.txt, and notes on it.

    Pieces in the byte alphabet are cut as GPT-2 cuts; pieces that end words with ``</w>``, as
    HerBERT and the first GPT cut, in words of BERT.

    Raises:
        VocabularyError: the pieces are of another kind, or the files do not fit together.
    """
    directory = declared.directory
    vocabulary: dict[str, int] = read_json(directory / "vocab.json")
    suffixed = any(piece.endswith(_SUFFIX) for piece in vocabulary)
    is_byte_level = not suffixed and any(piece.startswith(_SPACE) for piece in vocabulary)
    if is_byte_level and declared.kind in _CUT_LIKE_GPT2:
        tokenizer = Tokenizer(_model(declared, vocabulary))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=bool(declared.settings.get("add_prefix_space", False))
        )
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        return tokenizer, ()
    if suffixed and declared.kind in ("herbert", "openaigpt"):
        unknown = declared.token("unk", "<unk>")
        tokenizer = Tokenizer(
            _model(declared, vocabulary, unk_token=unknown, end_of_word_suffix=_SUFFIX)
        )
        is_lower = declared.kind == "openaigpt"
        tokenizer.normalizer = normalizers.BertNormalizer(
            lowercase=is_lower, strip_accents=is_lower
        )
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.BPEDecoder(suffix=_SUFFIX)
        return tokenizer, ()
    name = declared.class_name or declared.kind or "nameless class"
    raise VocabularyError(
        f"{directory} has vocab.json and merges.txt, but how a {name} cuts text into words"
        " stands in neither",
        f"let transformers write a tokenizer.json, if it knows: {resave_command(str(directory))}"
        if is_byte_level
        else f"put the model's tokenizer.json into {directory}, or {MULTILINGUAL}",
    )


def _model(declared: Declared, vocabulary: dict[str, int], **settings: str) -> models.BPE:
    file = declared.directory / "merges.txt"
    lines = declared.text(file.name).split("\n")
    merges = [
        (parts[0], parts[1])
        for number, line in enumerate(lines)
        if len(parts := line.rstrip("\r").split(" ")) == 2
        and not (number == 0 and line.startswith("#version"))
    ]
    try:
        return models.BPE(vocabulary, merges, **settings)
    except Exception as error:  # tokenizers raises plain Exception
        raise VocabularyError(
            f"{file} does not fit vocab.json beside it: {error}",
            "fetch both files anew, from one place",
        ) from error
