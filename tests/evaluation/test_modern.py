"""The suite modern: which tasks of the installed harness are of a language."""

from pathlib import Path

import lm_eval
import pytest

from saltlm.errors import ConfigError
from saltlm.evaluation import harness
from saltlm.evaluation.config import HarnessConfig
from saltlm.evaluation.evaluate import modern_suite
from saltlm.evaluation.modern import FAMILIES, codes_of, modern_tasks, replacement_of

TASKS = Path(lm_eval.__file__).parent / "tasks"
FOLDERS = ("belebele", "global_mmlu", "include", "global_piqa", "xquad", "mlqa", "multiblimp")


@pytest.fixture(scope="module")
def known():
    """Names of tasks and groups, by the files of the installed harness."""
    folders = [*FOLDERS, "ifeval", "basque_bench"]
    files = [file for folder in folders for file in (TASKS / folder).rglob("*.yaml")]
    files += (TASKS / "afrobench/flores/prompt_1").rglob("*.yaml")
    sib = {f"sib_{code}_prompt_{n}" for code in ("swa", "eng", "hau") for n in (1, 2)}
    flores = {f"{file.stem}_prompt_1" for file in files if file.stem.startswith("flores_")}
    piqa = {f"global_piqa_{file.parent.name}_{file.stem}" for file in files}
    basque = {f"basque_bench_{file.stem}" for file in files}
    return {file.stem.removeprefix("_") for file in files} | sib | flores | piqa | basque


def test_a_language_is_found_in_every_family_by_each_of_its_codes(known):
    found = modern_tasks("sw", known)
    english = found.pop("English kept")
    assert found == {
        "reading": ["belebele_swh_Latn"],
        "knowledge": ["global_mmlu_sw"],
        "everyday reasoning": [
            "global_piqa_parallel_cloze_swh_latn",
            "global_piqa_nonparallel_cloze_swh_latn",
        ],
        "topics": ["sib_swa_prompt_1"],
        "translation": ["flores_eng_Latn-swh_Latn_prompt_1", "flores_swh_Latn-eng_Latn_prompt_1"],
    }
    assert english == [
        *("belebele_eng_Latn", "global_mmlu_en"),
        *("global_piqa_parallel_cloze_eng_latn", "global_piqa_nonparallel_cloze_eng_latn"),
        *("sib_eng_prompt_1", "ifeval"),
    ]
    for other in ("swh", "SWA", "swahili", "swh_Latn"):
        assert modern_tasks(other, known)["reading"] == ["belebele_swh_Latn"]


def test_german_has_questions_and_no_small_mmlu_in_every_harness(known):
    found = modern_tasks("de", known)
    assert found["questions in texts"] == ["xquad_de", "mlqa_de_de"]
    assert found["knowledge"] == ["global_mmlu_de", "include_base_44_german"]
    assert found["grammar"] == ["multiblimp_deu"]
    assert modern_tasks("vi", known)["knowledge"] == [
        "global_mmlu_full_vi",
        "include_base_44_vietnamese",
    ]
    assert modern_tasks("es", known)["instructions"] == ["ifeval_es"]
    assert modern_tasks("eu", known)["translation"] == [
        "basque_bench_flores_en-eu",
        "basque_bench_flores_eu-en",
    ]


def test_a_script_tells_two_tasks_of_a_language_apart(known):
    assert modern_tasks("zh", known)["reading"] == ["belebele_zho_Hans", "belebele_zho_Hant"]
    assert modern_tasks("zho_Hans", known)["reading"] == ["belebele_zho_Hans"]
    assert "English kept" not in modern_tasks("en", known)


def test_a_code_that_is_in_no_table_is_looked_for_as_it_is(known):
    assert codes_of("wbp") == {"wbp"}
    assert modern_tasks("wbp", known)["grammar"] == ["multiblimp_wbp"]
    with pytest.raises(ConfigError, match="no task of the suite modern knows the language 'qqq'"):
        modern_tasks("qqq", known)
    with pytest.raises(ConfigError, match="the suite modern needs a language\nhint: name one"):
        modern_tasks(None, known)


def test_every_family_is_in_the_installed_harness(known):
    languages = ("sw", "de", "es", "vi")
    found = {purpose for language in languages for purpose in modern_tasks(language, known)}
    assert found == {*FAMILIES, "English kept"}


def test_the_suite_is_what_the_installed_harness_has(known, monkeypatch):
    monkeypatch.setattr(harness, "installed_tasks", lambda: known)
    names = [name for names in modern_tasks("sw", known).values() for name in names]
    assert modern_suite("sw").harness == tuple(HarnessConfig(task=name) for name in names)


def test_what_is_a_program_cannot_load_with_a_newer_library():
    assert replacement_of("facebook/flores", "3.6.0") is None
    assert replacement_of("facebook/flores", "5.2.0").startswith("give its sentences as --parallel")
    assert replacement_of("facebook/belebele", "5.2.0") is None
    assert replacement_of(None, "5.2.0") is None
