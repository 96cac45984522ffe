"""Tokens with other ids."""

import pytest

from saltlm.tokenizer.definition import Definition
from saltlm.tokenizer.renumber import with_id

TEXT = "Öffnen Sie die Datei, <new> read <|im_end|> the first <s> line [SEP] in 2024."


@pytest.mark.parametrize("family", ["bytelevel", "metaspace", "unigram", "wordpiece"])
@pytest.mark.parametrize("token", ["<new>", "a", ""])
def test_a_token_has_another_id_and_nothing_else_changes(family, token, tokenizers_by_family):
    """The token is one that was added behind the pieces, a piece, or a special one among them."""
    tokenizer = Definition.of(tokenizers_by_family[family]).build()
    tokenizer.add_special_tokens(["<new>"])
    old = Definition.of(tokenizer)
    token = token or old.specials[1]
    new, order = with_id(old, old.ids[token], 40)
    assert new.ids[token] == 40
    assert [string for string in sorted(new.ids, key=new.ids.get) if string != token] == [
        string for string in sorted(old.ids, key=old.ids.get) if string != token
    ]
    strings = {id: string for string, id in old.ids.items()}
    assert [strings[id] for id in order.tolist()] == sorted(new.ids, key=new.ids.get)
    before, after = old.tokenizer.encode(TEXT), new.tokenizer.encode(TEXT)
    assert after.tokens == before.tokens
    assert order[after.ids].tolist() == before.ids
    assert new.tokenizer.decode(after.ids) == old.tokenizer.decode(before.ids)
    assert new.unknown == old.unknown
