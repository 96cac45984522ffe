"""What must be light is light: no model library is loaded before it is needed."""

import json
import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "tokenizers", "numpy", "pydantic", "huggingface_hub")


def loaded_by(code):
    """Run code in a new interpreter and return which of the heavy libraries it has loaded."""
    report = f"import json, sys; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def seconds_of(*arguments):
    """Return the processor time of a command, the best of three: others may use the machine."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


HELP = """
import contextlib
from saltlm.cli.main import main
with contextlib.suppress(SystemExit):
    main(ARGUMENTS)
"""


HELP_OF_VERBS = """
import contextlib
from saltlm.cli.main import VERBS, main
for verb in VERBS:
    with contextlib.suppress(SystemExit):
        main([verb, "--help"])
"""


@pytest.mark.parametrize(
    "code",
    [
        "import saltlm; saltlm.__version__, dir(saltlm)",
        "from saltlm.errors import SaltlmError",
        HELP.replace("ARGUMENTS", "['--help']"),
        HELP.replace("ARGUMENTS", "['--version']"),
        HELP_OF_VERBS,
        HELP.replace("ARGUMENTS", "['transfr']"),
    ],
    ids=["package", "errors", "help", "version", "help of every verb", "typo"],
)
def test_no_heavy_library_is_loaded(code):
    assert loaded_by(code) == []


def test_a_row_is_explained_without_a_model_library():
    code = "import saltlm.inspection.explain, saltlm.cli.render, saltlm.cli.ends"
    assert not {"torch", "transformers"} & {*loaded_by(code)}


def test_a_public_name_loads_what_it_needs():
    loaded = loaded_by("import saltlm; saltlm.TransferConfig")
    assert "pydantic" in loaded
    assert "torch" not in loaded


def test_an_unknown_name_is_an_attribute_error():
    import saltlm

    with pytest.raises(AttributeError, match="module 'saltlm' has no attribute 'transfr'"):
        _ = saltlm.transfr


def test_every_public_name_is_there():
    import saltlm

    assert all(getattr(saltlm, name) is not None for name in saltlm.__all__)


@pytest.mark.parametrize(
    "arguments", [("-c", "import saltlm"), ("-m", "saltlm.cli.main", "--help")], ids=str
)
def test_the_start_takes_less_than_300_milliseconds(arguments):
    assert seconds_of(*arguments) < 0.3
