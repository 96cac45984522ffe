"""How every row of a model came about: ``DIR/saltlm/provenance.safetensors``."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from safetensors.torch import save
from torch import Tensor

from saltlm.methods.linear import Fit
from saltlm.methods.neighbours import Neighbours
from saltlm.record.arrays import provenance_file, read_arrays


@dataclass(frozen=True)
class Provenance:
    """How every row of a model came about, one entry per id or per MADE token.

    Attributes:
        origin: an `Origin` per id.
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
        file = provenance_file(directory)
        file.parent.mkdir(exist_ok=True)
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
        arrays, names = read_arrays(directory)
        flat = {name: torch.from_numpy(array) for name, array in arrays.items()}
        neighbours = Neighbours(**{one.name: flat.pop(one.name) for one in fields(Neighbours)})
        fit = Fit(**{one.name: flat.pop(one.name) for one in fields(Fit)})
        return cls(neighbours=neighbours, fit=fit, anchor_names=names, **flat)
