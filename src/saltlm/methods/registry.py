"""The methods by name. To add one: a file with a function, and a line in `METHODS`.

A method is a function from `inputs.MethodInputs` and keyword options to `inputs.Fitted`, as
`fit.MakeRows` says. Its defaults are the published method; every option is a departure from it that
a record can name.
"""

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from saltlm.config.yaml_text import parse_yaml
from saltlm.errors import ConfigError, shown


class Method(NamedTuple):
    """A method by name.

    Attributes:
        make: ``module.function`` in this room, loaded when it is first used; see `fit.MakeRows`.
        description: what the rows are, in half a line.
        search: option -> values that `saltlm score --select` tries beside the published ones.
        needs_files: whether it needs files that have to be named.
        is_for_head: whether it makes rows of the head alone, out of another method's; see
            `fit.MakeHeadRows`.
    """

    make: str
    description: str
    search: Mapping[str, Sequence[Any]] = {}
    needs_files: bool = False
    is_for_head: bool = False


METHODS = {
    "salt": Method(
        "salt.salt",
        "a least-squares map per token, over its sparsemax neighbours",
        search={"ridge": (0.1, 1.0, 3.0), "centred": (False, True), "scale": (1, 2)},
    ),
    "random": Method("sampled.random", "drawn with the source's mean and deviation"),
    "mean": Method("sampled.mean", "the mean source row"),
    "multivariate": Method("sampled.multivariate", "drawn with mean and full covariance"),
    "fvt": Method("pieces.fvt", "the mean of the token's pieces in the source's tokenizer"),
    "clp": Method("averages.clp", "the cosine-weighted mean of all shared rows"),
    "clp+": Method(
        "averages.clp_plus",
        "the sparsemax mean of the rows nearest in the PLM",
        search={"scale": (2, 4, 8), "space": ("plm", "centred")},
    ),
    "wechsel": Method(
        "words.wechsel",
        "the softmax mean over word vectors aligned by dictionary",
        needs_files=True,
    ),
    "focus": Method(
        "averages.focus",
        "the sparsemax mean of the nearest shared rows",
        search={"scale": (2, 4, 8)},
    ),
    "ofa": Method(
        "words.ofa",
        "the softmax mean over multilingual vectors, rows factorised",
        search={"k": (5, 10, 20), "temperature": (0.03, 0.1)},
    ),
    "omp": Method(
        "least_squares.omp",
        "orthogonal matching pursuit in the PLM's rows",
        search={"k": (8, 16, 32)},
    ),
    "least-squares": Method(
        "least_squares.least_squares",
        "a fit on the k nearest shared rows",
        search={"k": (8, 16, 32), "distance": ("cosine", "euclidean")},
    ),
    "global": Method(
        "maps.global_affine", "one affine map for all tokens", search={"ridge": (1e-2, 1e-1, 1.0)}
    ),
    "procrustes": Method(
        "maps.procrustes", "one orthogonal map for all tokens", search={"scaled": (True,)}
    ),
    "global-residual": Method(
        "maps.global_residual",
        "one affine map, and the sparsemax mean of what it leaves",
        search={
            "ridge": (1e-1, 0.3, 1.0, 3.0),
            "scale": (1, 2),
            "local": ("mean", "ridge"),
        },
    ),
    "kernel-ridge": Method(
        "kernel.kernel_ridge",
        "kernel ridge regression from the PLM's rows",
        search={"ridge": (0.03, 0.1), "gamma": (0.5, 1.0, 2.0)},
    ),
    "first-piece": Method(
        "pieces.first_piece",
        "for the head alone: half the row of the token's first source piece, half another method's",
        is_for_head=True,
    ),
}


