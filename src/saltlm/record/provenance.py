"""How every row of a model came about: ``DIR/saltlm/provenance.safetensors``."""

import json
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path

from jaxtyping import Float, Int64, UInt8
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from saltlm.errors import CheckpointError
from saltlm.files.damage import reading
from saltlm.files.json_object import parse_json
from saltlm.methods.linear import Fit
from saltlm.methods.neighbours import Neighbours
from saltlm.record.manifest import FOLDER


@dataclass(frozen=True)
class Provenance:
    """How every row of a model came about, one entry per id or per MADE token.

    Attributes:
        origin: a `rows.Origin` per id.
        plm_ids: the PLM's id of the token, -1 if it has none.
        source_ids: the source's id that the row was copied from, -1 if it was not.
        anchor_ids: ids of the anchors; the neighbours' indices point into this. -1 for an anchor
            that is no token of the new model.
        anchor_plm_ids: the PLM's ids of the anchors, -1 for those whose row is a mean of pieces.
        anchor_source_ids: the anchors' rows in the source.
        new_ids: ids of the MADE tokens, in the order of ``neighbours`` and ``fit``.
        neighbours: of each MADE token.
        fit: coefficients and residual of each MADE token.
        norm_ratio: norm of each MADE row over the mean norm of the anchors' rows in the source.
        anchor_names: the anchors that are no tokens of the new model, which are the last, as the
            source writes them.
        piece_offsets: where the pieces of each id begin in ``piece_ids``; the last entry is their
            number. None if every token has a PLM row of its own or none.
        piece_ids: the PLM's tokens whose mean stands for the PLM row that a token does not have.
    """

    origin: UInt8[Tensor, " v"]
    plm_ids: Int64[Tensor, " v"]
    source_ids: Int64[Tensor, " v"]
    anchor_ids: Int64[Tensor, " n"]
    anchor_plm_ids: Int64[Tensor, " n"]
    anchor_source_ids: Int64[Tensor, " n"]
    new_ids: Int64[Tensor, " m"]
    neighbours: Neighbours
    fit: Fit
    norm_ratio: Float[Tensor, " m"]
    anchor_names: tuple[str, ...] = ()
    piece_offsets: Int64[Tensor, " v_plus_1"] | None = None
    piece_ids: Int64[Tensor, " pieces"] | None = None

    def pieces(self, id: int) -> list[int]:
        """Return the PLM's tokens that a token's PLM row is the mean of; none if it has its own."""
        if self.piece_offsets is None or self.piece_ids is None:
            return []
        return self.piece_ids[self.piece_offsets[id] : self.piece_offsets[id + 1]].tolist()

    def save(self, directory: Path) -> None:
        """Write ``provenance.safetensors`` into the record folder of ``directory``."""
        flat = {
            field.name: value
            for part in (self, self.neighbours, self.fit)
            for field in fields(part)
            if isinstance(value := getattr(part, field.name), Tensor)
        }
        folder = directory / FOLDER
        folder.mkdir(exist_ok=True)
        file = _provenance_file(directory)
        # Clones: with FOCUS the coefficients are the weights, and a file holds no tensor twice.
        file.write_bytes(
            save(
                {name: tensor.clone() for name, tensor in flat.items()},
                {"anchor_names": json.dumps(self.anchor_names)},
            )
        )

    @classmethod
    def load(cls, directory: Path) -> "Provenance":
        """Read it back.

        Raises:
            CheckpointError: the directory was not made by saltlm, or its record is damaged.
        """
        file = _provenance_file(directory)
        if not file.is_file():
            raise CheckpointError(
                f"{directory} has no {file.relative_to(directory)}: saltlm did not make it",
                "saltlm transfer SOURCE PLM --out DIR makes a directory with a record",
            )
        with reading(file, CheckpointError, "run saltlm transfer again with --force"):
            with safe_open(file, "pt") as opened:
                flat = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
                names = parse_json((opened.metadata() or {}).get("anchor_names", "[]"))
            neighbours = Neighbours(
                **{field.name: flat.pop(field.name) for field in fields(Neighbours)}
            )
            fit = Fit(**{field.name: flat.pop(field.name) for field in fields(Fit)})
            found = cls(neighbours=neighbours, fit=fit, anchor_names=tuple(names), **flat)
            found.check()
            return found

    def check(self) -> None:
        """Make sure that the tables fit together.

        Raises:
            ValueError: they do not, or point at what is not there.
        """
        v, n, m = len(self.origin), len(self.anchor_ids), len(self.new_ids)
        near, weights = self.neighbours, (self.neighbours.weights, self.neighbours.cosines)
        lengths = [
            *((len(ids), v) for ids in (self.plm_ids, self.source_ids)),
            *((len(ids), n) for ids in (self.anchor_plm_ids, self.anchor_source_ids)),
            *((len(one), m) for one in (self.fit.residual, self.norm_ratio)),
            *((len(one), len(near.indices)) for one in (*weights, self.fit.coefficients)),
            (len(near.offsets), m + 1),
        ]
        if any(found != wanted for found, wanted in lengths):
            raise ValueError(f"{v} ids, {n} anchors and {m} new tokens do not fit its tables")
        unnamed = int((self.anchor_ids < 0).sum()) > len(self.anchor_names)
        if unnamed or not set(self.origin.unique().tolist()) <= {*Origin}:
            raise ValueError("it has an origin that is none, or an anchor without a name")
        spans = [(near.indices, n), (near.offsets, len(near.indices) + 1), (self.new_ids, v)]
        if any(len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < end for ids, end in spans):
            raise ValueError("it points at a token that is not there")


def _provenance_file(directory: Path) -> Path:
    return directory / FOLDER / "provenance.safetensors"


class Origin(IntEnum):
    """Where a row of the new model comes from."""

    SHARED = 0  # copied: the token stands in both vocabularies
    MADE = 1  # made by the method: with SALT, the linear map of its PLM row
    SAMPLED = 2  # drawn: the token has no auxiliary vector, or no PLM row
    SPECIAL = 3  # copied: a special token of the source
    PADDING = 4  # of no token: the mean of the others, up to a round number of rows
    KEPT = 5  # copied: the source has the token, and the PLM does not (extended vocabularies)
