"""Every method against an oracle in plain float64 numpy, and the laws that all of them keep."""

import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltlm.errors import ConfigError
from saltlm.methods import pursuit
from saltlm.methods.fit import fit_method
from saltlm.methods.inputs import MethodInputs
from saltlm.methods.linear import combine_rows
from saltlm.methods.neighbours import nearest_shared
from saltlm.methods.pursuit import pursue
from saltlm.methods.registry import METHODS, choose_method, parse_method
from saltlm.methods.spaces import nearest, sharpen

VECTORS_ONLY = [name for name in METHODS if name not in ("fvt", "wechsel", "first-piece")]
SAMPLED = ["random", "multivariate"]


def make_task(n=60, m=17, h_t=12, d=9, v_s=90, seed=0, aux_is_plm=False):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    lift = draw(5, h_t)
    plm = draw(n + m, 5) @ lift + 0.5 * draw(n + m, h_t) + 0.3
    aux = plm if aux_is_plm else draw(n + m, 4) @ draw(4, d) + 0.5 * draw(n + m, d)
    shared_ids = torch.randperm(v_s, generator=generator)[:n]
    shared, new = plm[:n], plm[n:]
    return MethodInputs(
        shared,
        new,
        shared if aux_is_plm else aux[:n],
        new if aux_is_plm else aux[n:],
        shared_ids,
        n_source_tokens=v_s,
    )


def make_table(v_s=90, h=7, seed=1, padding=4):
    generator = torch.Generator().manual_seed(seed)
    table = 0.2 + torch.randn(v_s + padding, h, generator=generator)
    table[v_s:] = 1e6  # padding counts for nothing
    return table


def rows_of(text, inputs, table):
    return fit_method(parse_method(text), inputs).fill(table)(slice(0, len(inputs.plm_new)))


def f64(*tensors):
    return [tensor.double().numpy() for tensor in tensors]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sparsemax(z):
    ordered = np.sort(z)[::-1]
    total = np.cumsum(ordered)
    size = max(j for j in range(1, len(z) + 1) if 1 + j * ordered[j - 1] > total[j - 1])
    return np.maximum(z - (total[size - 1] - 1) / size, 0)


def spaces(inputs, space):
    new, shared = f64(inputs.plm_new, inputs.plm_shared)
    if space == "auxiliary":
        return f64(inputs.aux_new, inputs.aux_shared)
    return (new - shared.mean(0), shared - shared.mean(0)) if space == "centred" else (new, shared)


def weights_of(inputs, space, scale=1.0):
    new, shared = spaces(inputs, space)
    return np.array([sparsemax(scale * z) for z in unit(new) @ unit(shared).T])


# The oracles: from the inputs and the source's rows (anchors; all real ones) to the new rows.


def salt(inputs, anchors, everyone, space="auxiliary", scale=1.0, ridge=0.0, centred=False):
    new, shared = f64(inputs.plm_new, inputs.plm_shared)
    rows = []
    for x, p in zip(new, weights_of(inputs, space, scale), strict=True):
        (kept,) = np.nonzero(p)
        left, right, base = shared[kept], anchors[kept], 0.0
        if centred:
            base = p[kept] @ right
            x, left, right = x - p[kept] @ left, left - p[kept] @ left, right - base
        if ridge == 0:
            rows.append(x @ np.linalg.pinv(left, rcond=1e-5) @ right)
        else:
            gram = left @ left.T
            gram += ridge * np.trace(gram) / len(kept) * np.eye(len(kept))
            rows.append(base + np.linalg.solve(gram, left @ x) @ right)
    return np.array(rows)


def focus(inputs, anchors, everyone, space="auxiliary", scale=1.0):
    return weights_of(inputs, space, scale) @ anchors


def clp(inputs, anchors, everyone):
    cosines = np.matmul(
        *[unit(x) if i == 0 else unit(x).T for i, x in enumerate(spaces(inputs, "plm"))]
    )
    return cosines / cosines.sum(1, keepdims=True) @ anchors


