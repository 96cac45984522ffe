"""Exact match and F1 of answers, on cases worked by hand from the definition of MLQA."""

import pytest

from saltlm.evaluation.answers import answer_words, exact_match, f1


@pytest.mark.parametrize(
    ("language", "answer", "words"),
    [
        ("en", "The U.S., an ally — a friend", ["us", "ally", "friend"]),
        ("en", "Theatre and another", ["theatre", "and", "another"]),
        ("de", "Der große »Fluß«, das Öl", ["große", "fluß", "öl"]),
        ("de", "eines der 3.980 Häuser", ["3980", "häuser"]),
        ("de", "Derwisch", ["derwisch"]),
        ("es", "¿Los niños, o las niñas?", ["niños", "o", "niñas"]),
        ("vi", "Của chiếc thuyền, là những", ["thuyền"]),
        ("vi", "cái nhà (ở Hà Nội)", ["nhà", "ở", "hà", "nội"]),
        ("hi", "घर, नया।", ["घर", "नया"]),
        # The article goes wherever its letters stand: "articles" falls in two.
        ("ar", "البيت القديم، في مقالات", ["بيت", "قديم", "في", "مق", "ات"]),
        ("zh", "在2024年,New York很大。", ["在", "2024", "年", "new", "york", "很", "大"]),
        ("zh", "《红楼梦》", ["红", "楼", "梦"]),
        ("sw", "The na Der", ["the", "na", "der"]),
    ],
)
def test_words_of_an_answer(language, answer, words):
    assert answer_words(answer, language) == words


@pytest.mark.parametrize(
    ("language", "prediction", "answers", "is_match", "score"),
    [
        # 2 common words of 3 and 2: precision 2/3, recall 1.
        ("de", "Die alte Stadt Köln.", ["alte stadt"], 0.0, 4 / 5),
        ("de", "der Rhein", ["Rhein!", "Main"], 1.0, 1.0),
        ("de", "Rhein", ["Donau", "Rhein und Main"], 0.0, 2 * 1 / 4),
        # "the house" loses its article; 1 common word of 1 and 2.
        ("ar", "البيت", ["بيت جديد"], 0.0, 2 / 3),
        ("ar", "القاهرة", ["قاهرة"], 1.0, 1.0),
        # Tones tell words apart: 1 common word of 2 and 2.
        ("vi", "sông Hồng", ["sông Hông"], 0.0, 1 / 2),
        ("vi", "Những con sông", ["con sông"], 1.0, 1.0),
        # Character by character: 3 common of 4 and 3.
        ("zh", "长江三角", ["长江三"], 0.0, 6 / 7),
        ("zh", "在 北京,", ["在北京"], 1.0, 1.0),
        ("zh", "NBA 球员", ["NBA球员"], 1.0, 1.0),
        # A word counts as often as it stands on both sides: 1 of 3 and 1.
        ("en", "no no no", ["no"], 0.0, 1 / 2),
        # Nothing against nothing matches, and has no common word.
        ("en", "the", ["..."], 1.0, 0.0),
        ("en", "", ["yes"], 0.0, 0.0),
    ],
)
def test_exact_match_and_f1(language, prediction, answers, is_match, score):
    assert exact_match(prediction, answers, language) == is_match
    assert f1(prediction, answers, language) == pytest.approx(score)
