"""What quick measures: sentences and translations, rankings, and generated text."""

import copy
import gzip
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapt_models import save_model
from conftest import CORPUS
from saltlm.errors import DataError
from saltlm.evaluation import generation, retrieval, speed
from saltlm.evaluation.bits_per_byte import bits_per_byte
from saltlm.evaluation.generation import N_NEW, generate, problem_of, prompt_of
from saltlm.evaluation.quick import generation_task, ranking_task, retrieval_task, text_task
from saltlm.evaluation.ranking import Ranking, draw_candidates, rank_translations
from saltlm.evaluation.retrieval import retrieved, sentence_vectors
from saltlm.evaluation.task import Subject
from saltlm.files.parallel import SentencePair, first_pairs
from saltlm.models.logits import document_start
from saltlm.tokenizer.fertility import fertility

ENGLISH, GERMAN = CORPUS[:6], CORPUS[6:12]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    directory = save_model(tmp_path_factory.mktemp("tiny") / "model", initializer_range=0.3)
    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    return model, AutoTokenizer.from_pretrained(directory)


@torch.no_grad()
def naive_vector(model, tokenizer, sentence):
    ids = [
        document_start(model, tokenizer),
        *tokenizer(sentence, add_special_tokens=False).input_ids,
    ]
    states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return np.stack([layer[0, 1:].double().numpy().mean(0) for layer in states])


@pytest.mark.parametrize("most_tokens", [1, 60, 10_000])
def test_a_sentence_is_the_mean_of_its_own_states_at_each_layer(tiny, monkeypatch, most_tokens):
    monkeypatch.setattr(retrieval, "_MOST_TOKENS", most_tokens)
    found = sentence_vectors(*tiny, ENGLISH)
    assert found.shape == (3, 6, 16)
    expected = np.stack([naive_vector(*tiny, sentence) for sentence in ENGLISH], 1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-5)


def test_of_a_long_sentence_what_fits_is_read(tiny):
    model, tokenizer = tiny
    text = " ".join(["z"] * 200)
    n = model.config.max_position_embeddings
    ids = tokenizer(text, add_special_tokens=False).input_ids
    shorter = tokenizer.decode(ids[: n - 1])
    long, short = (sentence_vectors(model, tokenizer, [one]) for one in (text, shorter))
    torch.testing.assert_close(long, short)


def test_identical_sentences_are_all_retrieved_at_every_layer(tiny):
    vectors = sentence_vectors(*tiny, ENGLISH)
    assert retrieved(vectors, vectors).all()


def test_retrieval_is_a_nearest_neighbour_search_by_centred_cosine():
    generator = np.random.default_rng(0)
    keys = generator.normal(size=(2, 9, 5)) + 3  # a language of its own
    queries = keys + generator.normal(size=(2, 9, 5)) - 20
    expected = np.zeros((2, 9), bool)
    for layer in range(2):
        left, right = (side[layer] - side[layer].mean(0) for side in (queries, keys))
        for row in range(9):
            cosines = [
                left[row] @ key / np.linalg.norm(left[row]) / np.linalg.norm(key) for key in right
            ]
            expected[layer, row] = int(np.argmax(cosines)) == row
    found = retrieved(torch.tensor(queries), torch.tensor(keys)).numpy()
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.sum() < found.size


def test_a_tie_is_not_retrieved():
    vectors = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [-1.0, 1.0]]])
    assert retrieved(vectors, vectors).tolist() == [[False, False, True]]


def test_candidates_are_the_own_pair_and_different_others():
    drawn = draw_candidates(7, 3, seed=1)
    assert drawn.shape == (7, 4)
    assert drawn[:, 0].tolist() == list(range(7))
    assert all(len(set(row)) == 4 for row in drawn.tolist())
    assert (drawn == draw_candidates(7, 3, seed=1)).all()
    assert (drawn != draw_candidates(7, 3, seed=2)).any()
    assert {tuple(sorted(row)) for row in draw_candidates(4, 3, seed=0).tolist()} == {(0, 1, 2, 3)}


