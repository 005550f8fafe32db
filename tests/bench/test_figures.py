"""The file of figures: one shape, whole at any moment, and of several parts where a benchmark has some."""

import json
from collections.abc import Set
from pathlib import Path

from quandary_server.bench.figures import at_least, at_most, reported, write_document, write_part


def names(path: Path) -> list[str]:
    return [figure["name"] for figure in json.loads(path.read_text())["figures"]]


def part_of(name: str) -> str:
    return name.partition("_")[0]


def command_of(parts: Set[str]) -> str:
    return f"bench {' '.join(sorted(parts))}"


def test_parts_come_one_by_one_and_one_measured_again_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / "results" / "queue.json"
    write_part(path, [at_least("leases_rate", 5, "a second", 4), reported("leases_p99", 7, "ms")], part_of, command_of)
    assert names(path) == ["leases_rate", "leases_p99"]
    write_part(path, [at_most("fenced", 0, "tasks", 0)], part_of, command_of)
    assert names(path) == ["leases_rate", "leases_p99", "fenced"]
    write_part(path, [at_least("leases_rate", 3, "a second", 4)], part_of, command_of)
    found = json.loads(path.read_text())
    told = [(figure["name"], figure["value"], figure["met"]) for figure in found["figures"]]
    assert told == [("fenced", 0, True), ("leases_rate", 3, False)]
    assert found["command"] == "bench fenced leases"
    assert [each.name for each in path.parent.iterdir()] == ["queue.json"]


def test_a_document_of_one_part_is_that_of_its_figures(tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole.json", tmp_path / "parted.json"
    figures = [at_least("leases_rate", 5, "a second", 4, [4.0, 6.0])]
    write_document(whole, figures, "bench leases")
    write_part(parted, figures, part_of, command_of)
    assert parted.read_text() == whole.read_text()


def test_parts_of_several_commits_name_each(tmp_path: Path) -> None:
    path = tmp_path / "queue.json"
    write_part(path, [reported("fenced", 0, "tasks")], part_of, command_of)
    before = json.loads(path.read_text())
    path.write_text(json.dumps(before | {"commit": "before"}))
    write_part(path, [reported("leases_rate", 3, "a second")], part_of, command_of)
    found = json.loads(path.read_text())
    assert (found["commit"], found["machine"]) == (f"before; {before['commit']}", before["machine"])
