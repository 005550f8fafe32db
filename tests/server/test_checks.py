"""What `deploy/local.py test` runs is all that there is."""

import runpy
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_what_starts_the_real_services_lies_where_the_checks_look_for_it() -> None:
    sign = ".".join(["mark", "e2e"])
    marked = {path.parent for path in TESTS.rglob("test_*.py") if sign in path.read_text()}
    assert marked == {TESTS / "e2e"}
    checks = (TESTS.parent / "deploy" / "local.py").read_text()
    assert 'E2E = "tests/e2e"' in checks


def test_what_runs_apart_is_run_once(tmp_path: Path) -> None:
    script = runpy.run_path(str(TESTS.parent / "deploy" / "local.py"))
    assert all((TESTS.parent / folder).is_dir() for folder in script["APART"])
    told = tmp_path / "told"
    pytest_there = tmp_path / "pytest"
    pytest_there.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    pytest_there.chmod(0o755)
    for check in ("ruff", "mypy", "lint-imports", "buf"):
        (tmp_path / check).symlink_to("/bin/true")
    assert script["run_checks"](tmp_path, ()) == 0
    apart = " ".join(script["APART"])
    others = " ".join(f"--ignore={folder}" for folder in script["APART"])
    expected = ["-m e2e tests/e2e", f"-m not e2e {apart}", f"-m not e2e {others}"]
    assert sorted(told.read_text().splitlines()) == sorted(expected)
    told.unlink()
    assert script["run_checks"](tmp_path, ("-k", "x")) == 0
    assert sorted(told.read_text().splitlines()) == ["-m e2e -k x", "-m not e2e -k x"]
