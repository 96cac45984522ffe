"""A chat template is rendered as transformers does, and within bounds."""

import pytest
from transformers import PreTrainedTokenizerFast

from conftest import train_bytelevel
from saltlm.errors import VocabularyError
from saltlm.tokenizer import chat
from saltlm.tokenizer.chat import render_chat

TURNS = [{"role": "user", "content": "How <are> you?"}, {"role": "assistant", "content": "Wéll"}]
TEMPLATE = """\
{%- set first = namespace(seen=false) %}
{% for m in messages %}
    {%- if loop.index > 9 %}{% break %}{% endif %}
    {%- generation %}
{{ bos_token }}{{ m.role }}|{{ m | tojson }}
    {%- endgeneration %}
{% endfor %}
{{ "open" if add_generation_prompt }}{{ tools is none }}{{ strftime_now("%%") }}"""


@pytest.fixture(scope="module")
def tokenizer():
    return PreTrainedTokenizerFast(tokenizer_object=train_bytelevel(), bos_token="<|im_start|>")


@pytest.mark.parametrize("is_open", [True, False])
def test_it_is_what_transformers_writes(tokenizer, is_open):
    tokenizer.chat_template = TEMPLATE
    wanted = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=is_open)
    assert render_chat(tokenizer, TURNS, is_open=is_open) == wanted
    assert "Wéll" in wanted


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no turns') }}", "TemplateError: no turns"),
        ("{% for m in", "TemplateSyntaxError: "),
        ("{{ messages.append(1) }}", "SecurityError: "),
        ("{{ 'ab' * 40 }}", "it writes 80 letters for a chat of two lines"),
    ],
)
def test_what_is_refused(tokenizer, template, reason, monkeypatch):
    monkeypatch.setattr(
        chat, "_CHILD", chat._CHILD.replace("; chat.", "; chat._MOST_LETTERS = 50; chat.")
    )
    tokenizer.chat_template = template
    with pytest.raises(VocabularyError, match=reason) as caught:
        render_chat(tokenizer, TURNS, is_open=True)
    assert "chat_template.jinja" in caught.value.hint


def test_a_template_that_does_not_end(tokenizer, monkeypatch):
    monkeypatch.setattr(chat, "SECONDS", 0.15)
    tokenizer.chat_template = (
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
    )
    with pytest.raises(VocabularyError, match=r"does not end within 0\.3 seconds"):
        render_chat(tokenizer, TURNS, is_open=True)
