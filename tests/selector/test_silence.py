"""Who died while its clock was ahead does not live on."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quandary_server.silence import Silence
from quandary_server.storage.elections import RANKING, Lead
from quandary_server.storage.store import Store

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
AHEAD = NOW + timedelta(hours=1)
LASTS = timedelta(seconds=6)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


def test_what_stays_the_same_for_too_long_is_silent() -> None:
    seconds = 0.0
    silence = Silence(LASTS, lambda: seconds)
    assert silence.among({"ada": NOW, "bob": AHEAD}) == {}
    seconds = 6.0
    assert silence.among({"ada": NOW + LASTS, "bob": AHEAD}) == {}
    seconds = 6.5
    assert silence.among({"ada": NOW + LASTS, "bob": AHEAD}) == {"bob": AHEAD}
    seconds = 13.0
    assert silence.among({"bob": AHEAD + LASTS}) == {}, "it was heard of"


def test_a_member_that_died_with_its_clock_ahead_is_forgotten_and_one_that_lives_is_not(store: Store) -> None:
    store.members.beat("g", "ada", now=AHEAD, lasts=LASTS)
    found = store.members.beat("g", "bob", now=NOW, lasts=LASTS)
    assert list(found) == ["ada", "bob"]
    silent = {"ada": found["ada"]}
    store.members.beat("g", "ada", now=AHEAD + LASTS, lasts=LASTS)
    assert list(store.members.beat("g", "bob", now=AHEAD, lasts=LASTS, silent=silent)) == ["ada", "bob"]
    silent = {"ada": AHEAD + 2 * LASTS}
    assert list(store.members.beat("g", "bob", now=AHEAD, lasts=LASTS, silent=silent)) == ["bob"]


def test_an_office_whose_holder_died_with_its_clock_ahead_is_free(store: Store) -> None:
    ada = store.elections.campaign(RANKING, "ada", None, now=AHEAD, lasts=LASTS)
    ends = store.elections.term_ends(RANKING)
    assert ends == AHEAD + LASTS
    assert store.elections.campaign(RANKING, "bob", None, now=NOW, lasts=LASTS) is None
    bob = store.elections.campaign(RANKING, "bob", None, now=NOW, lasts=LASTS, silent=ends)
    assert (ada, bob) == (Lead(RANKING, 1), Lead(RANKING, 2))
