"""The steps of the demo: the pair, the method, the training, and what the models are worth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from saltlm.adaptation.adapt import adapt
from saltlm.adaptation.config import load_adapt_config
from saltlm.adaptation.run_folder import RunFolder
from saltlm.comparison.curves import read_curve
from saltlm.comparison.results import Point
from saltlm.config.transfer import PRESETS
from saltlm.evaluation.bits_per_byte import BitsPerByte, bits_per_byte
from saltlm.evaluation.results import SCHEMA, Evaluation, ModelRecord, Result, ratio
from saltlm.evaluation.side_by_side import write_summary
from saltlm.evaluation.task import ENGINE
from saltlm.files.documents import first
from saltlm.models.skeleton import hide_bars
from saltlm.recipes.demo.assets import E5_SMALL, SMOLLM2, fetch_asset, make_directory
from saltlm.tokenizer.fertility import Fertility, fertility
from saltlm.vocabulary_transfer.prune_model import prune_model

_CORPUS = Path(__file__).parent / "corpus"
_DOCUMENTS = 24  # held out in each language; of Vietnamese there are 8

# What the yardstick compares: the paper's method, its strongest rival, and what the preset takes.
CANDIDATES = ("salt", "salt:ridge=1.0:centred=True", "focus", PRESETS["best"]["method"])

BUDGET = 24_000  # tokens of training: a minute or two on two cores
TRAINING = (
    f"tokens={BUDGET}",
    "eval_every=24",
    "save_every=1000",
    "keep=1",
    f"eval_documents={_DOCUMENTS}",
)
TAUGHT = (*TRAINING, "teacher=ngrams")  # what the new model gets

# Words whose neighbours are worth a look, in each language that the demo can add.
WORDS = {
    "de": ("Netzwerk", "Sprache", "löschen"),
    "ar": ("النظام", "الملفات", "لغة"),
    "vi": ("mạng", "mở", "ngữ"),
}


@dataclass(frozen=True)
class DemoPair:
    """The models of the demo, and the text that they meet over.

    Attributes:
        source: directory of the English LLM.
        plm: directory of the PLM, cut to the tokens of the text.
        corpus: the text.
    """

    source: Path
    plm: Path
    corpus: Path


@dataclass(frozen=True)
class Measurement:
    """A model on held-out text of one language."""

    model: str
    language: str
    fertility: Fertility
    bits: BitsPerByte

    @property
    def cells(self) -> tuple[object, ...]:
        """What a table shows of it."""
        low, high = self.bits.interval()
        return (
            self.model,
            self.language,
            self.bits.value,
            f"{low:.2f} to {high:.2f}",
            self.fertility.tokens_per_word,
            self.fertility.bytes_per_token,
            f"{self.bits.lost_share:.2%}",
        )


def prepare_pair(language: str, out: Path, cache: Path) -> DemoPair:
    """Return the demo's models, fetched into the cache and the PLM cut to a language.

    Args:
        language: "de", "ar" or "vi".
        out: where the cut PLM goes; what an earlier demo left there is replaced.
        cache: where the fetched models stay.

    Raises:
        CheckpointError: a model cannot be fetched.
        OutputError: there is no place to write.
    """
    make_directory(out, "--out")
    source, multilingual = (fetch_asset(asset, cache) for asset in (SMOLLM2, E5_SMALL))
    corpus = _CORPUS / f"{language}.txt.gz"
    plm = out / f"{multilingual.name}-{language}"
    prune_model(multilingual, plm, [corpus], force=True)
    return DemoPair(source, plm, corpus)


def held_out(language: str) -> Path:
    """Return the text that no model of the demo is trained on."""
    return _CORPUS / f"{language}.heldout.txt.gz"


def train_briefly(
    model: Path,
    out: Path,
    language: str,
    corpus: Path,
    options: Sequence[str],
    english: Sequence[Path] = (),
) -> list[Point]:
    """Continue the pre-training of a model and return its curve on the held-out text.

    Args:
        model: directory of the transferred model, or of the untouched one.
        out: the directory to make; what an earlier demo left there is replaced.
        language: of the text.
        corpus: text to train on.
        options: of the training, `TRAINING` or `TAUGHT`.
        english: text that is mixed in, so that English is not forgotten.

    Raises:
        SaltlmError: training cannot go on.
    """
    texts = {"data": [str(corpus)], "heldout": [str(held_out(language))]}
    texts["english"] = [str(file) for file in english]
    result = adapt(model, out, config=load_adapt_config(None, options, **texts), resume="never")
    return read_curve(RunFolder(result.directory).metrics)


def measure_languages(models: dict[str, Path], languages: list[str]) -> Iterator[Measurement]:
    """Yield how finely each model cuts held-out text, and its bits per byte.

    Args:
        models: name -> directory.
        languages: of the text.
    """
    hide_bars()
    for name, directory in models.items():
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto", local_files_only=True)
        for language in languages:
            texts = first([held_out(language)], _DOCUMENTS)
            yield Measurement(
                model=name,
                language=language,
                fertility=fertility(tokenizer, texts),
                bits=bits_per_byte(model, tokenizer, texts),
            )


def keep_measurements(seen: Sequence[Measurement], models: dict[str, Path], out: Path) -> None:
    """Write what was measured as ``saltlm evaluate`` writes it, so that the report can show it.

    Args:
        seen: by `measure_languages`.
        models: name -> directory, as measured.
        out: the directory of the evaluation.
    """
    records = {name: ModelRecord(name=str(path), sha256="") for name, path in models.items()}
    results = tuple(
        tuple(_result(one, record) for one in seen if one.model == name)
        for name, record in records.items()
    )
    out.mkdir(exist_ok=True)
    write_summary(Evaluation(tuple(records.values()), results, ()), out)


def _result(one: Measurement, record: ModelRecord) -> Result:
    return Result(
        schema=SCHEMA,
        model=record,
        task="English text" if one.language == "en" else "target text",
        version="1",
        engine=ENGINE,
        settings={"documents": _DOCUMENTS},
        data=str(held_out(one.language).name),
        seed=0,
        metrics={
            "bits per byte": ratio(one.bits.bits, one.bits.n_bytes, better="lower", seed=0),
        },
        details={},
        seconds=0.0,
        environment={},
    )
