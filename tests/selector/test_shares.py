"""Who reads which source of a shared log."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from quandary_server.selector.shared_log import Membership
from quandary_server.selector.shares import share_of
from quandary_server.storage.store import Store

names = st.text("abcdef", min_size=1, max_size=4)
groups = st.lists(names, min_size=1, max_size=5, unique=True)
logs = st.lists(names, max_size=12, unique=True)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(groups, logs, st.booleans())
def test_each_source_has_one_reader(members: list[str], sources: list[str], even: bool) -> None:
    shares = [share_of(member, members, sources, even=even) for member in members]
    assert sorted(source for share in shares for source in share) == sorted(sources)
    if even:
        assert max(map(len, shares)) <= -(-len(sources) // len(members))


@given(groups, logs, st.data())
def test_a_member_that_dies_moves_no_other_source_than_its_own(
    members: list[str], sources: list[str], data: st.DataObject
) -> None:
    dead = data.draw(st.sampled_from(members))
    left = [member for member in members if member != dead]
    for member in left:
        before = share_of(member, members, sources, even=False)
        assert set(before) <= set(share_of(member, left, sources, even=False))


@given(groups, logs, names)
def test_without_evenness_a_source_knows_nothing_of_the_others(members: list[str], sources: list[str], new: str) -> None:
    more = [*sources, new] if new not in sources else sources
    for member in members:
        before = share_of(member, members, sources, even=False)
        assert [source for source in share_of(member, members, more, even=False) if source in sources] == list(before)


def test_who_is_no_member_reads_nothing() -> None:
    assert share_of("eve", ["ada", "bob"], ["s"], even=True) == ()
    assert share_of("ada", [], ["s"], even=True) == ()


def test_who_is_silent_is_forgotten_and_who_leaves_at_once(store: Store) -> None:
    lasts = timedelta(seconds=10)
    assert tuple(store.members.beat("g", "ada", now=NOW, lasts=lasts)) == ("ada",)
    assert tuple(store.members.beat("g", "bob", now=NOW + timedelta(seconds=5), lasts=lasts)) == ("ada", "bob")
    assert tuple(store.members.beat("other", "eve", now=NOW, lasts=lasts)) == ("eve",)
    assert tuple(store.members.beat("g", "bob", now=NOW + timedelta(seconds=10), lasts=lasts)) == ("bob",)
    assert tuple(store.members.beat("g", "ada", now=NOW + timedelta(seconds=11), lasts=lasts)) == ("ada", "bob")
    store.members.leave("g", "bob")
    assert tuple(store.members.beat("g", "ada", now=NOW + timedelta(seconds=12), lasts=lasts)) == ("ada",)


def test_a_member_knows_the_others_from_its_first_word(store: Store) -> None:
    ada = Membership(store.members, "g", "ada", lambda: NOW, timedelta(hours=1))
    bob = Membership(store.members, "g", "bob", lambda: NOW, timedelta(hours=1))
    ada.join()
    bob.join()
    assert bob.alive() == ("ada", "bob")
    bob.leave()
    ada.leave()
    assert tuple(store.members.beat("g", "eve", now=NOW, lasts=timedelta(hours=1))) == ("eve",)