def ofa(inputs, anchors, everyone, k=10, temperature=0.1, rank=None):
    new, shared = spaces(inputs, "auxiliary")
    rows = []
    for z in unit(new) @ unit(shared).T:
        best = np.argsort(-z)[:k]
        p = np.exp(z[best] / temperature)
        rows.append(p / p.sum() @ anchors[best])
    if rank is not None:
        u, s, v = np.linalg.svd(everyone, full_matrices=False)
        rows = np.array(rows) @ v[:rank].T @ v[:rank]
    return np.array(rows)


def omp(inputs, anchors, everyone, k=64):
    new, shared = f64(inputs.plm_new, inputs.plm_shared)
    rows = []
    for x in new:
        picked, residual = [], x
        for _ in range(min(k, *shared.shape)):
            scores = np.abs(shared @ residual)
            scores[picked] = -1
            picked.append(int(scores.argmax()))
            c = np.linalg.lstsq(shared[picked].T, x, rcond=None)[0]
            residual = x - c @ shared[picked]
        rows.append(c @ anchors[picked])
    return np.array(rows)


def least_squares(inputs, anchors, everyone, k=64, distance="euclidean"):
    new, shared = f64(inputs.plm_new, inputs.plm_shared)
    rows = []
    for x in new:
        far = np.linalg.norm(shared - x, axis=1)
        if distance == "cosine":
            far = -(unit(shared) @ x)
        best = np.argsort(far)[:k]
        rows.append(np.linalg.lstsq(shared[best].T, x, rcond=1e-5)[0] @ anchors[best])
    return np.array(rows)


def affine(inputs, anchors, ridge=1e-6):
    new, shared = f64(inputs.plm_new, inputs.plm_shared)
    x, y = shared - shared.mean(0), anchors - anchors.mean(0)
    gram = x.T @ x
    gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    w = np.linalg.solve(gram, x.T @ y)
    return tuple((rows - shared.mean(0)) @ w + anchors.mean(0) for rows in (new, shared))


def global_affine(inputs, anchors, everyone, ridge=1e-6):
    return affine(inputs, anchors, ridge)[0]


def procrustes(inputs, anchors, everyone, scaled=False):
    new, shared = f64(inputs.plm_new, inputs.plm_shared)
    x, y = shared - shared.mean(0), anchors - anchors.mean(0)
    u, s, v = np.linalg.svd(x.T @ y, full_matrices=False)
    factor = s.sum() / np.square(x).sum() if scaled else 1
    return factor * (new - shared.mean(0)) @ u @ v + anchors.mean(0)


def global_residual(inputs, anchors, everyone, scale=1.0, local="mean"):
    mapped, explained = affine(inputs, anchors)
    if local == "mean":
        return mapped + weights_of(inputs, "centred", scale) @ (anchors - explained)
    new, shared = spaces(inputs, "centred")
    rows = []
    for x, p in zip(new, weights_of(inputs, "centred", scale), strict=True):
        (kept,) = np.nonzero(p)
        gram = shared[kept] @ shared[kept].T
        gram += 0.3 * np.trace(gram) / len(kept) * np.eye(len(kept))
        rows.append(np.linalg.solve(gram, shared[kept] @ x) @ (anchors - explained)[kept])
    return mapped + np.array(rows)


def kernel_ridge(inputs, anchors, everyone, ridge=0.03, gamma=1.0):
    new, shared = (unit(x) for x in spaces(inputs, "centred"))
    kernel = lambda a, b: np.exp(-gamma * (2 - 2 * a @ b.T))  # noqa: E731
    dual = np.linalg.solve(
        kernel(shared, shared) + ridge * np.eye(len(shared)), anchors - anchors.mean(0)
    )
    return kernel(new, shared) @ dual + anchors.mean(0)


ORACLES = {
    "salt": salt,
    "focus": focus,
    "clp": clp,
    "clp+": lambda *a, space="plm", **o: focus(*a, space=space, **o),
    "ofa": ofa,
    "omp": omp,
    "least-squares": least_squares,
    "global": global_affine,
    "procrustes": procrustes,
    "global-residual": global_residual,
    "kernel-ridge": kernel_ridge,
    "mean": lambda inputs, anchors, everyone: np.repeat(
        everyone.mean(0, keepdims=True), len(inputs.plm_new), 0
    ),
}

