"""Inputs are checked before anything is read, for every verb on a pair."""

import pytest

from saltlm.comparison.compare import compare
from saltlm.comparison.score import score
from saltlm.config.transfer import TransferConfig
from saltlm.errors import AuxiliaryVectorsError, ConfigError, DataError
from saltlm.inspection.pair import inspect
from saltlm.vocabulary_transfer.prepare import prepare
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import contents, write_pair

VERBS = {
    "transfer": lambda source, plm, config, out: transfer(source, plm, out, config=config),
    "inspect": lambda source, plm, config, out: inspect(source, plm, config=config),
    "score": lambda source, plm, config, out: score(
        source, plm, method=config.method, config=config
    ),
    "compare": lambda source, plm, config, out: compare(
        source, plm, out, methods=[config.method], heldout=[plm / "README.md"], config=config
    ),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"aux": "vectors:gone.vec"}, AuxiliaryVectorsError, r"gone\.vec"),
        ({"aux": "train"}, DataError, "the corpus has no text"),
        ({"plm_vectors": "vectors:gone.vec"}, AuxiliaryVectorsError, r"gone\.vec"),
        ({"corpus": ["gone.txt"]}, DataError, r"gone\.txt"),
        ({"prune_to": 100}, DataError, "the corpus has no text"),
        ({"mode": "extend", "keep": ["gone.txt"]}, DataError, r"gone\.txt"),
        ({"method": "wechsel"}, ConfigError, "method wechsel needs files"),
        (
            {"method": "wechsel:source_vectors=gone.vec:target_vectors=gone.vec"},
            ConfigError,
            r"method wechsel:.* there is no gone\.vec\nhint: check the path",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_missing_inputs_are_found_before_any_model_is_read(
    verb, options, error, message, tmp_path, monkeypatch
):
    for module in ("prepare", "transfer"):
        monkeypatch.setattr(f"saltlm.vocabulary_transfer.{module}.read_parents", lambda *_: 1 / 0)
    (tmp_path / "plm").mkdir()
    (tmp_path / "plm" / "README.md").write_text("text\n")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    with pytest.raises(error, match=message):
        VERBS[verb](tmp_path / "source", tmp_path / "plm", TransferConfig(**options), out)
    assert not out.exists()


def test_prepare_reads_both_models_and_poses_their_problem(tokenizers_by_family, tmp_path):
    source, plm = write_pair(tmp_path, tokenizers_by_family)
    before = contents(tmp_path)
    prepared = prepare(source, plm, TransferConfig())
    assert prepared.pair.source.directory == source
    assert prepared.problem.tables is prepared.pair.tables
    assert len(prepared.problem.plan.anchor_ids) > 100
    assert contents(tmp_path) == before
