"""Where the new rows lie: neighbours, residuals, norms, and a map of new and shared rows."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saltlm.inspection.report.plots import Histogram, short
from saltlm.inspection.report.saved import SavedFiles
from saltlm.inspection.report.tokens import TokenTable
from saltlm.models.checkpoint import open_checkpoint
from saltlm.record.arrays import Origin

_BINS = 32
_ROWS = 600  # of new and of shared rows are read, drawn with a seed
_EDGE = 0.95  # of the map, where the outermost point lies
_SEEN = 0.995  # of the points; those farther out lie on the edge


@dataclass(frozen=True)
class RowMap:
    """New and shared rows on the two axes on which they differ most.

    Attributes:
        points: x, y, origin, name and id.
        explained: share of the variance on both axes.
        summary: the map in words.
    """

    points: tuple[tuple[float, float, str, str, int], ...]
    explained: float
    summary: str


def histograms_of(table: TokenTable, rows: dict[str, Float[Tensor, "n h"]]) -> list[Histogram]:
    """Return neighbours, residuals and norms as histograms; those that there are no values of go.

    Args:
        table: the tokens and their record.
        rows: of the embedding, by origin.
    """
    provenance = table.provenance
    residual = provenance.fit.residual
    found = []
    if len(provenance.neighbours.k):
        found.append(_histogram("Neighbours of a new token", "k", {"new": provenance.neighbours.k}))
    if bool(residual.isfinite().any()):
        title = "Residual: share of the PLM row that the neighbours cannot express"
        found.append(_histogram(title, "residual", {"new": residual[residual.isfinite()]}))
    if rows:
        norms = {name: torch.linalg.vector_norm(part, dim=1) for name, part in rows.items()}
        found.append(_histogram("Length of the rows, new beside shared", "norm", norms))
    return found


def _histogram(title: str, label: str, groups: dict[str, Tensor]) -> Histogram:
    values = {name: part.double().numpy() for name, part in groups.items()}
    whole = np.concatenate(list(values.values()))
    low, high = float(whole.min()), float(np.quantile(whole, 0.995))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    shares = {
        name: np.histogram(part.clip(edges[0], edges[-1]), edges)[0] * 100 / len(part)
        for name, part in values.items()
    }
    told = []
    for name, part in values.items():
        first, median, last = (short(value) for value in np.quantile(part, (0.05, 0.5, 0.95)))
        told.append(f"{name}: median {median}, 90 % from {first} to {last}")
    return Histogram(
        title,
        label,
        tuple(edges.tolist()),
        tuple((name, tuple(share.tolist())) for name, share in shares.items()),
        "; ".join(told),
    )


def sample_ids(table: TokenTable, seed: int) -> dict[str, list[int]]:
    """Return ids of new and of shared tokens whose rows are read: words rather than signs."""
    generator = torch.Generator().manual_seed(seed)
    origin = table.provenance.origin
    found = {}
    for name, kinds in (
        ("new", (Origin.MADE, Origin.SAMPLED)),
        ("shared", (Origin.SHARED, Origin.KEPT)),
    ):
        is_kind = torch.isin(origin, torch.tensor(kinds, dtype=origin.dtype))
        ids = [id for id in is_kind.nonzero().flatten().tolist() if _is_word(table.names[id])]
        order = torch.randperm(len(ids), generator=generator)[:_ROWS].tolist()
        found[name] = sorted(ids[place] for place in order)
    return found


def _is_word(name: str) -> bool:
    return sum(character.isalpha() for character in name) > 1 and "⟨" not in name


def read_rows_of(saved: SavedFiles, ids: dict[str, list[int]]) -> dict[str, Float[Tensor, "n h"]]:
    """Return rows of a model's embedding by group.

    Nothing if its name is not on record, or it is stored in two tensors of equal size, as
    transformers saves one that it read from two.
    """
    manifest = saved.manifest or {}
    tables = manifest.get("source", {}).get("tables", {})
    names = tables.get("embedding", {}).get("tensors", ())
    checkpoint = open_checkpoint(saved.directory)
    stored = checkpoint.tensors.get(names[0]) if names else None
    if stored is None or max(map(max, filter(None, ids.values())), default=0) >= stored.shape[0]:
        return {}
    return {
        name: checkpoint.read_rows(names[0], rows).float() for name, rows in ids.items() if rows
    }


def map_of(
    table: TokenTable, ids: dict[str, list[int]], rows: dict[str, Float[Tensor, "n h"]]
) -> RowMap | None:
    """Return the principal components of new and shared rows together; None with too few rows."""
    if sum(map(len, rows.values())) < 3:
        return None
    together = torch.cat(list(rows.values())).double()
    centred = together - together.mean(0)
    is_wide = len(centred) < centred.shape[1]
    products = centred @ centred.T if is_wide else centred.T @ centred
    values, vectors = torch.linalg.eigh(products)  # the smallest first
    first, vectors = values[-2:].flip(0).clamp_min(0), vectors[:, -2:].flip(1)
    axes = vectors * first.sqrt() if is_wide else centred @ vectors
    # The sign of a component is free: its largest coordinate is above zero.
    signs = axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    axes = axes * signs
    reach = axes.abs().quantile(_SEEN, 0, keepdim=True).clamp_min(1e-12)
    axes = (axes / reach * _EDGE).clamp(-_EDGE, _EDGE)
    explained = float(first.sum() / centred.square().sum().clamp_min(1e-12))
    order = [id for name in rows for id in ids[name]]
    origins = table.origins
    points = tuple(
        (x, y, origins[id], table.names[id], id)
        for (x, y), id in zip(axes.tolist(), order, strict=True)
    )
    n_new = len(rows.get("new", ()))
    middle = {name: part.double().mean(0) - together.mean(0) for name, part in rows.items()}
    spread = centred.square().sum(1).mean().sqrt()
    told = f"{n_new} new rows and {len(order) - n_new} shared ones, drawn at random."
    if len(middle) == 2:
        apart = float(torch.dist(middle["new"], middle["shared"]) / spread)
        told += f" The middle of the new ones lies {apart:.2f} mean radii from that of the shared."
    return RowMap(points, explained, f"{told} The two axes hold {explained:.0%} of the variance.")