def test_candidates_cost_what_they_cost_one_by_one(tiny):
    candidates = draw_candidates(6, 2, seed=0)
    found = rank_translations(*tiny, ENGLISH, GERMAN, candidates)
    for row, places in enumerate(candidates):
        for column, place in enumerate(places):
            text = GERMAN[place]
            after = bits_per_byte(*tiny, [text], prompts=[ENGLISH[row] + "\n"])
            assert found.after[row, column] == pytest.approx(after.value, rel=1e-5)
            alone = bits_per_byte(*tiny, [text])
            assert found.alone[row, column] == pytest.approx(alone.value, rel=1e-5)


def test_the_cheapest_and_the_most_helped_candidate_are_different_questions():
    ranking = Ranking(
        after=np.array([[1.0, 2.0], [3.0, 2.0], [2.0, 2.0]]),
        alone=np.array([[1.5, 4.0], [5.0, 2.5], [3.0, 3.0]]),
    )
    assert ranking.is_first.tolist() == [True, False, False]
    assert ranking.gains_most.tolist() == [False, True, False]


def write_rows(file, rows):
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def test_pairs_are_read_once_and_only_where_they_differ(tmp_path):
    rows = ["a house\tein Haus", "", "%s\t%s", "a house\tdas Haus", "the house\tein Haus", "x\ty "]
    plain = write_rows(tmp_path / "p.tsv", rows)
    assert first_pairs(plain, 9) == [("a house", "ein Haus"), ("x", "y")]
    packed = tmp_path / "p.tsv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert first_pairs(packed, 9) == first_pairs(plain, 9)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["a\tb", "", "a b", "c\t", "d\te"],
            r"p\.tsv has too many bad rows: 2 of 4 rows .* line 3 \(1 columns, not 2\), line 4",
        ),
        (["a\tb\tc"], r"p\.tsv has 3 columns of text, not two: column 1, column 2, column 3"),
        (["a\tb", "a\tc"], r"p\.tsv has 1 usable pair"),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, message):
    with pytest.raises(DataError) as raised:
        first_pairs(write_rows(tmp_path / "p.tsv", rows), 9)
    assert re.search(message, raised.value.what)


@pytest.mark.parametrize(
    ("document", "prompt"),
    [
        ("one two three four", "one two"),
        ("a" * 30, "a" * 15),
        ("新房子在哪里?", "新房子"),
        ("x", "x"),
        ("words " * 100, ("words " * 33).strip()),
    ],
)
def test_a_prompt_is_half_a_document_cut_between_words(document, prompt):
    assert prompt_of(document) == prompt


@pytest.mark.parametrize(
    ("ids", "text", "problem"),
    [
        ([], "", "empty"),
        ([1, 2], " \n", "empty"),
        ([1, 9], "ab", "ids without a token"),
        ([1, 2], "a\ufffdb", "broken characters"),
        ([1, 2], "ab\ufffd", ""),
        ([1, 2, 3] * 8, "abc" * 8, "repeats itself"),
        (list(range(8)), "abcdefgh", ""),
        ([1, 1, 1, 1], "aaaa", ""),  # too short to tell
    ],
)
def test_what_is_wrong_with_an_output(ids, text, problem):
    assert problem_of(ids, text, n_tokens=9) == problem


def test_generation_is_greedy_timed_and_looks_past_the_end(tiny):
    model, tokenizer = tiny
    prompt = prompt_of(ENGLISH[0])
    (output,) = generate(model, tokenizer, [prompt]).outputs
    ids = [tokenizer.eos_token_id, *tokenizer(prompt).input_ids]
    wanted = []
    while len(wanted) < N_NEW:
        with torch.no_grad():
            wanted.append(int(model(torch.tensor([ids + wanted])).logits[0, -1].argmax()))
    assert tokenizer.eos_token_id not in wanted
    assert output.output == tokenizer.decode(wanted, skip_special_tokens=True)
    assert output.n_tokens == N_NEW
    assert output.seconds > 0


