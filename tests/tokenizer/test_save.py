"""A tokenizer that is written behaves as it did, read by any class."""

from tokenizers import processors

from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.save import _behaviour


def test_an_empty_template_is_none_and_one_with_a_token_is_not(tokenizers_by_family):
    tokenizer = tokenizers_by_family["bytelevel"]
    templates = {
        "none": None,
        "empty": processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[]),
        "bos": processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
        ),
    }
    told = {}
    for name, template in templates.items():
        copy = type(tokenizer).from_str(tokenizer.to_str())
        copy.post_processor = template
        told[name] = _behaviour(Definition.of(copy))
    assert told["none"] == told["empty"] != told["bos"]
