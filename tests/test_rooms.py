"""The plan of the house holds: the order of its rooms, no cycle, no name twice, nothing too long.

Each rule is a function from a source tree to its offenders, so that it can be tried on a tree that
breaks it.
"""

import ast
import graphlib
import importlib
import re
from collections import defaultdict
from pathlib import Path

import pytest

from saltlm.cli.main import VERBS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "saltlm"

# From the ground up: a room may use those before it. The root, which exports the verbs, is on top.
ROOMS = (
    "version",
    "errors",
    "config",
    "files",
    "tokenizer",
    "models",
    "auxiliary",
    "alignment",
    "methods",
    "scoring",
    "record",
    "vocabulary_transfer",
    "inspection",
    "evaluation",
    "adaptation",
    "pretraining",
    "comparison",
    "recipes",
    "cli",
    "",
)
NOT_A_ROOM = {"__init__.py", "__main__.py", "py.typed", "__pycache__"}
# The click command of each verb, which is found under this name, and each module's own log.
MAY_BE_TWICE = {"command", "logger"}
MOST_ENTRIES = 22
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 40  # of 95 in 100


def read(package):
    """Return the syntax tree of every module, by its name."""
    trees = {}
    for file in sorted(package.rglob("*.py")):
        parts = [package.name, *file.relative_to(package).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(file.read_text(encoding="utf-8"))
    return trees


def imports(trees):
    """Return what every module imports of the package, at any depth, and names in a string."""
    found = {}
    for name, tree in trees.items():
        asked = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name} has a relative import"
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                asked |= {full if full in trees else node.module for full in inner}
            elif isinstance(node, ast.Constant) and "." in str(node.value):
                asked.add(node.value)  # a module that is loaded by its name
        found[name] = (asked & trees.keys()) - {name}
    return found


def room(module):
    return module.partition(".")[2].partition(".")[0].removeprefix("__main__")


def upward(graph, order=ROOMS):
    """Return the imports from a lower room to a higher one."""
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in sorted(others)
        if order.index(room(module)) < order.index(room(other))
    ]


def cycle(graph):
    """Return modules that import each other, or nothing."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def public_names(tree):
    """Yield what a module defines for others: functions, classes, constants."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            targets = [node.name]
        elif isinstance(node, ast.Assign):
            parts = [part for target in node.targets for part in ast.walk(target)]
            targets = [part.id for part in parts if isinstance(part, ast.Name)]
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target.id] if isinstance(node.target, ast.Name) else []
        else:
            targets = []
        yield from (name for name in targets if not name.startswith("_"))


def defined_twice(trees):
    """Return the public names that stand for several things, and where."""
    homes = defaultdict(set)
    for module, tree in trees.items():
        for name in public_names(tree):
            homes[name].add(module)
    return {
        name: sorted(modules)
        for name, modules in homes.items()
        if len(modules) > 1 and name not in MAY_BE_TWICE
    }


def entries(package):
    """Return what stands at the top of the package."""
    return sorted(path.name for path in package.iterdir() if path.name != "__pycache__")


def long_modules(package, most=MOST_LINES):
    """Return the modules with more lines than that."""
    counts = {file.name: file.read_text().count("\n") for file in package.rglob("*.py")}
    return {name: count for name, count in counts.items() if count > most}