def test_a_model_that_ends_at_once_is_empty_and_still_timed(tiny):
    model, tokenizer = tiny
    weight = model.lm_head.weight.detach().clone()
    handle = model.lm_head.register_forward_hook(
        lambda head, args, logits: logits.index_fill(-1, torch.tensor([0]), 1e4)
    )
    try:
        found = generate(model, tokenizer, [prompt_of(text) for text in GERMAN[:2]])
    finally:
        handle.remove()
    assert torch.equal(model.lm_head.weight, weight)
    assert [output.problem for output in found.outputs] == ["empty", "empty"]
    assert [output.n_tokens for output in found.outputs] == [N_NEW, N_NEW]
    assert found.processor_share > 0


def values(task, tiny):
    return {name: metric["value"] for name, metric in task.measure(Subject(*tiny)).metrics.items()}


def test_probes_go_both_ways_and_say_which(tiny):
    pairs = [SentencePair(*both) for both in zip(ENGLISH, GERMAN, strict=True)]
    english, german = (sentence_vectors(*tiny, side) for side in (ENGLISH, GERMAN))
    there, back = (
        hits.double().mean(1).tolist()
        for hits in (retrieved(english, german), retrieved(german, english))
    )
    assert there != back
    found = retrieval_task(pairs, seed=0).measure(Subject(*tiny))
    assert found.details["layers"] == {"English to target": there, "target to English": back}
    best = found.details["best layer"]
    assert there[best] + back[best] == max(map(sum, zip(there, back, strict=True)))
    assert found.metrics["target to English, best layer"]["value"] == pytest.approx(back[best])

    candidates = draw_candidates(6, 2, seed=1)
    there, back = (
        rank_translations(*tiny, *sides, candidates)
        for sides in ((ENGLISH, GERMAN), (GERMAN, ENGLISH))
    )
    assert there.gains_most.mean() != back.gains_most.mean()
    assert values(ranking_task(pairs, 2, seed=1), tiny) == pytest.approx(
        {
            "English to target": there.is_first.mean(),
            "English to target, by gain": there.gains_most.mean(),
            "target to English": back.is_first.mean(),
            "target to English, by gain": back.gains_most.mean(),
        }
    )


def test_texts_in_bits_words_and_bytes(tiny):
    spent = bits_per_byte(*tiny, GERMAN)
    sizes = fertility(tiny[1], GERMAN)
    assert values(text_task("target text", GERMAN, seed=0), tiny) == pytest.approx(
        {
            "bits per byte": spent.value,
            "tokens per word": sizes.tokens_per_word,
            "bytes lost": spent.lost_share,
        }
    )
    speeds = values(generation_task(GERMAN, 2, seed=0), tiny)
    assert speeds["bytes per second"] == pytest.approx(
        speeds["tokens per second"] * sizes.bytes_per_token
    )


def test_speed_is_measured_in_turns_and_another_model_begins_each_time(tiny, monkeypatch):
    """The first model takes twice as long for as many tokens; its tokens are twice as long."""
    model, tokenizer = tiny
    slow = Subject(copy.deepcopy(model), copy.deepcopy(tokenizer))
    turns, clock = [], [0.0]

    def write(model, *_):
        turns.append("slow" if model is slow.model else "fast")
        clock[0] += 1.0 if model is slow.model else 0.5
        return [5, 6, 7, 8], [5, 6, 7, 8]

    def size(tokenizer, _):
        return SimpleNamespace(bytes_per_token=4.0 if tokenizer is slow.tokenizer else 2.0)

    monkeypatch.setattr(generation, "_generate", write)
    monkeypatch.setattr(generation.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(speed, "fertility", size)
    first = {"name": "slow", "sha256": "0"}
    task = speed.speed_task(first, lambda: slow, GERMAN[:3], 3, 0)
    measured = task.measure(Subject(model, tokenizer))
    assert turns[2:] == ["fast", "slow", "slow", "fast", "fast", "slow"]
    assert measured.metrics[speed.TIMES]["value"] == pytest.approx(1.0)
    assert measured.metrics["tokens per second"]["value"] == pytest.approx(8.0)
    assert measured.metrics["bytes per second"]["value"] == pytest.approx(16.0)
    assert measured.details["tokens per second"]["first"]["middle"] == pytest.approx(4.0)
