"""A comparison as lines of a table."""

from collections.abc import Iterator

from saltlm.comparison.curves import convergence_rows
from saltlm.comparison.results import ENGLISH, TARGET, Comparison, TextMeasurement
from saltlm.files.markdown import as_markdown


def comparison_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    """Yield a heading and then a line per method: yardstick, bits per byte, and the new rows."""
    yield (
        *("method", "yardstick r2", "target bits per byte", "English"),
        *("mass on new rows", "norms", "rank (copied rows)"),
    )
    for name, result in comparison.results.items():
        if result.error is not None:
            yield (name, f"failed: {result.error}", *[""] * 5)
            continue
        score, rows = result.yardstick, result.rows
        yield (
            name,
            f"{score.r2.value:.3f}" if score and score.r2 else "",
            _bits(result.texts.get(TARGET)),
            _bits(result.texts.get(ENGLISH)),
            f"{result.mass.mass:.1%}" if result.mass else "",
            f"{rows.new_norms.median:.2f}" if rows else "",
            f"{rows.new_rank:.0f} ({rows.shared_rank:.0f})" if rows else "",
        )


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as a Markdown table."""
    title = f"{comparison.source} with {comparison.plm}; {comparison.auxiliary}"
    parts = ["# Comparison", as_markdown(title), _table(comparison_rows(comparison))]
    if comparison.curves:
        what = "Bits per byte after the adaptation, and the tokens (text, time) to reach a value:"
        parts += ["## Adapted", what, _table(convergence_rows(comparison))]
    return "\n\n".join(parts) + "\n"


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    heading, *lines = ([as_markdown(cell) for cell in row] for row in rows)
    rule = ["---"] * len(heading)
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, rule, *lines))


def _bits(seen: TextMeasurement | None) -> str:
    if seen is None:
        return ""
    low, high = seen.interval
    return f"{seen.bits_per_byte:.3f} ({low:.3f} to {high:.3f})"
