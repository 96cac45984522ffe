"""Our methods beside the peers' own code: the same inputs, rows compared, time and memory measured.

    pip install --no-deps deepfocus entmax fastdist mergekit immutables toposort wechsel
    pip install numba scipy scikit-learn nltk gensim       # none of them asks for torch
    python benchmarks/peers.py SOURCE PLM [--tokens 4096] [--pursued 256] [--out FILE]

Each side runs on one thread in a process of its own, forked when everything is loaded, in turn and
``--rounds`` times; the medians count. Memory is what a run takes on top of what it is given. Times
do not cover reading models or making auxiliary vectors, which are the PLM's rows here.

Nothing of the peers is copied: their functions are called as they are published. Where rows differ,
``defect`` says why, and the difference that remains without the defect is measured as well.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import resource
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from saltlm.config.transfer import TransferConfig
from saltlm.methods.fit import fit_method
from saltlm.methods.inputs import MethodInputs
from saltlm.methods.registry import parse_method
from saltlm.record.manifest import environment
from saltlm.vocabulary_transfer.prepare import pose_pair, read_pair

PEERS = ("deepfocus", "entmax", "fastdist", "mergekit", "wechsel")


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measured(function):
    """Run a function in a forked process: its result, seconds, processor seconds and memory."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child():
        before, begun, spent = resident(), time.perf_counter(), time.process_time()
        rows = function()
        seconds, processor = time.perf_counter() - begun, time.process_time() - spent
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        sender.send((np.asarray(rows), seconds, processor, peak - before))

    process = context.Process(target=child)
    process.start()
    sender.close()
    found = receiver.recv()
    process.join()
    return found


def compared(ours, theirs, rounds):
    """Run both sides in turn and say how far their rows and their costs are apart."""
    runs = {"saltlm": [], "peer": []}
    for _ in range(rounds):
        for side, function in (("saltlm", ours), ("peer", theirs)):
            rows, *costs = measured(function)
            runs[side].append((rows, costs))
    report = {
        side: dict(
            zip(
                ("seconds", "processor seconds", "extra bytes"),
                (statistics.median(cost) for cost in zip(*(c for _, c in done), strict=True)),
                strict=True,
            )
        )
        for side, done in runs.items()
    }
    report["times faster"] = report["peer"]["processor seconds"] / max(
        1e-9, report["saltlm"]["processor seconds"]
    )
    report["times less memory"] = report["peer"]["extra bytes"] / max(
        1, report["saltlm"]["extra bytes"]
    )
    return report | distance(runs["saltlm"][0][0], runs["peer"][0][0])


def distance(ours, theirs):
    error = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1).clip(1e-30)
    return {
        "relative difference of rows": {
            "median": float(np.median(error)),
            "99 %": float(np.quantile(error, 0.99)),
            "largest": float(error.max()),
        },
        "rows within 0.001": float((error < 1e-3).mean()),
    }


def first(inputs, count):
    """The inputs of the first few new tokens."""
    count = min(count, len(inputs.plm_new))
    return MethodInputs(
        inputs.plm_shared,
        inputs.plm_new[:count],
        inputs.aux_shared,
        inputs.aux_new[:count],
        inputs.shared_ids,
        n_source_tokens=inputs.n_source_tokens,
    )


def comparison_rows(method, inputs, table):
    """What is timed on our side: everything from the inputs to the rows."""
    inputs.memo.clear()
    fill = fit_method(parse_method(method), inputs).fill(table)
    return fill(slice(0, len(inputs.plm_new))).numpy()


def focus(inputs, table, rounds):
    from deepfocus.focus import focus_additional_token_initialization

    def theirs():
        anchors = table[inputs.shared_ids].float()
        overlap = {
            i: SimpleNamespace(auxiliary_embedding=vector, source_embedding=row)
            for i, (vector, row) in enumerate(zip(inputs.aux_shared.numpy(), anchors, strict=True))
        }
        new = {
            i: SimpleNamespace(auxiliary_embedding=vector, target=SimpleNamespace(id=i))
            for i, vector in enumerate(inputs.aux_new.numpy())
        }
        rows = torch.zeros(len(new), table.shape[1])
        with torch.no_grad():
            focus_additional_token_initialization(overlap, new, rows, device="cpu")
        return rows.numpy()

    # The first call compiles fastdist; that is not part of the method.
    small = first(inputs, 4)
    import fastdist.fastdist as compiled

    compiled.cosine_matrix_to_matrix(small.aux_new.numpy(), inputs.aux_shared[:4].numpy())
    return compared(lambda: comparison_rows("focus", inputs, table), theirs, rounds)


def omp(inputs, table, rounds):
    from mergekit.tokensurgeon.omp import batch_omp

    def theirs():
        anchors = table[inputs.shared_ids].float()
        rows = []
        for block in inputs.plm_new.split(512):  # tokensurgeon's batch size
            picked, weights = batch_omp(block, inputs.plm_shared, 64)
            rows.append(torch.bmm(weights.unsqueeze(1), anchors[picked]).squeeze(1))
        return torch.cat(rows).numpy()

    return compared(lambda: comparison_rows("omp", inputs, table), theirs, rounds)


