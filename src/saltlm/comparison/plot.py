"""Curves of bits per byte, over tokens, text and seconds, as one SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saltlm.comparison.results import Point
from saltlm.errors import MissingExtraError


def plot_curves(
    curves: Mapping[str, Sequence[Sequence[Point]]], untouched: Mapping[str, float], file: Path
) -> None:
    """Write the plot, one row for each text; the same curves give the same bytes.

    Text is also counted in bytes, since a token of one tokenizer is not a token of another.

    Args:
        curves: of each method, one per seed.
        untouched: bits per byte of each text with the model as it was before the transfer.
        file: the SVG to write.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    looks: Any = {"svg.hashsalt": "saltlm", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context({**looks, "text.parse_math": False}):  # a name is no formula
        figure = Figure(figsize=(12, 3.6 * len(untouched)), layout="constrained")
        grid = figure.subplots(len(untouched), 3, sharex="col", sharey="row", squeeze=False)
        for (text, before), row in zip(untouched.items(), grid, strict=True):
            for number, (name, runs) in enumerate(curves.items()):
                for seed, run in enumerate(runs):
                    style = {"color": f"C{number % 10}", "marker": ".", "markersize": 4}
                    style["label"] = name if seed == 0 else "_" + name
                    bits = [point.bits_per_byte[text] for point in run]
                    row[0].plot([point.tokens / 1e3 for point in run], bits, **style)
                    row[1].plot([point.n_bytes / 1e3 for point in run], bits, **style)
                    row[2].plot([point.seconds for point in run], bits, **style)
            for axes in row:
                axes.axhline(before, color="0.5", linestyle="--", label="untouched, as it is")
                axes.grid(alpha=0.3)
            row[0].set_ylabel(f"bits per byte, {text}")
        labels = ("thousand tokens", "kB of text", "seconds of training")
        for axes, label in zip(grid[-1], labels, strict=True):
            axes.set_xlabel(label)
        grid[0][0].legend(fontsize=8)
        figure.savefig(file, format="svg", metadata={"Date": None})


def require_matplotlib() -> None:
    """Make sure that there is something to plot with.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("the plot of saltlm compare --adapt", "plot") from error
