"""Short texts on which two tokenizers are compared: what real ones are known to disagree about."""

CHAT = "chat"
"""The probe that names special tokens."""

PROBES: dict[str, str] = {
    "words": "The house is near the river. Das Haus steht am Fluss.",
    "upper case": "Das HAUS Ist GROSS und NASA auch",
    "accents": "Où étiez-vous, Zoë? Größe, mañana, İstanbul, ngôi nhà mới.",
    "line breaks": "first line\nsecond line\n\nthird\r\nlast\n",
    "tabs": "name\tvalue\n\tindented",
    "runs of spaces": "two  spaces,   three,    four",
    "spaces at the ends": "  begins and ends with two  ",
    "digits": "In 2024 1234567 and 3.14, 1,250 and 007",
    "contractions": "Don't say it isn't, we'll see, l'été, I'VE",
    "punctuation": "Wait ... what?! (Yes), \u201eso\u201c \u2013 \u00abça\u00bb; a/b, x_y",
    "code": "def f(x):\n    if x > 0:\n        return [x, x + 1]  # done\n",
    CHAT: "<|im_start|>user\nHello<|im_end|>\n<s>[INST] Hello [/INST]</s>",
    "scripts": "мир שלום مرحبا 你好 こんにちは 안녕하세요 สวัสดี नमस्ते Ελλάδα",
    "bidi": "abc \u200fשלום\u200f 123 \u202bمرحبا\u202c (א)",
    "combining marks": "e\u0301te\u0301 n\u0303 Vie\u0323\u0302t كِتَاب ज़",
    "compatibility forms": "\ufb01ne \u2460 \uff21\uff22 \u212b x\u00b2 \u2026 \u017f",
    "invisible characters": "a\u00a0b\u200bc\u00add\ufeff \u3000e",
    "emoji": "\U0001f600 \U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467",
}
"""What is tried -> a text of it. White space is told apart from content by `WHITE_SPACE`."""

WHITE_SPACE = frozenset(
    {"line breaks", "tabs", "runs of spaces", "spaces at the ends", "code", "chat"}
)
"""Probes whose point is white space."""
