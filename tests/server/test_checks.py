"""What `deploy/local.py test` runs is all that there is."""

from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_what_starts_the_real_services_lies_where_the_checks_look_for_it() -> None:
    sign = ".".join(["mark", "e2e"])
    marked = {path.parent for path in TESTS.rglob("test_*.py") if sign in path.read_text()}
    assert marked == {TESTS / "e2e"}
    checks = (TESTS.parent / "deploy" / "local.py").read_text()
    assert 'E2E = "tests/e2e"' in checks