def long_functions(trees, most=MOST_LINES_OF_A_FUNCTION):
    """Return the functions with more lines than that, where they are over 5 of 100."""
    lengths = {
        f"{module}.{node.name}:{node.lineno}": node.end_lineno - node.lineno + 1
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    long = {name: length for name, length in lengths.items() if length > most}
    return long if len(long) > 0.05 * len(lengths) else {}


@pytest.fixture(scope="module")
def trees():
    return read(PACKAGE)


def test_no_room_uses_a_higher_one(trees):
    assert upward(imports(trees)) == []


def test_no_modules_import_each_other(trees):
    assert cycle(imports(trees)) == []


def test_every_room_has_a_place_in_the_order():
    assert set(entries(PACKAGE)) - NOT_A_ROOM <= {*ROOMS, *(f"{name}.py" for name in ROOMS)}


def test_the_map_shows_every_room_in_order():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (`.*`) \|", text, re.MULTILINE)
    assert tuple(re.findall(r"`(\w+)`", " ".join(rows))) == ROOMS[:-1]
    for file in re.findall(r"[\w./]+\.py\b", text):
        assert (ROOT / file).exists() or (PACKAGE / file).exists(), file


def test_a_public_name_stands_for_one_thing(trees):
    assert defined_twice(trees) == {}


def test_verbs_are_free_for_functions(trees):
    functions = VERBS.keys() - {"demo", "chat", "env"}  # for the command line alone
    assert {name.partition(".")[2] for name in trees} & functions == set()


def test_the_top_can_be_taken_in_at_a_glance():
    assert len(entries(PACKAGE)) <= MOST_ENTRIES


def test_modules_and_functions_are_short(trees):
    assert long_modules(PACKAGE) == {}
    assert long_functions(trees) == {}


@pytest.fixture
def house(tmp_path):
    """A function that writes modules under their names and returns their package."""

    def build(**sources):
        for name, source in sources.items():
            file = tmp_path / "saltlm" / (name.replace("__", "/") + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            (file.parent / "__init__.py").touch()
            file.write_text(source)
        (tmp_path / "saltlm" / "__init__.py").touch()
        return tmp_path / "saltlm"

    return build


@pytest.mark.parametrize(
    "source",
    [
        "import saltlm.models.hub",
        "from saltlm.models.hub import find",
        "from saltlm.models import hub",
        "def load():\n    from saltlm.models import hub",
        "if TYPE_CHECKING:\n    from saltlm.models.hub import Found",
        "found = import_module('saltlm.models.hub')",
    ],
)
def test_an_import_of_a_higher_room_is_found(house, source):
    graph = imports(read(house(files__atomic=source, models__hub="")))
    assert upward(graph) == ["saltlm.files.atomic imports saltlm.models.hub"]
    graph = imports(read(house(models__hub=source, files__atomic="")))
    assert upward(graph) == []


def test_benchmarks_import_what_there_is():
    missing = [
        f"{file.name}: {module}.{name.name}"
        for file in sorted((ROOT / "benchmarks").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and (module := node.module or "").startswith("saltlm")
        for name in node.names
        if not hasattr(importlib.import_module(module), name.name)
        and not PACKAGE.parent.joinpath(*module.split("."), f"{name.name}.py").is_file()
    ]
    assert missing == []


def test_the_root_is_above_every_room(house):
    graph = imports(read(house(cli__main="from saltlm import transfer")))
    assert upward(graph) == ["saltlm.cli.main imports saltlm"]


def test_a_cycle_is_found(house):
    sources = {
        "files__a": "from saltlm.files import b",
        "files__b": "def f():\n    import saltlm.files.c",
        "files__c": "from saltlm.files.a import g",
    }
    found = cycle(imports(read(house(**sources))))
    assert set(found) == {"saltlm.files.a", "saltlm.files.b", "saltlm.files.c"}
    assert cycle(imports(read(house(**{**sources, "files__c": ""})))) == []


def test_a_name_with_two_meanings_is_found(house):
    sources = {
        "files__a": "def cut(): ...\nclass Side: ...\n_own = 1\nA = B = 1",
        "models__b": "class cut: ...\nSide: int = 1\n_own = 2\nlogger = command = 1",
        "models__c": "from saltlm.files.a import A\nB, D = 1, 2\nlogger = command = 1",
    }
    assert defined_twice(read(house(**sources))) == {
        "cut": ["saltlm.files.a", "saltlm.models.b"],
        "Side": ["saltlm.files.a", "saltlm.models.b"],
        "B": ["saltlm.files.a", "saltlm.models.c"],
    }


def test_what_is_too_long_is_found(house):
    body = "def f():\n" + "    pass\n" * 40
    package = house(files__a=body, files__b="def g(): ...\n" * 18)
    assert long_modules(package) == {}
    assert long_modules(package, most=40) == {"a.py": 41}
    assert long_functions(read(package)) == {"saltlm.files.a.f:1": 41}
    assert long_functions(read(house(files__b="def g(): ...\n" * 19))) == {}
