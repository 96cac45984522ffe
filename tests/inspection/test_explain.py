"""A row is explained by the record and by nothing else."""

import dataclasses
import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from saltlm.cli.render import explanation_table
from saltlm.errors import CheckpointError, VocabularyError
from saltlm.inspection.explain import Explanation, Influence, explain
from saltlm.methods.linear import Fit, no_fit
from saltlm.methods.neighbours import Neighbours, no_neighbours
from saltlm.methods.registry import parse_method
from saltlm.record.manifest import write_manifest
from saltlm.record.provenance import Provenance

PIECES = ["[UNK]", "haus", "##s", "der", "maus", "##maus", "a"]

RECORD = Provenance(
    origin=torch.tensor([3, 0, 0, 0, 1, 1, 2], dtype=torch.uint8),
    plm_ids=torch.tensor([-1, 11, 12, 13, 14, 15, 16]),
    source_ids=torch.tensor([7, 21, 22, 23, -1, -1, -1]),
    anchor_ids=torch.tensor([1, 2, 3, -1]),
    anchor_plm_ids=torch.tensor([11, 12, 13, 40]),
    anchor_source_ids=torch.tensor([21, 22, 23, 50]),
    new_ids=torch.tensor([4, 5]),
    neighbours=Neighbours(
        torch.tensor([0, 3, 4]),
        torch.tensor([2, 0, 1, 3]),
        torch.tensor([0.5, 0.25, 0.25, 1.0]),
        torch.tensor([0.75, 0.625, 0.5, 0.375]),
    ),
    fit=Fit(torch.tensor([0.125, -2.0, 1.0, 3.0]), torch.tensor([0.25, 0.0])),
    norm_ratio=torch.tensor([0.5, 1.5]),
    anchor_names=("Ġmouse",),
)


@pytest.fixture
def directory(tmp_path):
    model = models.WordPiece({piece: id for id, piece in enumerate(PIECES)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    RECORD.save(tmp_path)
    return tmp_path


def test_a_mapped_row_names_its_neighbours_by_the_size_of_their_coefficient(directory):
    (found,) = explain(directory, ["maus"])
    assert found == Explanation(
        token="maus",
        text="maus",
        id=4,
        origin="made",
        plm_id=14,
        source_id=None,
        residual=0.25,
        norm_ratio=0.5,
        influences=(
            Influence("haus", 1, -2.0, 0.625, 0.25),
            Influence("##s", 2, 1.0, 0.5, 0.25),
            Influence("der", 3, 0.125, 0.75, 0.5),
        ),
    )
    assert json.loads(json.dumps(found.to_json()))["influences"][0] == {
        "token": "haus",
        "id": 1,
        "coefficient": -2.0,
        "cosine": 0.625,
        "weight": 0.25,
    }


@pytest.mark.parametrize(
    ("method", "mapped"),
    [
        ("global-residual", "its PLM row"),
        ("global-residual:pieces=true", "its PLM row, first and last source piece"),
        ("salt", None),
    ],
)
def test_a_map_beside_the_neighbours_is_told(method, mapped, directory):
    choice = parse_method(method)
    write_manifest(directory, {"method": {"name": choice.name, "options": choice.options}})
    made, shared = explain(directory, ["maus", "der"])
    assert (made.mapped, shared.mapped) == (mapped, None)
    told = f"made by one map of {mapped}, corrected by"
    assert (told in repr(made)) == (told in explanation_table(made, 5).title) == bool(mapped)


@pytest.mark.parametrize(
    ("record", "made", "shared"),
    [
        ({"fits": {"input": None, "head": None}}, "", ""),
        ({"fits": {"input": {"rows": 3}, "head": None}}, "fits to text", ""),
        ({"fits": {}, "adaptations": [{}]}, "training", "training"),
        (
            {"fits": {"head": {"rows": 3}}, "adaptations": [{}]},
            "fits to text and training",
            "training",
        ),
    ],
)
def test_what_moved_the_rows_since_is_told(record, made, shared, directory):
    write_manifest(directory, record)
    found = explain(directory, ["maus", "der"])
    assert [one.then for one in found] == [made, shared]
    for one, then in zip(found, (made, shared), strict=True):
        assert (f"; then {then}" in repr(one)) == bool(then)
        assert (f"; then {then}" in str(explanation_table(one, 5).title)) == bool(then)


def test_an_anchor_that_the_new_model_lacks_is_named_as_the_source_writes_it(directory):
    (found,) = explain(directory, ["#5"])
    assert found.influences == (Influence("Ġmouse", None, 3.0, 0.375, 1.0),)


@pytest.mark.parametrize(
    ("token", "ids"),
    [
        ("der", [3]),
        ("##s", [2]),  # as the tokenizer writes it; as a text it would be two unknown tokens
        ("#5", [5]),
        ("hauss der", [1, 2, 3]),
        ("zzz", [0]),
    ],
)
def test_a_token_an_id_or_a_text(token, ids, directory):
    assert [found.id for found in explain(directory, [token])] == ids


def test_copied_and_drawn_rows_have_no_neighbours(directory):
    special, shared, sampled = explain(directory, ["#0", "der", "a"])
    assert (special.origin, special.plm_id, special.source_id) == ("special", None, 7)
    assert (shared.origin, shared.plm_id, shared.source_id) == ("shared", 13, 23)
    assert (sampled.origin, sampled.plm_id, sampled.source_id) == ("sampled", 16, None)
    for found in (special, shared, sampled):
        assert (found.residual, found.norm_ratio, found.influences) == (None, None, ())


def test_a_method_without_neighbours_has_no_residual(directory):
    dataclasses.replace(RECORD, neighbours=no_neighbours(2), fit=no_fit(2)).save(directory)
    (found,) = explain(directory, ["maus"])
    assert (found.origin, found.residual, found.norm_ratio) == ("made", None, 0.5)
    assert found.influences == ()
    assert "NaN" not in json.dumps(found.to_json())


def test_what_is_not_in_the_record_is_refused(directory):
    with pytest.raises(VocabularyError, match="#7 is beyond the 7 tokens that the record knows"):
        explain(directory, ["#7"])
    with pytest.raises(VocabularyError, match=r"the tokenizer makes no token of ' '"):
        explain(directory, [" "])
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.add_tokens(["neu"])
    tokenizer.save(str(directory / "tokenizer.json"))
    with pytest.raises(VocabularyError, match="neu is beyond the 7 tokens") as caught:
        explain(directory, ["neu"])
    assert caught.value.hint == "give an id from #0 to #6"


def test_a_directory_without_record_or_tokenizer(directory, tmp_path_factory):
    with pytest.raises(CheckpointError, match="saltlm did not make it"):
        explain(tmp_path_factory.mktemp("other"), ["der"])
    (directory / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json") as caught:
        explain(directory, ["der"])
    assert caught.value.hint == f"saltlm check {directory}"
