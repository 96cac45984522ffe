"""Try an installed saltlm without extras, as its first user will: two tiny models, one transfer.

It runs outside of the repository, with nothing but the wheel and what that asks for.
"""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path
from typing import Any

import saltlm


def run(*command: str) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def write_models(place: Path) -> None:
    """Write a Llama and a BERT whose tokenizers share words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

    text = ["the house and the dog", "das Haus und der Hund", "the old man", "der alte Mann"] * 9
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2}

    source = Tokenizer(models.BPE())
    source.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    source.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"vocab_size": 300, "initial_alphabet": alphabet, "show_progress": False}
    source.train_from_iterator(
        text[:2] * 9, trainers.BpeTrainer(special_tokens=["<|endoftext|>"], **options)
    )
    LlamaForCausalLM(LlamaConfig(vocab_size=source.get_vocab_size(), **sizes)).save_pretrained(
        place / "source"
    )
    roles = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    write_tokenizer(place / "source", source, roles)

    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    roles |= {"sep_token": "[SEP]", "mask_token": "[MASK]"}
    plm = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    plm.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    plm.decoder = decoders.WordPiece()
    plm.train_from_iterator(
        text, trainers.WordPieceTrainer(special_tokens=list(roles.values()), show_progress=False)
    )
    BertModel(BertConfig(vocab_size=plm.get_vocab_size(), **sizes)).save_pretrained(place / "plm")
    write_tokenizer(place / "plm", plm, roles)


def write_tokenizer(directory: Path, tokenizer: Any, roles: dict[str, str]) -> None:
    """Write what AutoTokenizer needs."""
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    where = Path(saltlm.__file__)
    assert where.is_relative_to(sys.prefix), f"{where} is not what was installed"
    assert {path.name for path in files("saltlm")} >= {"py.typed", "english.txt.gz", "LICENSE"}
    command = str(Path(sys.executable).with_name("saltlm"))
    assert "transfer" in run(command, "--help")
    assert saltlm.__version__ in run(sys.executable, "-m", "saltlm", "--version")
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        source, plm, out = (str(Path(folder, name)) for name in ("source", "plm", "out"))
        run(command, "transfer", source, plm, "--out", out)
        run(command, "check", out)

        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(out)
        model = AutoModelForCausalLM.from_pretrained(out)
        inputs = tokenizer("das alte Haus", return_tensors="pt")
        assert model(**inputs).logits.shape[-1] >= len(tokenizer)
    print(f"saltlm {saltlm.__version__} works without extras")
