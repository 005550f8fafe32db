"""YAML as an experiment is written in: what PyYAML takes in silence is refused."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from quandary.errors import InvalidArgument, Violation, shortened

MERGE = "tag:yaml.org,2002:merge"


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping: YAML 1.2 forbids it (3.2.1.1), PyYAML takes the last.

    What is merged in (<<) may be told again: that is what merging is for.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    raise yaml.YAMLError(f"key {key.value} stands twice: in line {lines[name]} and in line {line}")
                lines[name] = line
        return node


def read_yaml(name: str, content: bytes) -> Any:
    """Return what a YAML file holds; raises InvalidArgument, with its name, where it is none or a key stands twice."""
    try:
        return yaml.load(content.decode(), _UniqueKeys)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidArgument.of("config", name, f"YAML: {' '.join(str(error).split())}") from None


def check_switches(written: Any, understood: Any) -> None:
    """Raise InvalidArgument for every true or false that was understood as a number: `random: yes` is not one seed."""
    if found := list(_switches(written, understood, "")):
        raise InvalidArgument.all(found)


def _switches(written: Any, understood: Any, path: str) -> Iterator[Violation]:
    if isinstance(written, bool) and not isinstance(understood, bool):
        yield Violation(path, shortened(written), "a number")
    elif isinstance(written, Mapping) and isinstance(understood, Mapping):
        for name in (name for name in written if name in understood):
            yield from _switches(written[name], understood[name], f"{path}.{name}" if path else str(name))
    elif isinstance(written, list) and isinstance(understood, list | tuple):
        for i, pair in enumerate(zip(written, understood, strict=False)):
            yield from _switches(*pair, f"{path}.{i}")
