"""What surrounds the code agrees with it: versions, bounds, workflows, the notes of a release."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from saltlm.version import __version__

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NOTES = ROOT / ".ci" / "release_notes.py"


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_lowest_versions_that_are_tried_are_those_that_are_promised():
    # Python 3.10 has no reader of TOML
    promises = text_of("pyproject.toml").partition("dependencies = [")[2]
    promises = promises.partition("[project.scripts]")[0]
    bounds = set(re.findall(r'"([\w.-]+)>=([\d.]+)[";]', promises))
    tried = set(
        re.findall(r"^([\w.-]+)==([\d.]+)$", text_of("constraints-lowest.txt"), re.MULTILINE)
    )
    assert len(bounds) > 15
    assert tried == bounds


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit(workflow):
    used = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(
            r"[\w/-]+@[0-9a-f]{40} # v[\d.]+|\./\.github/workflows/\w+\.yml", action
        )


def test_what_workflows_run_is_there():
    targets = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE))
    for workflow in WORKFLOWS:
        jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
        runs = [step["run"] for job in jobs for step in job.get("steps", []) if "run" in step]
        for target in re.findall(r"make ([\w-]+)", " ".join(runs)):
            assert target in targets
        for script in re.findall(r"\.ci/[\w.]+", " ".join(runs)):
            assert (ROOT / script).is_file()


def pins(name):
    """Return name and version of each line, the marker aside."""
    lines = re.findall(r"^([\w.-]+)==([^;\s]+)", text_of(name), re.MULTILINE)
    return {(re.sub(r"[-_.]+", "-", package).lower(), version) for package, version in lines}


def test_the_lock_is_of_the_constraints():
    locked, tools = pins("requirements.lock"), pins(".ci/tools.lock")
    assert locked == {pin for pin in pins("constraints.txt") if pin[0] != "torch"}
    assert {name for name, _ in tools} >= {"pip", "setuptools", "wheel", "hatchling", "editables"}
    assert {pin for pin in tools if pin[0] in dict(locked)} <= locked


@pytest.mark.parametrize("name", ["requirements.lock", ".ci/tools.lock"])
def test_every_pin_has_a_hash(name):
    assert not re.search(r"==[^\\]*$", text_of(name), re.MULTILINE)
    assert not re.search(r"\\\n(?!    --hash=sha256:[0-9a-f]{64})", text_of(name))


def test_what_is_installed_past_the_lock_is_named():
    sbom = runpy.run_path(str(ROOT / ".ci" / "sbom.py"))
    lock = sbom["locked"]()
    assert lock["pyyaml"]["6.0.3"]
    one = SimpleNamespace(version="6.0.3", metadata={"License": "MIT"})
    others = [SimpleNamespace(name=name, version="1") for name in ("torch", "nvidia-nccl-cu12")]
    locked, past = (SimpleNamespace(name=name, **vars(one)) for name in ("PyYAML", "left_pad"))
    assert sbom["strangers"]([locked, past, *others], lock) == ["left_pad 6.0.3"]
    made = sbom["component"](locked, ["ab"])
    assert made["purl"] == "pkg:pypi/pyyaml@6.0.3"
    assert made["licenses"] == [{"license": {"name": "MIT"}}]


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = re.findall(r"^(make \w+) +# every test", text_of("README.md"), re.MULTILINE)
    assert text_of(".ci/run").splitlines()[-1] == command


def test_the_citation_has_the_version_of_the_code():
    assert yaml.safe_load(text_of("CITATION.cff"))["version"] == __version__


@pytest.fixture(scope="module")
def section():
    return runpy.run_path(str(NOTES))["section"]


CHANGES = """# Changelog

## 0.2.0 (2027-02-01)

- New: more.

### Details

- Of it.

## 0.1.0 (unreleased)

- The first.

## 0.0.1
"""


def test_the_notes_of_a_release_are_its_section(section):
    assert section(CHANGES, "0.2.0") == "- New: more.\n\n### Details\n\n- Of it."


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("0.3.0", r"no section '## 0.3.0', but 0.2.0, 0.1.0, 0.0.1"),
        ("0.1.0", r"calls 0.1.0 unreleased: write its date"),
        ("0.0.1", r"says nothing about 0.0.1"),
    ],
)
def test_a_release_without_notes_is_refused(section, version, told):
    with pytest.raises(SystemExit, match=told):
        section(CHANGES, version)


def test_a_tag_that_is_not_the_version_is_refused():
    done = subprocess.run([sys.executable, NOTES, "v9.9.9"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"the tag says 9.9.9, src/saltlm/version.py {__version__}\n"


def test_forms_ask_for_the_versions():
    forms = [yaml.safe_load(file.read_text()) for file in ROOT.glob(".github/ISSUE_TEMPLATE/*.yml")]
    asked = [str(form["body"]) for form in forms if "body" in form]
    assert len(asked) == 3
    assert sum("python -m saltlm --version" in text for text in asked) == 2
