"""What of a model directory goes to the Hub."""

import pytest

from saltlm.errors import CheckpointError
from saltlm.record.upload import push

GOES = ["README.md", "config.json", "model.safetensors", "saltlm/manifest.json"]
STAYS = [
    ".cache/huggingface/x",
    "saltlm/.start.saltlm-partial/lock",
    "saltlm/checkpoints/step-2/model.safetensors",
    "saltlm/lock",
    "saltlm/report.html",
    "saltlm/run.json",
    "saltlm/start/model.safetensors",
]


def test_the_model_and_its_record_go_and_what_only_a_run_needs_stays(tmp_path):
    for name in GOES + STAYS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = push(tmp_path, "me/model", dry_run=True)
    assert found.files == dict.fromkeys(GOES, 2)
    assert (found.is_private, found.url, found.licence) == (True, None, None)
    assert "would be put into me/model, private" in repr(found)
    assert [one.partition(":")[0] for one in found.to_know] == [
        "the card states no licence",
        "the card names no language",
    ]
    (tmp_path / "README.md").write_text("---\nlicense: mit\nlanguage: de\n---\n")
    (tmp_path / "saltlm/manifest.json").write_text('{"corpus": ["/home/me/de.txt"]}')
    (told,) = push(tmp_path, "me/model", dry_run=True).to_know
    assert told.endswith("manifest.json names folders of this machine, such as /home/me/de.txt")


def test_what_is_no_model_does_not_go(tmp_path):
    with pytest.raises(CheckpointError, match="is no model directory"):
        push(tmp_path, "me/model", dry_run=True)
