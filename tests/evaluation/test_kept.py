"""Chat, answers and code on a tiny model, and what a model's program may do."""

import fcntl
import time
from contextlib import suppress

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapt_models import save_model
from conftest import CORPUS
from saltlm.errors import CheckpointError, VocabularyError
from saltlm.evaluation import chat, code
from saltlm.evaluation.bits_per_byte import bits_per_byte
from saltlm.evaluation.code import completed, passes, read_functions
from saltlm.evaluation.config import QuickConfig
from saltlm.evaluation.instructions import Instruction
from saltlm.evaluation.quick import quick_tasks
from saltlm.evaluation.results import Failure
from saltlm.evaluation.talk import reply
from saltlm.evaluation.task import Subject
from saltlm.evaluation.written import Written, write_after
from saltlm.files.parallel import SentencePair

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)
PAIRS = [SentencePair("Wo ist das Haus?", "Am Fluss."), SentencePair("Wer?", "Der Hund schläft.")]


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    directory = save_model(tmp_path_factory.mktemp("tiny") / "model", initializer_range=0.3)
    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = TEMPLATE
    return Subject(model, tokenizer)


@pytest.fixture
def without_template(subject, monkeypatch):
    monkeypatch.setattr(subject.tokenizer, "chat_template", None)
    return subject


@torch.no_grad()
def naive(subject, text, most, end):
    """Greedy decoding without a cache."""
    ids = subject.tokenizer(text, add_special_tokens=False).input_ids
    start = len(ids)
    while len(ids) - start < most and (len(ids) == start or ids[-1] != end):
        ids.append(int(subject.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:], ids[-1] == end


def test_an_answer_is_greedy_and_ends_where_the_model_ends_it(subject, monkeypatch):
    text = chat.rendered(subject, "Wer?")
    assert text == "<|im_start|>user Wer?<|im_end|><|im_start|>"
    found = write_after(subject.model, subject.tokenizer, text, most=6, is_chat=True)
    ids, _ = naive(subject, text, 6, 0)
    assert found == Written(subject.tokenizer.decode(ids), is_ended=False)
    monkeypatch.setattr(subject.model.generation_config, "eos_token_id", [ids[2]])
    found = write_after(subject.model, subject.tokenizer, text, most=6, is_chat=True)
    ids, is_ended = naive(subject, text, 6, ids[2])
    assert found == Written(subject.tokenizer.decode(ids), is_ended)
    assert is_ended


def test_a_turn_is_answered_as_a_chat_or_the_text_is_gone_on_with(subject, monkeypatch):
    model, tokenizer = subject.model, subject.tokenizer
    turns = [{"role": "user", "content": "Wer?"}]
    wanted = write_after(model, tokenizer, chat.rendered(subject, "Wer?"), most=4, is_chat=True)
    assert reply(model, tokenizer, turns, n_new=4) == wanted.text
    torch.manual_seed(0)
    drawn = {reply(model, tokenizer, turns, n_new=4, temperature=5.0) for _ in range(4)}
    assert len(drawn) > 1
    monkeypatch.setattr(tokenizer, "chat_template", None)
    wanted = write_after(model, tokenizer, "Wer?", most=4)
    assert reply(model, tokenizer, turns, n_new=4) == wanted.text


def test_instructions_are_put_into_the_template_and_judged(subject, monkeypatch):
    asked = []

    def answer(model, tokenizer, prompt, **_):
        asked.append(prompt)
        return Written("Paris" if "Frankreich" in prompt else "", "Frankreich" in prompt)

    monkeypatch.setattr(chat, "write_after", answer)
    probes = [Instruction(ask="Frankreich?", contains="Paris"), Instruction(ask="b", words=(1, 2))]
    measured = chat.instructions_task("de", probes, 0).measure(subject)
    assert asked[0] == "<|im_start|>user Frankreich?<|im_end|><|im_start|>"
    followed, ended = measured.metrics.values()
    assert (followed["value"], ended["value"]) == (0.5, 0.5)
    assert followed["items"][0] == [1, 0]
    assert [one["followed"] for one in measured.details["answers"]] == [True, False]


def test_a_template_that_is_missing_or_broken_is_told(subject, monkeypatch):
    task = chat.instructions_task("en", [Instruction(ask="a", words=(1, 2))], 0)
    monkeypatch.setattr(subject.tokenizer, "chat_template", "{{ messages[0].content.nothing() }}")
    with pytest.raises(VocabularyError, match="nothing"):
        task.measure(subject)
    monkeypatch.setattr(subject.tokenizer, "chat_template", None)
    with pytest.raises(CheckpointError, match="the model has no chat template"):
        task.measure(subject)


def test_answers_cost_what_they_cost_after_their_questions(subject):
    measured = chat.answers_task(PAIRS, 0).measure(subject)
    prompts = [f"<|im_start|>user {pair.english}<|im_end|><|im_start|>" for pair in PAIRS]
    answers = [pair.target for pair in PAIRS]
    expected = bits_per_byte(subject.model, subject.tokenizer, answers, prompts=prompts)
    assert measured.metrics["bits per byte"]["value"] == pytest.approx(expected.value)
    assert measured.details == {"chat template": True}


def test_without_a_template_the_question_is_a_line(without_template):
    subject = without_template
    measured = chat.answers_task(PAIRS, 0).measure(subject)
    lines = [f"{pair.english}\n" for pair in PAIRS]
    answers = [pair.target for pair in PAIRS]
    expected = bits_per_byte(subject.model, subject.tokenizer, answers, prompts=lines)
    assert measured.metrics["bits per byte"]["value"] == pytest.approx(expected.value)


def test_a_function_ends_where_the_next_thing_begins(subject, monkeypatch):
    prompts = []

    def write(model, tokenizer, prompt, **_):
        prompts.append(prompt)
        return Written("\n    return 1\n\n    # b\nprint(2)\n", True)

    monkeypatch.setattr(code, "write_after", write)
    assert completed(subject, "def f():\n") == "def f():\n    return 1\n\n    # b\n"
    assert prompts == ["def f():"]


def test_a_program_passes_or_not_and_has_limits(monkeypatch, tmp_path):
    monkeypatch.setattr(code, "_SECONDS", 1)
    assert passes("def f():\n    return 1", "assert f() == 1")
    assert not passes("def f():\n    return 2", "assert f() == 1")
    assert not passes("def f(:", "")
    assert not passes("\0", "")
    assert not passes("while True: pass", "")
    assert not passes("a = bytearray(2**30)", "")
    file = tmp_path / "written"
    assert not passes(f"import pathlib; pathlib.Path({str(file)!r}).write_text('x')", "")
    assert file.read_text() == ""


def test_what_a_program_has_started_ends_with_it(tmp_path):
    file = tmp_path / "lock"
    file.touch()
    program = (
        f"import fcntl, subprocess\nheld = open({str(file)!r})\nfcntl.flock(held, fcntl.LOCK_EX)\n"
        "subprocess.Popen(['/bin/sleep', '60'], pass_fds=[held.fileno()])"
    )
    assert passes(program, "")
    with file.open() as held:
        for _ in range(200):  # on a busy machine the killed take a moment to go
            with suppress(BlockingIOError):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.05)
    pytest.fail("what the program started still holds the lock")


