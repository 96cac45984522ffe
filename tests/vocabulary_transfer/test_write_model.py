"""The new directory: its dtype, its files, its padding, and going on after an interruption."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from saltlm.config.transfer import load_config
from saltlm.errors import CheckpointError, ConfigError
from saltlm.inspection.explain import explain
from saltlm.record.arrays import Origin
from saltlm.record.manifest import read_manifest
from saltlm.record.provenance import Provenance
from saltlm.vocabulary_transfer.transfer import transfer
from tiny_models import PLMS, SOURCES
from tiny_pairs import faults


@pytest.fixture
def pair(tmp_path, tokenizers_by_family, roles_by_family, save_tokenizer_dir):
    """A model with a head and its bias, in several shards, and a PLM."""
    torch.manual_seed(0)
    directories = []
    for name, family, maker in (
        ("source", "bytelevel", SOURCES["Phi"]),
        ("plm", "wordpiece", PLMS["BERT"]),
    ):
        tokenizer = tokenizers_by_family[family]
        save_tokenizer_dir(tokenizer, tmp_path / name, **roles_by_family[family])
        maker(tokenizer.get_vocab_size()).save_pretrained(tmp_path / name, max_shard_size="60KB")
        directories.append(tmp_path / name)
    return directories


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.glob("model*")}


def tables_of(model):
    head = model.get_output_embeddings()
    return [model.get_input_embeddings().weight, head.weight, head.bias]


def test_another_dtype_in_files_of_another_size(pair, tmp_path):
    plain = transfer(*pair, tmp_path / "plain")
    small = transfer(*pair, tmp_path / "out", dtype="bfloat16", max_shard_size="1GB")
    assert small.embedding.dtype == torch.bfloat16
    for table, rounded in ((plain.embedding, small.embedding), (plain.head, small.head)):
        assert torch.equal(table.bfloat16(), rounded)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    for loaded, table in zip(
        tables_of(model), (small.embedding, small.head, small.head_bias), strict=True
    ):
        assert torch.equal(loaded, table)
    source = AutoModelForCausalLM.from_pretrained(pair[0]).model.layers.state_dict()
    for name, tensor in model.model.layers.state_dict().items():
        assert torch.equal(tensor, source[name].bfloat16())
    assert [path.name for path in (tmp_path / "out").glob("*.safetensors")] == ["model.safetensors"]
    hashes = read_manifest(tmp_path / "out")["tensors"]["model.final_layernorm.weight"]
    assert hashes["converted_from"] == "F32"
    assert hashes["source"] != hashes["written"]
    assert not faults(tmp_path / "out")


def test_a_wider_dtype_gives_new_rows_their_digits(pair, tmp_path):
    source = AutoModelForCausalLM.from_pretrained(pair[0], dtype=torch.bfloat16)
    source.save_pretrained(tmp_path / "narrow")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "narrow" / name).write_bytes((pair[0] / name).read_bytes())
    wide = transfer(tmp_path / "narrow", pair[1], tmp_path / "out", dtype="float32")
    record = wide.provenance
    copied = record.source_ids >= 0
    old = source.get_input_embeddings().weight[record.source_ids[copied]]
    assert torch.equal(wide.embedding[copied], old.float())
    linear = wide.embedding[record.new_ids]
    assert not torch.equal(linear, linear.bfloat16().float())


def test_padding_rows_are_never_the_likeliest(pair, tmp_path):
    plain = transfer(*pair, tmp_path / "plain")
    padded = transfer(*pair, tmp_path / "out", pad_to_multiple_of=512)
    v = len(plain.embedding)
    met = transfer(*pair, tmp_path / "met", pad_to_multiple_of=v)
    assert len(met.embedding) == v
    assert "padding" not in met.counts
    assert len(padded.embedding) == len(padded.head) == len(padded.head_bias) == -(-v // 512) * 512
    assert len(padded.embedding) > v
    for table, longer in (
        (plain.embedding, padded.embedding),
        (plain.head, padded.head),
        (plain.head_bias, padded.head_bias),
    ):
        assert torch.equal(longer[:v], table)
        mean = table.double().mean(0).float()
        torch.testing.assert_close(longer[v:], mean.expand_as(longer[v:]), rtol=0, atol=0)
    record = Provenance.load(tmp_path / "out")
    assert record.origin[v:].unique().tolist() == [Origin.PADDING]
    assert (record.plm_ids[v:] == -1).all()
    assert (record.source_ids[v:] == -1).all()
    assert padded.counts == plain.counts | {"padding": len(padded.embedding) - v}
    (row,) = explain(tmp_path / "out", [f"#{v}"])
    assert (row.token, row.origin, row.influences) == ("", "padding", ())

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert model.config.vocab_size == len(padded.embedding)
    with torch.inference_mode():
        logits = model(torch.arange(40).unsqueeze(0)).logits
    assert (logits[..., v:].amax(-1) < logits[..., :v].amax(-1)).all()
    assert "of no token" in (tmp_path / "out" / "README.md").read_text()
    assert "of no token" not in (tmp_path / "plain" / "README.md").read_text()


def test_a_run_after_a_killed_one_ends_with_the_same_bytes(pair, tmp_path, caplog):
    transfer(*pair, tmp_path / "whole")
    expected = files_of(tmp_path / "whole")
    shards = sorted(name for name in expected if name.endswith(".safetensors"))
    assert len(shards) > 3
    killed = tmp_path / ".out.saltlm-partial" / "model"
    killed.mkdir(parents=True)
    for name in shards[:2]:
        (killed / name).write_bytes(expected[name])
    (killed / shards[2]).write_bytes(expected[shards[2]][:-1])
    (killed / "config.json").write_text("of the killed run")
    with caplog.at_level("INFO"):
        transfer(*pair, tmp_path / "out")
    assert files_of(tmp_path / "out") == expected
    kept = [r.getMessage().split()[0] for r in caplog.records if "interrupted" in r.getMessage()]
    assert kept == shards[:2]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "phi"
    assert not killed.parent.exists()


def test_a_quantised_source_keeps_its_dtype(pair, tmp_path):
    file = pair[0] / "config.json"
    config = json.loads(file.read_text()) | {"quantization_config": {"quant_method": "gptq"}}
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"source is quantised \(gptq\)"):
        transfer(*pair, tmp_path / "out", dtype="bfloat16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, r"option dtype='int8': Input should be 'bfloat16', 'float16'"),
        ({"max_shard_size": "5 trees"}, r"option max_shard_size='5 trees': could not interpret"),
        ({"max_shard_size": 0}, r"option max_shard_size=0: Input should be greater than 0"),
        ({"pad_to_multiple_of": 0}, r"option pad_to_multiple_of=0: Input should be greater"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        load_config(**options)


def test_sizes_are_read_with_their_units():
    assert load_config(max_shard_size="5GB").max_shard_size == 5 * 10**9
    assert load_config(assignments=["max_shard_size=2GiB"]).max_shard_size == 2 * 2**30


def test_files_without_a_table_may_be_the_sources_own(pair, tmp_path):
    before = files_of(pair[0])
    transfer(*pair, tmp_path / "copied")
    transfer(*pair, tmp_path / "out", link="auto")
    assert torch.equal(*(state_of(tmp_path / name) for name in ("copied", "out")))
    tensors = read_manifest(tmp_path / "out")["tensors"]
    shared = {name for name, both in tensors.items() if both["shared"]}
    assert "model.layers.0.mlp.fc1.weight" in shared
    assert shared.isdisjoint({"model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"})
    assert all(tensors[name]["written"] is None for name in shared)
    files = [file.name for file in pair[0].glob("*.safetensors")]
    linked = [name for name in files if (pair[0] / name).samefile(tmp_path / "out" / name)]
    kinds = {tensors[name]["shared"] for name in shared}
    assert kinds == ({"hard link"} if linked else {"reflink"})
    (note,) = (one for one in read_manifest(tmp_path / "out")["notes"] if "source's own" in one)
    assert note.startswith(f"{len(linked)} weight files" if linked else "")
    transfer(*pair, tmp_path / "out", force=True, dtype="bfloat16", link="auto")
    assert files_of(pair[0]) == before
    assert not faults(tmp_path / "out")


def state_of(directory):
    model = AutoModelForCausalLM.from_pretrained(directory)
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])
