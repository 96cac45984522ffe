"""Shared fixtures: a small multilingual text, and a tiny tokenizer of each family made from it."""

import gc
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# On tiny tensors a second thread costs more than it brings.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from beartype import BeartypeConf
from beartype.claw import beartype_package
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

# Every call is checked against its signature. jaxtyping reads shapes too, which makes each call
# slower than beartype alone does: it goes where a shape is written.
_PACKAGE = Path(__file__).parents[1] / "src" / "saltlm"
WITH_SHAPES = sorted(
    ".".join(file.relative_to(_PACKAGE.parent).with_suffix("").parts)
    for file in _PACKAGE.rglob("*.py")
    if b"jaxtyping" in file.read_bytes()
)
_CONF = "is_pep484_tower=True"
beartype_package("saltlm", conf=BeartypeConf(is_pep484_tower=True, claw_is_pep526=False))
install_import_hook(WITH_SHAPES, f"beartype.beartype(conf=beartype.BeartypeConf({_CONF}))")

# Model libraries hold millions of objects, which the collector would go through again and again.
gc.set_threshold(200_000, 50, 50)


def pytest_collection_finish() -> None:
    """Let full collections look at what tests make only, not at all that was imported."""
    gc.freeze()


# A busy machine makes input slowly.
settings.register_profile(
    "suite", max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None
)
settings.load_profile("suite")

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps.",
    "A small model of the target language gives a new language to a large model.",
    "Open the file, read the first line and write the result to the table.",
    "In 2024 the price rose from 1,250 to 3,980 euros (about 318 %).",
    "Don't worry: it isn't the end of the world; there's always another day!",
    "Where is the new house? The old house is near the river and the sea.",
    "Der schnelle braune Fuchs springt über den faulen Hund und der Hund schläft.",
    "Das kleine Modell der Zielsprache gibt dem großen Modell eine neue Sprache.",
    "Öffnen Sie die Datei für den Benutzer, lesen Sie die erste Zeile und schließen Sie sie.",
    "Die Straße ist für Fußgänger und für Fahrräder gesperrt, auch für größere Fahrzeuge.",
    "Wo ist das neue Haus? Das alte Haus steht nahe am Fluss und am Meer.",
    "Im Jahr 2024 stieg der Preis von 1.250 auf 3.980 Euro (etwa 318 %).",
    "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق وقد وهبوا عقلا وضميرا.",
    "افتح الملف واقرأ السطر الأول ثم اكتب النتيجة في الجدول.",
    "أين البيت الجديد؟ البيت القديم قريب من النهر ومن البحر في المدينة.",
    "في عام 2024 ارتفع السعر من 1250 إلى 3980 يورو.",
    "Con cáo nâu nhanh nhẹn nhảy qua con chó lười và con chó đang ngủ.",
    "Mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "Hãy mở tập tin, đọc dòng đầu tiên và ghi kết quả vào bảng.",
    "Ngôi nhà mới ở đâu? Ngôi nhà cũ ở gần sông và gần biển, đi thẳng là đến.",
    "人人生而自由,在尊严和权利上一律平等。",
    "打开文件,读第一行,然后把结果写进表里。",
    "新房子在哪里?老房子离河和大海很近。",
    "Ça va très bien 😀 merci 🎉 à bientôt 👍🏽 !",
    "def f(x):\n    if x > 0:\n        return [x, x + 1]",
    "0 1 2 3 4 5 6 7 8 9 10 100 1000 a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "+ - * / = < > ( ) [ ] { } . , ; : ! ? # % & @ _ ~ ^ | \" ' `",
]

# Trained apart from what is used, so that no merge crosses words when the model is used without
# splitting, as in Llama.
_SPLIT = pre_tokenizers.Metaspace()
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no power to fail in a test, and memory enough."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(gc, "collect", lambda: 0)


@pytest.fixture(autouse=True)
def _no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``dtype=auto`` the same on every machine."""
    if "torch" in sys.modules:
        monkeypatch.setattr("torch.cpu.get_capabilities", dict, raising=False)


@pytest.fixture(scope="session")
def _few_english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("english") / "english.txt"
    file.write_text("\n".join(line for line in CORPUS[:6]), encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def _short_english(monkeypatch: pytest.MonkeyPatch, _few_english: Path) -> None:
    """Leave alone a few lines of English, not the shipped text: to read that takes a second."""
    if "saltlm.alignment.align" in sys.modules:
        monkeypatch.setattr("saltlm.alignment.align.OWN_ENGLISH", _few_english)


@pytest.fixture(autouse=True, scope="session")
def _no_proof() -> Iterator[None]:
    """Do not run two models after each transfer but in tests that ask for ``with_proof``."""
    with pytest.MonkeyPatch.context() as patch:
        if "saltlm.vocabulary_transfer.proof" in sys.modules:
            patch.setattr("saltlm.vocabulary_transfer.proof._LARGEST", -1)
        yield


@pytest.fixture
def with_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prove what a transfer writes, as users have it."""
    monkeypatch.setattr("saltlm.vocabulary_transfer.proof._LARGEST", 2**30)


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """Lines in English, German, Arabic, Vietnamese and Chinese, with digits, code and emoji."""
    return list(CORPUS)