CASES = [
    *ORACLES,
    "salt:ridge=0.1",
    "salt:ridge=1:centred=true",
    "salt:space=centred:scale=3",
    "focus:scale=2.5",
    "focus:space=plm",
    "clp+:space=centred",
    "ofa:k=3:temperature=0.5",
    "ofa:rank=3",
    "omp:k=5",
    "least-squares:k=5",
    "least-squares:k=7:distance=cosine",
    "global:ridge=0.5",
    "procrustes:scaled=true",
    "global-residual:scale=2",
    "global-residual:local=ridge",
    "kernel-ridge:ridge=0.5:gamma=0.3",
]


@pytest.mark.parametrize("h_t", [12, 3])
@pytest.mark.parametrize("text", CASES)
def test_rows_equal_the_oracle(text, h_t):
    inputs, table = make_task(h_t=h_t), make_table()
    choice = parse_method(text)
    given = dict(part.split("=") for part in text.split(":")[1:])
    options = {key: choice.options[key] for key in given}
    anchors, everyone = f64(table[inputs.shared_ids], table[: inputs.n_source_tokens])
    wanted = ORACLES[choice.name](inputs, anchors, everyone, **options)
    found = rows_of(text, inputs, table).double().numpy()
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3 * np.abs(wanted).mean())


def test_every_method_but_those_that_read_texts_is_tested_here():
    assert {*ORACLES, *SAMPLED, "fvt", "wechsel", "first-piece"} == set(METHODS)


@pytest.mark.parametrize("method", SAMPLED)
def test_sampled_rows_have_the_moments_of_the_source(method):
    inputs = make_task(m=6000, n=20)
    table = make_table(v_s=90, h=4) @ torch.randn(4, 4, generator=torch.Generator().manual_seed(3))
    rows = rows_of(method, inputs, table).double()
    source = table[:90].double()
    wanted = torch.cov(source.T, correction=0)
    if method == "random":
        wanted = wanted.diagonal().diag()
    deviation = source.std(0)
    assert ((rows.mean(0) - source.mean(0)).abs() < 0.06 * deviation).all()
    error = (torch.cov(rows.T) - wanted).abs() / torch.outer(deviation, deviation)
    assert float(error.max()) < 0.1


def test_multivariate_with_transformers_scale_is_nearly_the_mean():
    inputs, table = make_task(), make_table()
    rows = rows_of("multivariate:scale=1e-9", inputs, table)
    torch.testing.assert_close(rows, rows_of("mean", inputs, table), atol=1e-3, rtol=0)


@pytest.mark.parametrize("method", SAMPLED)
def test_sampled_rows_depend_on_the_seed_and_on_nothing_else(method):
    inputs, table = make_task(m=2100), make_table()
    rows = rows_of(method, inputs, table)
    torch.manual_seed(99)
    fill = fit_method(parse_method(method), make_task(m=2100)).fill(table)
    parts = [fill(slice(start, min(start + 700, 2100))) for start in range(0, 2100, 700)]
    assert torch.equal(rows, torch.cat(parts))
    other = make_task(m=2100)
    object.__setattr__(other, "seed", 1)
    assert not torch.equal(rows, rows_of(method, other, table))


@pytest.mark.parametrize("method", VECTORS_ONLY)
def test_runs_of_rows_are_parts_of_the_whole(method):
    inputs, table = make_task(), make_table()
    fill = fit_method(parse_method(method), inputs).fill(table)
    whole = fill(slice(0, 17))
    assert whole.dtype == torch.float32
    torch.testing.assert_close(torch.cat([fill(slice(0, 5)), fill(slice(5, 17))]), whole)
    assert fill(slice(17, 17)).shape == (0, 7) or method in SAMPLED