def least_squares(inputs, table, rounds):
    from mergekit.tokensurgeon.common_interpolation import (
        DistanceMetric,
        WeightingScheme,
        common_interp_approximate,
    )

    def theirs():
        anchors = table[inputs.shared_ids].float()
        rows = []
        for block in inputs.plm_new.split(512):
            picked, weights = common_interp_approximate(
                block,
                inputs.plm_shared,
                64,
                DistanceMetric.EUCLIDEAN,
                WeightingScheme.LEAST_SQUARES,
            )
            rows.append(torch.bmm(weights.unsqueeze(1), anchors[picked]).squeeze(1))
        return torch.cat(rows).numpy()

    return compared(lambda: comparison_rows("least-squares", inputs, table), theirs, rounds)


def procrustes(inputs, table, rounds):
    from mergekit.tokensurgeon.pca import landmark_pca_approximate

    # With as many source dimensions as the PLM has, both rotate within the same space.
    table = table[:, : inputs.plm_shared.shape[1]].contiguous()

    def theirs():
        torch.manual_seed(0)
        anchors = table[inputs.shared_ids].float()
        return landmark_pca_approximate(inputs.plm_new, inputs.plm_shared, anchors).numpy()

    report = compared(lambda: comparison_rows("procrustes", inputs, table), theirs, rounds)
    left, right = inputs.plm_shared.double(), table[inputs.shared_ids].double()
    left, right = left - left.mean(0), right - right.mean(0)
    u, _, v = torch.linalg.svd(left.T @ right)
    report["squared error on the shared tokens, over their variance"] = {
        "the rotation A^T B = U S V^T, R = U V^T": relative(left @ u @ v, right),
        "its transpose": relative(left @ (u @ v).T, right),
    }
    report["defect"] = (
        "tokensurgeon takes M = B^T A = U S V^T and multiplies A with U V^T, which rotates B onto "
        "A; A onto B is V U^T"
    )
    return report


def relative(found, wanted):
    return float((found - wanted).square().sum() / wanted.square().sum())


def wechsel(inputs, table, rounds, tokens=600):
    """On vectors that are given: the PLM's, and a rotated copy of them for the source's tokens."""
    from wechsel import create_target_embeddings

    generator = torch.Generator().manual_seed(0)
    source = torch.randn(inputs.n_source_tokens, inputs.plm_shared.shape[1], generator=generator)
    source[inputs.shared_ids] = inputs.plm_shared
    target = inputs.plm_new[:tokens]
    vocabulary = {f"s{i}": i for i in range(len(source))}

    class Names:
        """As much of a tokenizer as WECHSEL asks for."""

        def __init__(self, prefix, count):
            self.vocab = {f"{prefix}{i}": i for i in range(count)}
            self.prefix, self.special_tokens_map = prefix, {}

        def __len__(self):
            return len(self.vocab)

        def convert_ids_to_tokens(self, ids):
            if np.ndim(ids) == 0:
                return f"{self.prefix}{ids}"
            return [f"{self.prefix}{i}" for i in ids]

    names = Names("s", len(vocabulary)), Names("t", len(target))

    def theirs():
        rows, _, _ = create_target_embeddings(
            source.numpy(), target.numpy(), *names, table.float().numpy(), verbose=False
        )
        return rows

    def ours():
        from saltlm.methods.words import _softmax_mean

        part = first(inputs, tokens)
        ids = torch.arange(inputs.n_source_tokens)
        fitted = _softmax_mean(part, ids, source, target, 10, 0.1)
        return fitted.fill(table)(slice(0, len(target))).numpy()

    report = compared(ours, theirs, rounds)
    report["note"] = "the softmax mean only; words and dictionary have an oracle in the tests"
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("plm")
    parser.add_argument("--tokens", type=int, default=4096, help="new tokens, of FOCUS and others")
    parser.add_argument("--pursued", type=int, default=256, help="new tokens of OMP")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peers.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # and forked processes need that no thread has been started

    config = TransferConfig()
    pair = read_pair(options.source, options.plm, config)
    inputs = pose_pair(pair, config).inputs
    table = pair.tables.embedding[: inputs.n_source_tokens].float()
    part, few = first(inputs, options.tokens), first(inputs, options.pursued)
    report = {
        "source": Path(options.source).name,
        "plm": Path(options.plm).name,
        "shared tokens": len(inputs.shared_ids),
        "new tokens": len(part.plm_new),
        "new tokens of OMP": len(few.plm_new),
        "peers": {name: importlib.metadata.version(name) for name in PEERS},
        "environment": environment() | {"threads": 1, "rounds": options.rounds},
    }
    for name, job, given in (
        ("focus: deepfocus", focus, part),
        ("omp: mergekit-tokensurgeon", omp, few),
        ("least-squares: mergekit-tokensurgeon", least_squares, few),
        ("procrustes: mergekit-tokensurgeon landmark_pca", procrustes, part),
        ("wechsel: wechsel", wechsel, part),
    ):
        report[name] = job(given, table, options.rounds)
        costs = report[name]
        print(
            f"{name}: {costs['times faster']:.1f} times faster, "
            f"{costs['times less memory']:.1f} times less memory, "
            f"{costs['rows within 0.001']:.1%} of rows within 0.001",
            flush=True,
        )
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
