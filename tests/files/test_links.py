"""No link in a model folder leads out of it."""

import pytest

from saltlm.errors import CheckpointError
from saltlm.files.links import check_links
from saltlm.models.hub import resolve_model


@pytest.fixture
def model(tmp_path):
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "model" / "saltlm").mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("LICENSE", "../secret"),
        ("LICENSE", "nowhere/../../gone"),
        ("saltlm/manifest.json", "../../secret"),
        ("additional_chat_templates", ".."),
    ],
)
def test_a_link_out_of_it_is_refused(model, name, target):
    (model / name).symlink_to(target)
    with pytest.raises(CheckpointError, match=r"is a link out of the model's folder") as caught:
        resolve_model(str(model))
    assert f"cp -rL {model}" in caught.value.hint


def test_links_inside_it_and_to_it_will_do(model):
    (model / "copy.json").symlink_to("config.json")
    (model.parent / "link").symlink_to(model)
    check_links(model)
    check_links(model.parent / "link")


def test_the_cache_of_the_hub_is_known(tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blob = tmp_path / "models--a--b" / "blobs" / "1234"
    blob.parent.mkdir()
    blob.write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/1234")
    check_links(snapshot)
    (snapshot / "other.json").symlink_to(tmp_path / "models--c--d" / "blobs" / "1234")
    with pytest.raises(CheckpointError, match="link out of"):
        check_links(snapshot)
