"""What the tests of training share."""

import pytest
from transformers import AutoTokenizer


@pytest.fixture
def tokenizer(tokenizers_by_family, save_tokenizer_dir, tmp_path):
    directory = save_tokenizer_dir(
        tokenizers_by_family["bytelevel"],
        tmp_path / "tokenizer",
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
    )
    return AutoTokenizer.from_pretrained(directory)
