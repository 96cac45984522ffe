r"""White space that comes back as it was, in the terms of a model whose words begin with a space.

A PLM learns a word with a space before it, also where a text or a line begins. So there a space is
put before the word when text is read, and taken away when it is written: a single space, behind the
start of a text, a line break, or whatever else the PLM takes for a space. A real single space in
such a place is marked with an escape character, which goes again as well. So both directions are
exact, for every text.

    "Haus\n Hof"  ->  " Haus\n\x10 Hof"  ->  "Haus\n Hof"

In between, runs of white space stand apart from words, with one space left to the word behind them,
and digits are set apart in groups, if the source does so.
"""

from dataclasses import dataclass

from saltlm.tokenizer.definition import Step

ESCAPE = "\x10"
"""Says that the single space behind it is a real one."""

_LITERAL = "\x10\x11"  # the character itself
_START = r"(?<![\s\S])"
_PUNCTUATION = r"!-/:-@\[-`{-~\p{P}"  # what BERT sets apart
_CJK = (
    r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2CEAF}"
    r"\x{2F800}-\x{2FA1F}"
)
_OPENING = r"(\[{<„‚«‹¿¡/\\\-—_@#&=+~|\"'’*"  # a word that follows mostly has no space before it
_LONGEST_WORD = 100  # letters that longest-match models are given at once


@dataclass(frozen=True)
class Spacing:
    """How white space, digits and words are set apart.

    Attributes:
        begins_with_space: whether the PLM puts a space before a text.
        begins_lines: whether it takes line breaks for spaces, so that lines begin as texts do.
        splits_words: whether the PLM cuts text at spaces.
        isolates: whether it sets punctuation and CJK apart, and begins words behind them (BERT).
        digits: how many digits the source takes at once; None if that is left to the PLM.
        joins_line_breaks: whether the source takes line breaks before a word together.
    """

    begins_with_space: bool
    begins_lines: bool
    splits_words: bool
    isolates: bool
    digits: int | None
    joins_line_breaks: bool

    def normalizer(self) -> list[Step]:
        """Return what puts spaces where words begin without one."""
        if not self.begins_with_space:
            return []
        steps = [_replace({"String": ESCAPE}, _LITERAL)]
        steps.append(_replace({"Regex": self._single_space}, ESCAPE + " "))
        if self.begins_lines:
            steps.append(_replace({"Regex": rf"(?<=[^\S ])(?=[^{self._apart}])"}, " "))
        if self.isolates:
            steps.append(_replace({"Regex": rf"(?<=[{_OPENING}])(?=\p{{L}})"}, " "))
        return steps

    def pre_tokenizer(self) -> list[Step]:
        """Return what puts a space before a text and cuts it into words."""
        first = {"replacement": " ", "prepend_scheme": "first", "split": False}
        parts = "|".join(self._parts())
        steps: list[Step] = [{"type": "Metaspace", **first}] if self.begins_with_space else []
        return [*steps, isolated(parts)]

    def decoder(self) -> list[Step]:
        """Return what takes these spaces away again."""
        if not self.begins_with_space:
            return []
        return [
            _replace({"Regex": self._single_space}, ""),
            _replace({"String": ESCAPE + " "}, " "),
            _replace({"String": _LITERAL}, ESCAPE),
        ]

    @property
    def _apart(self) -> str:
        """What is no part of a word, as the inside of a class of characters."""
        digits = r"\p{N}" if self.digits else ""
        return rf"\s{ESCAPE}{digits}" + (_PUNCTUATION + _CJK if self.isolates else "")

    @property
    def _single_space(self) -> str:
        """What is written for a single space where a word may begin without one."""
        places = [_START]
        places += [r"(?<=[^\S ])"] if self.begins_lines else []
        places += [f"(?<=[{_OPENING}])"] if self.isolates else []
        return f"(?:{'|'.join(places)}) (?! )"

    def _parts(self) -> list[str]:
        parts = [ESCAPE]
        parts += [rf"\p{{N}}{{1,{self.digits}}}"] if self.digits else []
        word = f" ?[^{self._apart}]"
        if self.isolates:
            parts += [f"{word}{{1,{_LONGEST_WORD}}}", f" ?[{_PUNCTUATION}]", f"[{_CJK}]"]
        else:
            parts.append(f"{word}+" if self.splits_words else f"(?:{word}+)+")
        # The last break before a word stands alone where the source has it so: GPT-2 leaves the
        # last white space of a run to what follows, and a line break cannot be part of a word.
        begun = r"[^\S ](?= \S)"
        parts += [r"\s*[\r\n]+"] if self.joins_line_breaks else [rf"\s+(?={begun})", begun]
        return [*parts, r"\s+(?!\S)", r"\s"]


def isolated(pattern: str) -> Step:
    """Return the pre-tokenizer that sets apart what a regular expression matches."""
    how = {"behavior": "Isolated", "invert": False}
    return {"type": "Split", "pattern": {"Regex": pattern}, **how}


def _replace(pattern: Step, content: str) -> Step:
    return {"type": "Replace", "pattern": pattern, "content": content}