class Choice(NamedTuple):
    """A method with all its options, those that were given and the defaults.

    Attributes:
        name: of the method.
        options: name -> value.
        output: makes the head's rows, if another method does.
    """

    name: str
    options: dict[str, Any]
    output: "Choice | None" = None

    def __str__(self) -> str:
        """Write the method as `parse_method` reads it, without the defaults."""
        defaults = option_defaults(self.name)
        given = [f"{key}={value}" for key, value in self.options.items() if value != defaults[key]]
        text = ":".join([self.name, *given])
        return text if self.output is None else f"{text}/{self.output}"

    @property
    def sides(self) -> "list[Choice]":
        """The method of the embedding's rows, and the head's if it is another."""
        return [self] if self.output is None else [self, self.output]

    @property
    def files(self) -> list[Path]:
        """The files that the options name."""
        values = [value for side in self.sides for value in side.options.values()]
        return [value for value in values if isinstance(value, Path)]


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as JSON has them: paths as text."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}


def parse_method(text: str) -> Choice:
    """Read ``name`` or ``name:option=value:option=value``; the values are read as YAML.

    ``INPUT/OUTPUT`` names two methods: of the embedding's rows, and of the head's.

    Raises:
        ConfigError: an unknown method or option, or a value that it cannot have.
    """
    before, after = _split_sides(text)
    choice = _parse_side(before)
    if METHODS[choice.name].is_for_head:
        raise ConfigError(
            f"{choice.name} makes rows of the head alone, out of another method's",
            f"for instance: --method global-residual:ridge=1.0/{choice.name}",
        )
    return choice if after is None else choice._replace(output=_parse_side(after))


def _split_sides(text: str) -> tuple[str, str | None]:
    """Return the methods before and behind a slash; a slash in the path of a file is none."""
    *_, last = [None, *re.finditer(r"/([\w+-]+)(?=:|$)", text)]
    if last is not None and (last[1] in METHODS or "/" in text.partition(":")[0]):
        return text[: last.start()], text[last.start() + 1 :]
    return text, None


def _parse_side(text: str) -> Choice:
    name, *assignments = text.split(":")
    options = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(
                f"method {text!r}: {assignment!r} is not option=value",
                "for instance: --method salt:ridge=0.1:centred=true",
            )
        try:
            options[key] = parse_yaml(value)
        except ValueError as error:
            raise ConfigError(
                f"method {text!r}: {value!r} is no value: {error}", "saltlm score --list"
            ) from error
    return choose_method(name, options)


def choose_method(name: str, options: Mapping[str, Any] | None = None) -> Choice:
    """Check a method's options and fill in its defaults.

    Raises:
        ConfigError: an unknown method or option, or a value that it cannot have.
    """
    parameters = _parameters(name)
    values = option_defaults(name)
    for key, value in (options or {}).items():
        if key not in parameters:
            raise ConfigError(f"{name} has no option {key!r}", _nearest(key, parameters))
        try:
            values[key] = TypeAdapter(parameters[key].annotation).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ConfigError(
                f"option {key}={shown(repr(value))} of {name}: {reason}", "saltlm score --list"
            ) from error
    return Choice(name, values)


def option_defaults(name: str) -> dict[str, Any]:
    """Return the options of a method as it was published."""
    return {key: parameter.default for key, parameter in _parameters(name).items()}


def describe_options(name: str) -> dict[str, str]:
    """Return what each option of a method is, in half a line."""
    fields = {
        key: FieldInfo.from_annotation(parameter.annotation)
        for key, parameter in _parameters(name).items()
    }
    return {key: field.description or "" for key, field in fields.items()}


def load_method(name: str) -> Callable[..., Any]:
    """Return the function of a method; its type is `saltlm.methods.fit.MakeRows`.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"there is no method {name!r}", _nearest(name, METHODS))
    module, function = METHODS[name].make.split(".")
    found: Callable[..., Any] = getattr(
        importlib.import_module(f"saltlm.methods.{module}"), function
    )
    return found


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    found = inspect.signature(load_method(name)).parameters.values()
    return {item.name: item for item in found if item.kind is item.KEYWORD_ONLY}


def _nearest(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]}?"
    return "there are: " + ", ".join(known) if known else "it has none"
