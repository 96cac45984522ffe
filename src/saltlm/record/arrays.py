"""The file ``DIR/saltlm/provenance.safetensors`` as arrays: what is looked up needs no torch."""

from enum import IntEnum
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import safe_open

from saltlm.errors import CheckpointError
from saltlm.files.damage import reading
from saltlm.files.json_object import parse_json
from saltlm.record.manifest import FOLDER

_PER_ID = ("plm_ids", "source_ids")
_PER_ANCHOR = ("anchor_plm_ids", "anchor_source_ids")
_PER_NEW = ("residual", "norm_ratio")
_PER_NEIGHBOUR = ("weights", "cosines", "coefficients")
_PARTS = ("origin", "anchor_ids", "new_ids", "offsets", "indices")
_NEEDED = {*_PARTS, *_PER_ID, *_PER_ANCHOR, *_PER_NEW, *_PER_NEIGHBOUR}
_MAY_BE = {"piece_offsets", "piece_ids"}


class Origin(IntEnum):
    """Where a row of the new model comes from."""

    SHARED = 0  # copied: the token stands in both vocabularies
    MADE = 1  # made by the method: with SALT, the linear map of its PLM row
    SAMPLED = 2  # drawn: the token has no auxiliary vector, or no PLM row
    SPECIAL = 3  # copied: a special token of the source
    PADDING = 4  # of no token: the mean of the others, up to a round number of rows
    KEPT = 5  # copied: the source has the token, and the PLM does not (extended vocabularies)


Arrays = dict[str, NDArray[Any]]


def provenance_file(directory: Path) -> Path:
    """Return where a directory's record of its rows is."""
    return directory / FOLDER / "provenance.safetensors"


def read_arrays(directory: Path) -> tuple[Arrays, tuple[str, ...]]:
    """Read what `saltlm.record.provenance.Provenance` holds.

    Args:
        directory: as `saltlm transfer` wrote it.

    Returns:
        The arrays by the names that they have there, and the names of anchors.

    Raises:
        CheckpointError: the directory was not made by saltlm, or its record is damaged.
    """
    file = provenance_file(directory)
    if not file.is_file():
        raise CheckpointError(
            f"{directory} has no {file.relative_to(directory)}: saltlm did not make it",
            "saltlm transfer SOURCE PLM --out DIR makes a directory with a record",
        )
    with reading(file, CheckpointError, "run saltlm transfer again with --force"):
        with safe_open(file, "np") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            names = parse_json((opened.metadata() or {}).get("anchor_names", "[]"))
        _check(arrays, len(names))
        return arrays, tuple(names)


def _check(arrays: Arrays, n_names: int) -> None:
    """Make sure that the arrays fit together.

    Raises:
        ValueError: they do not, or point at what is not there.
    """
    if wrong := sorted(_NEEDED ^ (arrays.keys() - _MAY_BE)):
        raise ValueError(f"{', '.join(map(repr, wrong))}: missing there, or not known here")
    sizes = {name: len(array) for name, array in arrays.items()}
    v, n, m = sizes["origin"], sizes["anchor_ids"], sizes["new_ids"]
    near, offsets = arrays["indices"], arrays["offsets"]
    groups = [(_PER_ID, v), (_PER_ANCHOR, n), (_PER_NEW, m), (_PER_NEIGHBOUR, len(near))]
    groups.append((("offsets",), m + 1))
    if any(sizes[name] != wanted for names, wanted in groups for name in names):
        raise ValueError(f"{v} ids, {n} anchors and {m} new tokens do not fit its tables")
    unnamed = int((arrays["anchor_ids"] < 0).sum()) > n_names
    if unnamed or not set(arrays["origin"].tolist()) <= {*Origin}:
        raise ValueError("it has an origin that is none, or an anchor without a name")
    spans = [(near, n), (offsets, len(near) + 1), (arrays["new_ids"], v)]
    if any(len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < end for ids, end in spans):
        raise ValueError("it points at a token that is not there")