def train_bytelevel() -> Tokenizer:
    """GPT-2's kind: byte alphabet, one token for bos, eos and unk."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def train_sentencepiece_bpe() -> Tokenizer:
    """Llama 2's kind: Prepend and Replace as normalizers, byte fallback, no pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = _SPLIT
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=specials + _BYTES, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    definition = json.loads(tokenizer.to_str())
    definition["pre_tokenizer"] = None
    definition["added_tokens"] = definition["added_tokens"][: len(specials)]
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    _frame(tokenizer, "<s>", None)
    return tokenizer


def train_metaspace_bpe() -> Tokenizer:
    """A SentencePiece BPE whose spaces are written by a Metaspace pre-tokenizer, without bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=["<pad>", "<s>", "</s>", "<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    _frame(tokenizer, "<s>", "</s>")
    return tokenizer


def _pieces() -> list[str]:
    """The pieces of the Metaspace BPE by rank, for the families whose training is not seeded."""
    by_rank = sorted((id, piece) for piece, id in train_metaspace_bpe().get_vocab().items())
    return [piece for id, piece in by_rank if id > 3]


def train_unigram() -> Tokenizer:
    """XLM-R's kind: Unigram with Metaspace, <s> and </s> around a text, a mask token at the end."""
    scored = [(piece, -math.log(rank + 2) - 8) for rank, piece in enumerate(_pieces())]
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram([(token, 0.0) for token in specials] + scored, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(specials)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    _frame(tokenizer, "<s>", "</s>")
    return tokenizer


def train_wordpiece() -> Tokenizer:
    """BERT's kind, cased: isolates punctuation and CJK, continues words with ##."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    bare = [piece.removeprefix("▁") for piece in _pieces() if piece != "▁"]
    inside = ["##" + piece for piece in _pieces() if not piece.startswith("▁")]
    words = [piece for piece in bare if piece.isalnum() or len(piece) == 1]
    vocabulary = dict.fromkeys(specials + words + inside)
    tokenizer = Tokenizer(
        models.WordPiece({piece: id for id, piece in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(specials)
    _frame(tokenizer, "[CLS]", "[SEP]")
    return tokenizer


def _frame(tokenizer: Tokenizer, first: str, last: str | None) -> None:
    """Set the post-processor that puts ``first`` before and ``last`` after a text."""
    end = f" {last}" if last else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A{end}",
        pair=f"{first} $A{end} $B:1{end}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last) if token],
    )


TRAINERS: dict[str, Callable[[], Tokenizer]] = {
    "bytelevel": train_bytelevel,
    "sentencepiece": train_sentencepiece_bpe,
    "metaspace": train_metaspace_bpe,
    "unigram": train_unigram,
    "wordpiece": train_wordpiece,
}

ROLES: dict[str, dict[str, str]] = {
    "bytelevel": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
    "sentencepiece": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "metaspace": {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    },
    "unigram": {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
    "wordpiece": {
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    },
}


@pytest.fixture(scope="session")
def tokenizers_by_family() -> dict[str, Tokenizer]:
    """One tokenizer of each family over the same text; treat them as read-only."""
    return {family: train() for family, train in TRAINERS.items()}


@pytest.fixture(scope="session")
def roles_by_family() -> dict[str, dict[str, str]]:
    """The roles of each family's special tokens, as ``tokenizer_config.json`` names them."""
    return {family: dict(roles) for family, roles in ROLES.items()}


@pytest.fixture
def save_tokenizer_dir() -> Callable[..., Path]:
    """A function that writes a tokenizer directory which ``AutoTokenizer`` loads.

    Call it as ``save_tokenizer_dir(tokenizer, directory, bos_token="<s>", ...)``; every keyword
    goes into ``tokenizer_config.json``. It adds to a directory that already holds a model.
    """

    def save(tokenizer: Tokenizer, directory: Path, **roles: object) -> Path:
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(directory / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
        (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        return directory

    return save
