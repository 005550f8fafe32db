"""What labelled frames look like to the newest generation, as the store keeps it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quandary.errors import Aborted
from quandary.labels import FrameLabels
from quandary_server.storage.elections import RANKING
from quandary_server.storage.store import Store

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LASTS = timedelta(seconds=6)


@pytest.fixture
def labelled(store: Store, fill: Callable[..., Any]) -> Store:
    """f000 to f002 and f004 are labelled, the last of them a control frame; f003 waits."""
    fill(0.4, 0.3, None, 0.1)
    fill(None, queue="control")
    store.labels.submit([FrameLabels(f"f00{i}") for i in (1, 0, 2, 4)], labeller="eve", now=NOW)
    return store


def test_labelled_frames_that_a_generation_has_not_embedded_come_oldest_label_first_and_never_control_frames(
    labelled: Store,
) -> None:
    found, behind = labelled.embeddings.missing("g1", after=0, limit=2)
    assert [frame.frame_id for frame in found] == ["f001", "f000"]
    assert [frame.generation for frame in found] == ["g1", "g1"]
    assert found[0].frame_score == b"score of f001 by g1"
    assert (found[0].record, found[0].crops) == (b"record of f001", 4)
    found, behind = labelled.embeddings.missing("g1", after=behind, limit=2)
    assert [(frame.frame_id, frame.frame_score) for frame in found] == [("f002", None)]
    assert labelled.embeddings.missing("g1", after=behind, limit=2) == ((), behind)


def test_what_is_embedded_is_missing_no_more_until_the_next_generation(labelled: Store) -> None:
    labelled.embeddings.write({"f001": b"one", "f002": b"two"}, generation="g1")
    assert [frame.frame_id for frame in labelled.embeddings.missing("g1", after=0, limit=9)[0]] == ["f000"]
    assert len(labelled.embeddings.missing("g2", after=0, limit=9)[0]) == 3
    first = labelled.embeddings.since("g1", after=0, limit=9)
    assert [(row.frame_id, row.embedding) for row in first] == [("f001", b"one"), ("f002", b"two")]
    labelled.embeddings.write({"f001": b"anew"}, generation="g2")
    assert [row.frame_id for row in labelled.embeddings.since("g1", after=0, limit=9)] == ["f002"]
    (anew,) = labelled.embeddings.since("g2", after=first[-1].sequence, limit=9)
    assert (anew.frame_id, anew.embedding) == ("f001", b"anew")


def test_labels_that_come_later_are_found_behind_the_others(labelled: Store) -> None:
    _, behind = labelled.embeddings.missing("g1", after=0, limit=9)
    labelled.labels.submit([FrameLabels("f003")], labeller="eve", now=NOW)
    assert [frame.frame_id for frame in labelled.embeddings.missing("g1", after=behind, limit=9)[0]] == ["f003"]


def test_who_leads_no_more_embeds_nothing(labelled: Store) -> None:
    ada = labelled.elections.campaign(RANKING, "ada", None, now=NOW, lasts=LASTS)
    labelled.elections.campaign(RANKING, "bob", None, now=NOW + LASTS, lasts=LASTS)
    with pytest.raises(Aborted):
        labelled.embeddings.write({"f001": b"one"}, generation="g1", lead=ada)
    assert not labelled.embeddings.since("g1", after=0, limit=9)


def test_without_labels_nothing_is_missing(store: Store) -> None:
    assert store.embeddings.missing("g1", after=0, limit=9) == ((), 0)