# The rotation of procrustes depends on all columns at once.
@pytest.mark.parametrize("method", [m for m in VECTORS_ONLY if m not in (*SAMPLED, "procrustes")])
def test_a_bias_is_a_table_of_one_column(method):
    inputs, table = make_task(), make_table()
    whole = rows_of(method, inputs, table)
    column = rows_of(method, inputs, table[:, 2:3].contiguous())
    torch.testing.assert_close(column, whole[:, 2:3], atol=1e-4, rtol=1e-4)


@given(st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_the_order_of_tokens_changes_nothing_but_the_order(seed):
    inputs, table = make_task(seed=seed), make_table()
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randperm(len(inputs.plm_shared), generator=generator)
    new = torch.randperm(len(inputs.plm_new), generator=generator)
    moved = MethodInputs(
        inputs.plm_shared[shared],
        inputs.plm_new[new],
        inputs.aux_shared[shared],
        inputs.aux_new[new],
        inputs.shared_ids[shared],
        n_source_tokens=inputs.n_source_tokens,
    )
    for method in VECTORS_ONLY:
        if method in SAMPLED:
            continue
        before, after = rows_of(method, inputs, table)[new], rows_of(method, moved, table)
        scale = float(before.abs().mean())
        torch.testing.assert_close(after, before, atol=2e-2 * scale, rtol=1e-2)


@pytest.mark.parametrize("method", VECTORS_ONLY)
def test_held_out_rows_and_padding_are_never_looked_at(method):
    inputs, table = make_task(), make_table()
    free = torch.ones(90, dtype=torch.bool)
    free[inputs.shared_ids] = False
    object.__setattr__(inputs, "held_out_ids", free.nonzero().squeeze(1)[:20])
    before = rows_of(method, inputs, table)
    table[inputs.held_out_ids] = torch.nan
    table[90:] = torch.nan
    assert torch.equal(rows_of(method, inputs, table), before)


@pytest.mark.parametrize(
    "method", ["salt", "salt:ridge=1:centred=true", "focus", "clp+", "ofa", "omp", "least-squares"]
)
def test_coefficients_explain_the_rows(method):
    inputs, table = make_task(), make_table()
    fitted = fit_method(parse_method(method), inputs)
    rows = combine_rows(table[inputs.shared_ids], fitted.neighbours, fitted.fit.coefficients)
    torch.testing.assert_close(rows, rows_of(method, inputs, table), atol=1e-4, rtol=1e-4)
    made = combine_rows(inputs.plm_shared, fitted.neighbours, fitted.fit.coefficients)
    residual = (inputs.plm_new - made).norm(dim=1) / inputs.plm_new.norm(dim=1)
    torch.testing.assert_close(fitted.fit.residual, residual, atol=1e-4, rtol=1e-3)


def test_the_plm_rows_as_auxiliary_vectors_are_one_space():
    inputs = make_task(aux_is_plm=True)
    assert nearest(inputs, "auxiliary") is nearest(inputs, "plm")
    assert nearest(make_task(), "auxiliary") is not nearest(make_task(), "plm")


@given(st.integers(0, 10_000), st.floats(1, 30))
@settings(max_examples=30, deadline=None)
def test_sharpened_neighbourhoods_are_those_of_scaled_cosines(seed, scale):
    inputs = make_task(seed=seed)
    found = sharpen(nearest_shared(inputs.aux_new, inputs.aux_shared), scale)
    wanted = weights_of(inputs, "auxiliary", scale)
    for row, start, end in zip(wanted, found.offsets, found.offsets[1:], strict=False):
        dense = torch.zeros(len(inputs.aux_shared))
        dense[found.indices[start:end]] = found.weights[start:end]
        np.testing.assert_allclose(dense, row, atol=1e-4)


def test_a_choice_is_written_as_it_is_read():
    text = "salt:ridge=0.1:centred=True"
    assert str(parse_method(text)) == text
    assert str(parse_method("focus")) == "focus"
    assert parse_method("omp").options == {"k": 64}
    assert str(parse_method("salt:scale=1.0")) == "salt"


def test_two_sides_are_written_as_they_are_read():
    for text in (
        "global-residual:ridge=1.0/first-piece",
        "global-residual:ridge=1.0/first-piece:share=0.25",
        "salt/mean",
        "wechsel:source_vectors=lists/de.txt/fvt",
        "salt/wechsel:source_vectors=lists/de.txt",
    ):
        assert str(parse_method(text)) == text
    choice = parse_method("salt:ridge=0.1/focus:scale=2")
    assert (choice.name, choice.options["ridge"]) == ("salt", 0.1)
    assert choice.output == parse_method("focus:scale=2")
    assert choice.sides == [choice, choice.output]
    one = parse_method("wechsel:source_vectors=lists/de.txt")
    assert (one.output, one.files) == (None, [Path("lists/de.txt")])
    assert parse_method("salt/wechsel:source_vectors=lists/de.txt").files == one.files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fokus", "there is no method 'fokus'\nhint: did you mean focus?"),
        ("qqqq", "there is no method 'qqqq'\nhint: there are: salt, random"),
        ("salt:rigde=1", "salt has no option 'rigde'\nhint: did you mean ridge?"),
        ("mean:k=1", "mean has no option 'k'\nhint: it has none"),
        ("salt:ridge", "'ridge' is not option=value"),
        ("salt:ridge=-1", "option ridge=-1 of salt: Input should be greater than or equal to 0"),
        ("omp:k=many", "option k='many' of omp: Input should be a valid integer"),
        (
            "first-piece",
            "first-piece makes rows of the head alone, out of another method's\nhint: for instance:"
            " --method global-residual:ridge=1.0/first-piece",
        ),
        ("first-piece/salt", "first-piece makes rows of the head alone"),
        ("salt/fist-piece", "there is no method 'fist-piece'\nhint: did you mean first-piece?"),
        ("salt/first-piece:share=2", "option share=2 of first-piece: Input should be less than"),
        ("salt:ridge=1/fist", "option ridge='1/fist' of salt: Input should be a valid number"),
        ("focus:space=moon", "option space='moon' of focus: Input should be 'auxiliary', 'plm' or"),
    ],
)
def test_a_wrong_choice_is_told(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_method(text)
    assert message in str(caught.value)


def test_options_that_do_not_go_together():
    with pytest.raises(ConfigError, match="centred=true needs a ridge above 0") as caught:
        rows_of("salt:centred=true", make_task(), make_table())
    way = caught.value.hint.removeprefix("try ")
    assert rows_of(f"salt:centred=true:{way}", make_task(), make_table()).isfinite().all()


@pytest.mark.parametrize("method", ["kernel-ridge:ridge=1e-12", "salt:ridge=1e-30:scale=1"])
def test_a_ridge_that_rounding_swallows_is_told(method):
    inputs, table = make_task(aux_is_plm=True), make_table()
    inputs.plm_shared[30:] = inputs.plm_shared[:30]
    with pytest.raises(ConfigError, match="singular but for rounding\nhint: choose a larger ridge"):
        rows_of(method, inputs, table)
    larger = re.sub(r"ridge=1e-\d+", "ridge=0.1", method)
    assert rows_of(larger, inputs, table).isfinite().all()


@pytest.mark.parametrize("method", ["fvt", "wechsel"])
def test_methods_that_read_texts_say_so(method):
    with pytest.raises(ConfigError, match=f"{method} reads the tokens' texts"):
        rows_of(method, make_task(), make_table())


def test_kernel_ridge_on_a_part_of_the_anchors():
    inputs, table = make_task(), make_table()
    few = rows_of("kernel-ridge:anchors=40", inputs, table)
    assert torch.equal(few, rows_of("kernel-ridge:anchors=40", inputs, table))
    assert not torch.allclose(few, rows_of("kernel-ridge", inputs, table))


def _saturated(left, right, **_):
    return _EXACT(left, right).clamp(-(2**15), 2**15 - 1)


_EXACT = torch._int_mm


@pytest.mark.parametrize("product", [_EXACT, _saturated, mock.Mock(side_effect=RuntimeError)])
def test_pursuit_multiplies_integers_only_where_that_is_exact(product, monkeypatch):
    shared = torch.randn(60, 16, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    new = shared[:9] + shared[20:29] / 2
    expected = pursue(new, shared, 3)[0].indices
    monkeypatch.setattr(torch, "_int_mm", product)
    assert torch.equal(pursue(new, shared, 3)[0].indices, expected)
    assert pursuit._fastest(shared) == torch.float32 or product is _EXACT
    assert expected.view(9, 3)[:, 0].max() < 60  # of equal candidates the first


@given(st.integers(0, 10_000), st.sampled_from([3, 20, 64]), st.sampled_from([0.0, 0.5]))
@settings(max_examples=10, deadline=None)
def test_pursuit_picks_what_the_loop_picks(seed, width, offset):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(190, width, generator=generator) + offset
    new = torch.randn(7, width, generator=generator)
    found, fit = pursue(new, shared, 10)
    with mock.patch("saltlm.methods.pursuit._fastest", return_value=torch.float32):
        assert torch.equal(pursue(new, shared, 10)[0].indices, found.indices)
    with mock.patch("saltlm.methods.pursuit._fastest", return_value=torch.int8):
        assert torch.equal(pursue(new, shared, 10)[1].coefficients, fit.coefficients)
    assert found.k.tolist() == [min(10, width)] * 7
    for x, row in zip(new.double().numpy(), found.indices.view(7, -1).tolist(), strict=True):
        picked, residual, atoms = [], x, shared.double().numpy()
        for index in row:
            scores = np.abs(atoms @ residual)
            scores[picked] = -1
            assert scores[index] > (1 - 1e-4) * scores.max()
            picked.append(index)
            residual = x - np.linalg.lstsq(atoms[picked].T, x, rcond=None)[0] @ atoms[picked]


def test_pursuit_of_repeated_and_too_few_candidates():
    inputs = make_task(n=6, m=4, h_t=12)
    shared = torch.cat([inputs.plm_shared, inputs.plm_shared])
    twice = MethodInputs(
        shared, inputs.plm_new, shared, inputs.plm_new, torch.arange(12), n_source_tokens=90
    )
    fitted = fit_method(parse_method("omp"), twice)
    assert fitted.neighbours.k.tolist() == [12] * 4
    picked = fitted.neighbours.indices.view(4, 12)
    assert all(len(set(row)) == 12 for row in picked.tolist())
    made = combine_rows(shared, fitted.neighbours, fitted.fit.coefficients)
    best = np.linalg.lstsq(
        inputs.plm_shared.double().numpy().T, inputs.plm_new.double().numpy().T, rcond=None
    )[0]
    np.testing.assert_allclose(made, best.T @ inputs.plm_shared.double().numpy(), atol=1e-3)


def test_options_reach_what_they_name():
    """Each option of each method changes the rows, so none is decoration."""
    other = {
        "space": "centred",
        "scale": 3.0,
        "ridge": 0.5,
        "rcond": 0.4,
        "centred": True,
        "k": 3,
        "temperature": 1.0,
        "rank": 2,
        "distance": "cosine",
        "scaled": True,
        "local": "ridge",
        "local_ridge": 5.0,
        "gamma": 3.0,
        "anchors": 30,
    }
    needs = {
        ("salt", "centred"): {"ridge": 1.0},
        ("global-residual", "local_ridge"): {"local": "ridge"},
        ("least-squares", "space"): {"k": 5},
        ("least-squares", "distance"): {"k": 5},
    }
    inputs, table = make_task(), make_table()
    for name in VECTORS_ONLY:
        for option, value in choose_method(name).options.items():
            if option in ("vectors", "pieces"):  # of text: test_text_methods.py
                continue
            given = needs.get((name, option), {})
            changed = {
                **given,
                option: "auxiliary" if value in ("plm", "centred") else other[option],
            }
            before, after = (
                fit_method(choose_method(name, options), inputs).fill(table)(slice(0, 17))
                for options in (given, changed)
            )
            assert not torch.equal(before, after), (name, option)
