"""What a model could do before, given back: an adapted model and the one it was made of, merged.

The body is put together tensor by tensor, so that few tensors exist at once; rows of new tokens
stay as the adaptation left them.
"""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from saltlm.adaptation.merge_chat import take_chat_settings
from saltlm.adaptation.merge_parts import (
    Model,
    Recipe,
    SameRows,
    counterparts,
    match_rows,
    read_model,
    replacements_of,
)
from saltlm.adaptation.merge_select import WEIGHTS, Curve, HeldOut, best_weight, measure_candidate
from saltlm.adaptation.write_model import copy_settings
from saltlm.config.merge import MERGE_METHODS, SHARED_ROWS, SPECIAL_ROWS
from saltlm.config.reading import in_a_row
from saltlm.errors import ConfigError
from saltlm.evaluation.device import chosen_device
from saltlm.evaluation.results import model_hash
from saltlm.files.atomic import check_place, left_by_killed_run, new_directory
from saltlm.files.documents import first
from saltlm.files.markdown import as_markdown
from saltlm.files.source import fingerprint
from saltlm.models.write import Replacement, write_checkpoint
from saltlm.record.card import check_record, licence_of, merge_text, model_card, with_section
from saltlm.record.manifest import FOLDER, Manifest, environment, read_manifest, write_manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class MergeResult:
    """What a merge ended with.

    Attributes:
        directory: the merged model.
        method: that put tensors together.
        weight: 0 is the base and 1 the adapted model; of a chat vector, its length.
        bits_per_byte: with ``select``, weight -> text -> bits per byte; else empty.
        rows: how many rows are special, shared and new.
    """

    directory: Path
    method: str
    weight: float
    bits_per_byte: Curve
    rows: dict[str, int]

    def __str__(self) -> str:
        lines = [
            f"\n  {weight:g}: {bits_as_words(one)}" for weight, one in self.bits_per_byte.items()
        ]
        head = f"{self.directory}: {self.method}, weight {self.weight:g}"
        return f"{head}{''.join(lines)}"

    def __repr__(self) -> str:
        return f"MergeResult({self})"


def merge(
    base: str | Path,
    adapted: str | Path,
    out: str | Path,
    *,
    method: str = "linear",
    weight: float | None = None,
    ends: str | Sequence[float] = (),
    special: str = "base",
    shared: str = "adapted",
    pretrained: str | Path | None = None,
    select: bool = False,
    heldout: str | Path | Sequence[str | Path] = (),
    english: str | Path | Sequence[str | Path] = (),
    documents: int = 100,
    device: str | None = None,
    trust_remote_code: bool = False,
    force: bool = False,
) -> MergeResult:
    """Merge an adapted model with the one that it was made of, and write a model directory.

    Args:
        base: Hub id or directory of the model whose abilities are to come back: the SOURCE of the
            transfer, or for a chat vector the chat model.
        adapted: the adapted model; its vocabulary and settings are the new model's.
        out: the directory to make.
        method: ``linear``, ``slerp``, or ``chat-vector``.
        weight: 0 is the base and 1 the adapted model; of a chat vector, its length. Default 0.5, 1
            of a chat vector.
        ends: weights of the first and last layers, from the outermost on, where they are others.
        special: whose rows special tokens get.
        shared: whose rows tokens of both vocabularies get.
        pretrained: what the chat model was made of, for a chat vector.
        select: take the weight with the fewest bits per byte of both texts.
        heldout: text of the target language that no model has seen.
        english: English text likewise.
        documents: of each text that are measured.
        device: where candidates are measured; by default the first GPU, or else the CPU.
        trust_remote_code: run code that a model brings along.
        force: replace ``out`` if it exists.

    Raises:
        ConfigError: the options do not fit together.
        SaltlmError: a model or a text cannot be read, the models do not fit together, or ``out``
            cannot be written.
    """
    recipe = _recipe(method, weight, ends, special, shared, pretrained, select)
    texts = _texts(select, in_a_row(heldout), in_a_row(english), documents)
    if texts is not None:
        texts = replace(texts, device=chosen_device(device), trust_remote_code=trust_remote_code)
    check_place(Path(out), force=force)
    names = [str(base), *([] if pretrained is None else [str(pretrained)])]
    own = read_model(str(adapted), trust_remote_code=trust_remote_code)
    check_record(own.parent.directory)
    others = [read_model(name, trust_remote_code=trust_remote_code) for name in names]
    rows, body = match_rows(own, others), counterparts(own, others)
    merging = Merging(own, others, rows, body, trust_remote_code)
    size = own.parent.checkpoint.nbytes
    with new_directory(Path(out), force=force, expected_bytes=size * (1 + select)) as directory:
        curve: Curve = {}
        if texts is not None:
            curve = merging.measured(recipe, texts, directory.parent / "candidate")
            recipe = replace(recipe, weight=best_weight(curve))
        merging.write(recipe, directory, earlier=left_by_killed_run(directory))
        record = merging.record(recipe, curve, texts)
        _write_record(own.parent.directory, directory, Path(out).name, record)
    result = MergeResult(Path(out), method, recipe.weight, curve, record["rows"])
    logger.info("%s: %s", out, merge_text(record))
    return result


