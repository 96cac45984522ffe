"""Text with the words of a language as often as they occur, where there is no corpus.

    pip install wordfreq
    python benchmarks/word_lists.py --language sv --out swedish.words.txt
    saltlm transfer SOURCE PLM --prune-to 16000 --corpus swedish.words.txt --out DIR

For choosing tokens (--prune-to, --vocabulary auto) and unigram calibration, which count tokens and
do not read sentences; not for training, nor for what is fitted to text. Words occur as often as
wordfreq (Apache-2.0, its data CC BY-SA 4.0) says, in a drawn order, and the rarest ones once. Its
lists are in lower case and without punctuation: a third of the words begins with a capital letter
here, and lines end with a full stop, so that such tokens are not all cut.
"""

import argparse
import random
from pathlib import Path

CAPITALS = 1 / 3
WORDS_A_LINE = 12


def text_of(frequencies, n_words, seed):
    """Return lines in which each word stands as often as in a text of so many words, or once.

    Args:
        frequencies: word -> share of all words.
        n_words: of the text, but for the rare words that stand in it once.
        seed: of order and capital letters.
    """
    generator = random.Random(seed)
    words = [
        word
        for word, share in sorted(frequencies.items())
        for _ in range(max(1, round(share * n_words)))
    ]
    generator.shuffle(words)
    words = [
        word[:1].upper() + word[1:] if generator.random() < CAPITALS else word for word in words
    ]
    lines = [words[i : i + WORDS_A_LINE] for i in range(0, len(words), WORDS_A_LINE)]
    return [f"{' '.join(line)}." for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--language", required=True, help="a code that wordfreq knows")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--words", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    import wordfreq

    lines = text_of(wordfreq.get_frequency_dict(given.language), given.words, given.seed)
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{given.out}: {len(lines):,} lines")


if __name__ == "__main__":
    main()
