"""fastText's product quantisation: what stands for a matrix in a `.ftz` file."""

import struct
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, UInt8

from saltlm.errors import AuxiliaryVectorsError

_CENTROIDS = 256
_SHAPE = struct.Struct("<?qqi")  # are norms apart, rows, columns, bytes of codes
_QUANTISER = struct.Struct("<iiii")  # columns, parts, width of a part, width of the last one


@dataclass(frozen=True)
class QuantisedMatrix:
    """Rows whose parts are each one of 256 centroids; an array of row numbers gives the rows.

    Attributes:
        codes: the centroid of each part of each row.
        centroids: for each part its 256 centroids.
        norm_codes: where norms are kept apart, the norm of each row as one of `norms`.
        norms: 256 norms.
    """

    codes: UInt8[np.ndarray, "rows parts"]
    centroids: tuple[Float[np.ndarray, "256 _"], ...]
    norm_codes: UInt8[np.ndarray, " rows"] | None
    norms: Float[np.ndarray, " 256"] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.codes), sum(part.shape[1] for part in self.centroids)

    def __getitem__(self, rows: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        """Return rows as fastText does, product of norm and centroids in float32."""
        codes = self.codes[rows]
        vectors = np.concatenate(
            [part[codes[:, index]] for index, part in enumerate(self.centroids)], axis=1
        )
        if self.norm_codes is not None and self.norms is not None:
            vectors = vectors * self.norms[self.norm_codes[rows]][:, None]
        return vectors


def read_quantised(data: bytes | memoryview, start: int, path: object) -> QuantisedMatrix:
    """Read the matrix that begins at ``start``, behind the mark that it is quantised.

    Raises:
        AuxiliaryVectorsError: the file is truncated, or its sizes do not fit each other.
    """
    (has_norms, n_rows, n_columns, n_codes), start = _unpack(_SHAPE, data, start, path)
    codes, start = _take(data, start, n_codes, path)
    (columns, parts, width, last), start = _unpack(_QUANTISER, data, start, path)
    if (
        min(n_rows, n_columns, parts, width, last) < 1
        or columns != n_columns
        or n_codes != n_rows * parts
        or (parts - 1) * width + last != columns
    ):
        raise AuxiliaryVectorsError(
            f"{path} is damaged: a quantised matrix of {n_rows} x {n_columns} with {n_codes} codes "
            f"for {parts} parts of {width} (the last of {last})",
            "get the file again",
        )
    raw, start = _take(data, start, 4 * columns * _CENTROIDS, path)
    centroids = np.frombuffer(raw, "<f4")
    split = (parts - 1) * width * _CENTROIDS
    of_parts = [*centroids[:split].reshape(parts - 1, _CENTROIDS, width), centroids[split:]]
    norm_codes = norms = None
    if has_norms:
        raw_norms, start = _take(data, start, n_rows, path)
        _, start = _unpack(_QUANTISER, data, start, path)
        raw, start = _take(data, start, 4 * _CENTROIDS, path)
        norm_codes, norms = np.frombuffer(raw_norms, np.uint8), np.frombuffer(raw, "<f4")
    return QuantisedMatrix(
        np.frombuffer(codes, np.uint8).reshape(n_rows, parts),
        tuple(part.reshape(_CENTROIDS, -1) for part in of_parts),
        norm_codes,
        norms,
    )


def _unpack(
    layout: struct.Struct, data: bytes | memoryview, start: int, path: object
) -> tuple[tuple[int, ...], int]:
    part, end = _take(data, start, layout.size, path)
    return layout.unpack(part), end


def _take(
    data: bytes | memoryview, start: int, size: int, path: object
) -> tuple[bytes | memoryview, int]:
    end = start + size
    if size < 0 or end > len(data):
        raise AuxiliaryVectorsError(
            f"{path} is truncated: it has {len(data):,} bytes, its quantised matrix goes on to "
            f"{end:,}",
            "get the file again",
        )
    return data[start:end], end