@dataclass(frozen=True)
class Merging:
    """The models that take part, and which tensors and rows of them belong together."""

    adapted: Model
    others: list[Model]
    rows: SameRows
    body: dict[str, list[str]]
    trust_remote_code: bool

    def write(self, recipe: Recipe, directory: Path, earlier: Path | None = None) -> None:
        """Write weights and settings."""
        new: Mapping[str, Replacement] = replacements_of(
            self.adapted, self.others, self.rows, self.body, recipe
        )
        write_checkpoint(self.adapted.parent.checkpoint, directory, new, earlier=earlier)
        copy_settings(self.adapted.parent.directory, directory, with_code=self.trust_remote_code)
        if recipe.method == "chat-vector":
            take_chat_settings(directory, self.adapted.parent, self.others[0].parent)

    def measured(self, recipe: Recipe, texts: HeldOut, place: Path) -> Curve:
        """Return the bits per byte of each weight; candidates are written aside, one at a time."""
        curve: Curve = {}
        for weight in WEIGHTS:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            self.write(replace(recipe, weight=weight), place)
            curve[weight] = measure_candidate(place, texts)
            logger.info("weight %g: %s bits per byte", weight, bits_as_words(curve[weight]))
        shutil.rmtree(place)
        return curve

    def record(self, recipe: Recipe, curve: Curve, texts: HeldOut | None) -> dict[str, Any]:
        """Return what the manifest says of the merge."""
        roles = ["adapted", "base", "pretrained"]
        models = {
            role: {
                "name": model.parent.name,
                "revision": model.parent.revision,
                "licence": licence_of(model.parent.directory),
                "sha256": model_hash(model.parent.directory),
            }
            for role, model in zip(roles, [self.adapted, *self.others], strict=False)
        }
        n_special, n_shared = int(self.rows.is_special.sum()), int(self.rows.is_shared.sum())
        n_new = len(self.rows.is_special) - n_special - n_shared
        return {
            **models,
            **asdict(recipe),
            "ends": list(recipe.ends),
            "rows": {"special": n_special, "shared": n_shared, "new": n_new},
            "selected_on": None if texts is None else {**texts.files, "documents": texts.counts},
            "bits_per_byte": {f"{weight:g}": one for weight, one in curve.items()},
            "environment": environment(),
        }


def bits_as_words(one: Mapping[str, float]) -> str:
    """Return bits per byte of texts as words."""
    return ", ".join(f"{name} {value:.3f}" for name, value in one.items())


def _recipe(
    method: str,
    weight: float | None,
    ends: str | Sequence[float],
    special: str,
    shared: str,
    pretrained: str | Path | None,
    select: bool,
) -> Recipe:
    """Check options by themselves and against each other."""
    for name, value, known in (
        ("method", method, MERGE_METHODS),
        ("special", special, SPECIAL_ROWS),
        ("shared", shared, SHARED_ROWS),
    ):
        if value not in known:
            raise ConfigError(f"there is no --{name} {value}", f"known: {', '.join(known)}")
    is_vector = method == "chat-vector"
    if is_vector != (pretrained is not None):
        raise ConfigError(
            "--method chat-vector needs --pretrained, and no other method takes it",
            "a chat vector is BASE, a chat model, minus the model that it was tuned from:"
            " --method chat-vector --pretrained DIR",
        )
    if select and weight is not None:
        raise ConfigError(
            f"--select chooses the weight, so it cannot be {weight:g}", "leave out one of the two"
        )
    parts = ends.split(",") if isinstance(ends, str) else ends
    try:
        numbers = tuple(float(part) for part in parts if part != "")
    except ValueError as error:
        raise ConfigError(f"--ends {ends!r}: {error}", "for instance --ends 0.7,0.5") from None
    chosen = (1.0 if is_vector else 0.5) if weight is None else float(weight)
    for number in (chosen, *numbers):
        if not math.isfinite(number) or (not is_vector and not 0 <= number <= 1):
            raise ConfigError(
                f"a weight of {number:g}: 0 is BASE and 1 is ADAPTED", "choose 0 <= weight <= 1"
            )
    return Recipe(method, chosen, numbers, special, shared)


def _texts(
    select: bool,
    heldout: Sequence[str | Path],
    english: Sequence[str | Path],
    documents: int,
) -> HeldOut | None:
    """Return the texts that the weight is chosen on; None if it is given.

    Raises:
        ConfigError: one of the two is missing, or is there for nothing.
        DataError: one of them cannot be read.
    """
    if select != bool(heldout) or select != bool(english):
        raise ConfigError(
            "--select needs --heldout and --english, and only it does: the weight is chosen by the"
            " bits per byte of both languages",
            "saltlm merge BASE ADAPTED --out DIR --select --heldout de.txt --english en.txt",
        )
    if not select:
        return None
    files = {"target": list(map(Path, heldout)), "English": list(map(Path, english))}
    return HeldOut(
        texts={
            name: first(paths, documents, "--heldout" if name == "target" else "--english")
            for name, paths in files.items()
        },
        files={name: {str(f): fingerprint(f) for f in paths} for name, paths in files.items()},
    )


def _write_record(adapted: Path, directory: Path, name: str, record: dict[str, Any]) -> None:
    """Write manifest, provenance and card."""
    manifest: Manifest = {"kind": "merged"}
    (directory / FOLDER).mkdir()
    if (adapted / FOLDER / "manifest.json").is_file():
        manifest = read_manifest(adapted)
    provenance = adapted / FOLDER / "provenance.safetensors"
    if provenance.is_file():
        shutil.copyfile(provenance, directory / FOLDER / provenance.name)
    manifest["merges"] = [*manifest.get("merges", []), record]
    write_manifest(directory, manifest)
    card = directory / "README.md"
    if manifest["kind"] == "transfer":  # which made a card
        text = model_card(name, manifest)
    else:
        text = card.read_text(encoding="utf-8") if card.is_file() else f"# {name}\n"
        merges = "\n\n".join(as_markdown(merge_text(one)) for one in manifest["merges"])
        text = with_section(text, "saltlm merge", f"## Merge\n\n{merges}")
    card.write_text(text, encoding="utf-8")
