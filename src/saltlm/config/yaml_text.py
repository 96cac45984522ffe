"""YAML as others wrote it: plain values, whose size is that of their text."""

from typing import Any

import yaml

_DEEPEST = 50


class _PlainLoader(yaml.SafeLoader):
    """Refuses what makes a small text large or deep: an alias of more than one value, nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        if self.depth == _DEEPEST:
            raise yaml.YAMLError("it is nested too deeply")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if is_alias and not isinstance(node, yaml.ScalarNode):
            raise yaml.YAMLError("it repeats a section by an alias (*name); write it out")
        return node


def parse_yaml(text: str) -> Any:
    """Return what YAML stands for.

    Raises:
        ValueError: it is no YAML, is nested too deeply, or repeats sections by aliases.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from None
