"""How long neighbours, sparsemax and linear maps take, beside the plain cosine product alone.

    python benchmarks/map_speed.py [--out benchmarks/results/map_speed.json]

Everything in one process and in turn, in processor seconds, so that the ratios hold on a busy
machine. *The least* is what exact maps cannot do without, bare: the product, the neighbours' rows
put together, their Gram matrices, the factors of these, and the weighted sums.
The vectors are clustered so that the number of neighbours is that of real data.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from saltlm.methods.linear import RCOND, combine_rows, fit_rows
from saltlm.methods.neighbours import nearest_shared, ragged_batches, unit_rows
from saltlm.record.manifest import environment, peak_memory_bytes

M, N, D, H_T, H_S = 40_000, 10_000, 300, 768, 2_048
CLUSTERS, SPREAD = 200, 0.68
ROUNDS, PINV_TOKENS, BLOCK = 3, 200, 800
BATCH_BYTES = 8 * 2**20


def clustered(rows, centres, generator):
    pick = torch.randint(len(centres), (rows,), generator=generator)
    noise = torch.randn(rows, centres.shape[1], generator=generator)
    return centres[pick] + SPREAD * noise


def timed(function, *args):
    begun = time.process_time()
    result = function(*args)
    return time.process_time() - begun, result


def cosine_product(new, shared):
    """The plain product of unit rows, block by block into one buffer."""
    shared = unit_rows(shared)
    buffer = torch.empty(BLOCK, len(shared))
    for start in range(0, len(new), BLOCK):
        block = unit_rows(new[start : start + BLOCK])
        torch.mm(block, shared.T, out=buffer[: len(block)])


def least_of_maps(shared, table, neighbours, coefficients):
    """The products that every exact map needs, without what is found out with them."""
    buffer = torch.empty(0, H_T)
    for *_, index in ragged_batches(neighbours, H_T, BATCH_BYTES):
        if len(buffer) < index.numel():
            buffer = torch.empty(index.numel(), H_T)
        rows = torch.index_select(shared, 0, index.flatten(), out=buffer[: index.numel()])
        bases = rows.view(*index.shape, H_T)
        torch.linalg.cholesky_ex(torch.bmm(bases, bases.mT))
    torch.nn.functional.embedding_bag(
        neighbours.indices,
        table,
        neighbours.offsets[:-1],
        mode="sum",
        per_sample_weights=coefficients,
    )


def pinv_loop(new, shared, table, neighbours):
    """The paper's form: one pseudo-inverse and one map per token, in numpy."""
    bounds = neighbours.offsets.tolist()
    for i in range(PINV_TOKENS):
        index = neighbours.indices[bounds[i] : bounds[i + 1]].numpy()
        yield new[i] @ (np.linalg.pinv(shared[index], rcond=RCOND) @ table[index])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLUSTERS, D, generator=generator)
    aux_new, aux_shared = (clustered(rows, centres, generator) for rows in (M, N))
    lift = torch.randn(D, H_T, generator=generator) / D**0.5
    new, shared = (
        aux @ lift + torch.randn(len(aux), H_T, generator=generator)
        for aux in (aux_new, aux_shared)
    )
    table = torch.randn(N, H_S, generator=generator)

    rounds = []
    for number in range(ROUNDS + 1):
        product, _ = timed(cosine_product, aux_new, aux_shared)
        nearest, neighbours = timed(nearest_shared, aux_new, aux_shared)
        fitting, fit = timed(fit_rows, new, shared, neighbours)
        combining, rows = timed(combine_rows, table, neighbours, fit.coefficients)
        least, _ = timed(least_of_maps, shared, table, neighbours, fit.coefficients)
        arrays = new.numpy(), shared.numpy(), table.numpy()
        loop, naive = timed(lambda a=arrays, n=neighbours: np.stack(list(pinv_loop(*a, n))))
        if number:  # the first is the warm-up
            maps = fitting + combining
            rounds.append(
                {
                    "cosine product, s": product,
                    "neighbours and sparsemax, s": nearest,
                    "coefficients, s": fitting,
                    "rows, s": combining,
                    "all over cosine product": (nearest + maps) / product,
                    "the least over cosine product": (product + least) / product,
                    "all over the least": (nearest + maps) / (product + least),
                    "pinv loop over maps": loop / PINV_TOKENS * M / maps,
                }
            )
    error = np.linalg.norm(rows[:PINV_TOKENS].numpy() - naive, axis=1)
    result = {
        "sizes": {"m": M, "n": N, "d": D, "h_t": H_T, "h_s": H_S},
        "k": {"median": float(neighbours.k.double().median()), "max": int(neighbours.k.max())},
        "median of rounds": {
            key: round(statistics.median(each[key] for each in rounds), 3) for key in rounds[0]
        },
        "rounds": [{key: round(value, 3) for key, value in each.items()} for each in rounds],
        "largest relative error against the pinv loop": float(
            (error / np.linalg.norm(naive, axis=1)).max()
        ),
        "peak memory, MiB": round(peak_memory_bytes() / 2**20),
        "environment": environment(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if out:
        out.write_text(text + "\n")


if __name__ == "__main__":
    main()
