"""What a transfer is said to cost: more with fits, more with more of them, and before it begins."""

import pytest

from saltlm.config.transfer import load_config
from saltlm.files.progress import duration
from saltlm.vocabulary_transfer import estimate
from saltlm.vocabulary_transfer.prepare import read_pair
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import write_pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tokenizers_by_family):
    return write_pair(tmp_path_factory.mktemp("pair"), tokenizers_by_family)


def test_fits_and_their_length_are_in_the_estimate(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "seconds_a_product", lambda *_: 1e-9)
    (tmp_path / "de.txt").write_text("Das Haus am Fluss\n")
    given = {"corpus": tmp_path / "de.txt", "mode": "replace", "untie": True}
    plain = load_config(**given)
    read, texts = read_pair(*pair, plain), ["Das Haus am Fluss"]

    def seconds(**fits):
        config = load_config(**given, fits=fits)
        return estimate.expected_seconds(read, config, texts)

    without = estimate.expected_seconds(read, plain, texts)
    once, twice = (seconds(input=True, steps=steps) - without for steps in (40, 80))
    assert twice == pytest.approx(2 * once)
    assert once > 40 * 12 * estimate.LAYER_SECONDS
    assert seconds(head=True) > without
    assert estimate.expected_seconds(read, load_config(**given, fits={"head": True}), []) == without


def test_a_map_that_reads_pieces_is_in_the_estimate(pair, monkeypatch):
    monkeypatch.setattr(estimate, "seconds_a_product", lambda *_: 1e-9)
    without, with_pieces = (
        load_config(method=f"global-residual:pieces={pieces}") for pieces in ("false", "true")
    )
    read = read_pair(*pair, without)
    h_t, h = (of.embedding.shape[1] for of in (read.plm_tables, read.tables))
    match, f = read.alignment.match, h_t + 2 * h
    n = int(((match.plm_ids >= 0) & (match.source_ids >= 0)).sum())
    n += len(read.alignment.further.names)
    n_maps = 2 if read.tables.head is None else 3
    seconds, memory = (
        estimating(read, with_pieces, *texts) - estimating(read, without, *texts)
        for estimating, texts in ((estimate.expected_seconds, [[]]), (estimate.expected_memory, []))
    )
    assert seconds == pytest.approx(2 * n_maps * n * f * (f + h) * 1e-9)
    assert memory == 8 * f * (2 * f + h)


def test_the_cost_is_told_and_little_memory_is_a_warning(pair, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("saltlm.vocabulary_transfer.transfer.free_memory_bytes", lambda: 2**29)
    with caplog.at_level("INFO", "saltlm"):
        transfer(*pair, tmp_path / "out", method="mean")
    assert "of memory" in caplog.text
    assert "only 0.5 GiB of memory are free" in caplog.text


@pytest.mark.parametrize(
    ("name", "size", "chosen", "seconds"),
    [
        (
            "de.txt",
            5_000_000,
            {"vocabulary": "auto", "mode": "extend"},
            "5 MB of text takes about 20",
        ),
        ("de.txt.gz", 5_000_000, {}, "15 MB of text takes about 14"),
        ("de.txt", 5_000_000, {}, ""),  # soon done
    ],
)
def test_a_long_corpus_is_told_before_it_is_read(name, size, chosen, seconds, tmp_path, caplog):
    with (tmp_path / name).open("wb") as file:
        file.truncate(size)
    with caplog.at_level("INFO", "saltlm"):
        estimate.tell_reading(load_config(corpus=tmp_path / name, **chosen))
    assert seconds in caplog.text
    assert bool(seconds) == bool(caplog.text)


def test_times_as_people_say_them():
    assert [duration(seconds) for seconds in (9.4, 119, 600, 7300)] == [
        *("9 s", "119 s", "10 min", "2.0 h")
    ]