def test_code_is_run_only_if_it_is_asked_for_and_its_passes_are_counted(subject, monkeypatch):
    names = [task.name for task in quick_tasks(QuickConfig(chat=True), limit=2, seed=0)]
    assert names == ["chat, en"]
    with pytest.raises(ValueError, match="add --code"):
        QuickConfig(functions="own.yaml")
    (task,) = quick_tasks(QuickConfig(code=True), limit=2, seed=0)
    monkeypatch.setattr(code, "write_after", lambda *_, **__: Written("\n    return a + b\n", True))
    metric = task.measure(subject).metrics["functions that pass"]
    assert (metric["value"], metric["n"]) == (0.5, 2)


def test_own_functions_can_be_passed():
    solved = {"def add": "    return a + b", "def reverse": "    return text[::-1]"}
    functions = read_functions(None)
    assert len(functions) == 12
    for function in functions:
        compile(f"{function.begin}    pass\n{function.test}", "f", "exec")
        for start, body in solved.items():
            if function.begin.startswith(start):
                assert passes(function.begin + body, function.test)


def test_kinds_of_english_and_languages_of_chat_stand_apart(tmp_path):
    for name, line in (("a", CORPUS[0]), ("b", CORPUS[1]), ("c=d", CORPUS[2])):
        (tmp_path / f"{name}.txt").write_text(line)
    named = [f"prose={tmp_path / 'a.txt'}", f"talk={tmp_path / 'b.txt'}"]
    files = [*named, str(tmp_path / "c=d.txt"), str(tmp_path / "a.txt")]
    config = QuickConfig(english=files, chat=True, language="xx")
    tasks = list(quick_tasks(config, limit=2, seed=0))
    assert [task.name if not isinstance(task, Failure) else task.task for task in tasks] == [
        *("English text, prose", "English text, talk", "English text", "chat, en", "chat, xx")
    ]
    assert tasks[-1].reason == "there are instructions in en, de, vi, ar, and none in xx"
