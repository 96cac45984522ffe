#!/usr/bin/env bash
# sentencepiece 0.2.3: a trained Unigram model can give most of the probability to one rare word.
#
# Behaviour: the trainer prunes single letters like other pieces, where longer pieces cover them. When those
#   are pruned in their turn, such a letter is unknown, and the E step (RunEStep in unigram_model_trainer.cc)
#   counts it as piece number 0: the trainer's list has no place for the unknown, but its number is still 0,
#   as in a finished model. Piece 0 is whatever stands first in the list by then: the space mark in most
#   texts, here a word. At the end the letters come back, with the lowest scores.
# Why it surprises: a score is the logarithm of a probability. No piece can have a larger part of the tokens
#   than its number in the text divided by the number of words. Who takes scores for frequencies, or samples
#   by them, gets mostly this word, and all other pieces are too low. Nothing is printed. tokenizers, whose
#   trainer is a port of this one, has a place for the unknown: no piece is above the bound.
# Seen, 24,000 words of a small language, 300 different ones of two to four syllables, 200 pieces: for 5 texts
#   of 5, a word that is 0.4 % of the text (99 to 102 times) has a probability of 0.58 to 0.61. In 0.1.99, the
#   same words have 0.60 to 0.64. With room for every word, 400 pieces, no letter is lost, and all is well.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1 TOKENIZERS_PARALLELISM=false
python3 -m pip install -qq --target "$work/packages" sentencepiece==0.2.3 tokenizers==0.23.3
cd "$work"

python3 - <<'PYTHON'
import io
import json
import math
import random

import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SYLLABLES = [start + vowel for start in ("", *"hklmnpw") for vowel in "aeiou"]
PIECES = 200


def by_sentencepiece(lines):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=PIECES, hard_vocab_limit=False, minloglevel=2
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [(trained.id_to_piece(i), trained.get_score(i)) for i in range(3, len(trained))]


def by_tokenizers(lines):
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    settings = {"special_tokens": ["<unk>"], "unk_token": "<unk>", "show_progress": False}
    trained.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=PIECES, **settings))
    return json.loads(trained.to_str())["model"]["vocab"][1:]


def too_probable(pieces, lines):
    """Return the pieces whose probability is above their number in the text over that of the words."""
    text = " " + " ".join(lines)
    words = text.count(" ")
    counted = [(piece, math.exp(score), text.count(piece.replace("\u2581", " "))) for piece, score in pieces]
    return [(piece, probability, count) for piece, probability, count in counted if probability > count / words]


for seed in range(5):
    chance = random.Random(seed)
    words = sorted({"".join(chance.choices(SYLLABLES, k=chance.randint(2, 4))) for _ in range(300)})
    lines = [" ".join(chance.choices(words, k=8)) for _ in range(3000)]
    [(piece, probability, count)] = too_probable(by_sentencepiece(lines), lines)
    print(f"{piece}: {count} of 24000 words, probability {probability:.2f}")
    assert piece[1:] in words and count < 150
    assert probability > 0.5
    assert not too_probable(by_tokenizers(lines), lines)
PYTHON
