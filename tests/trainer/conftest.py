"""Fixtures of the trainer tests: a session's Ray, a store with labels, and the settings of small runs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from support.records import START, labelled_record, log_record

from quandary import Calibration, FrameLabels
from quandary_server.settings import Settings, load_settings
from quandary_server.storage.store import Store
from quandary_server.storage.task_values import TaskEntry

Label = Callable[..., list[FrameLabels]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two members of twenty steps."""
    trainer = {
        "members": 2,
        "fit": {"steps": 20, "batch": 16, "report_every": 5},
        "net": {"channels": (4, 4, 8), "image_embedding": 12, "geometry_embedding": 4, "hidden": 16},
        "min_crops": 12,
        "new_crops": 0,
        "promote_timeout": "PT2S",
    }
    return load_settings(data=tmp_path / "data", trainer=trainer, selector={"mc_samples": 5})


@pytest.fixture
def store(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Store]:
    """The store of the settings; with the parameter "postgresql" one on that server."""
    settings.data.mkdir(parents=True)
    with ExitStack() as stack:
        place: str | Path = settings.database
        if getattr(request, "param", "sqlite") == "postgresql":
            place = stack.enter_context(request.getfixturevalue("postgres").empty_store())
        yield stack.enter_context(Store.open(place))


@pytest.fixture
def label(store: Store, calibration: Calibration, tmp_path: Path) -> Label:
    """Puts so many labelled frames into a queue of the store; returns their labels."""
    rng, count = np.random.default_rng(0), [0]

    def put(frames: int, queue: str = "active", shuffled: bool = False, at: datetime = START) -> list[FrameLabels]:
        entries, found = [], []
        for i in range(frames):
            number = count[0] + i + 1
            record, labels = labelled_record(
                calibration, tmp_path / "clouds", f"f{number}", f"{queue}-drive-{i % 3}", rng, at_s=number
            )
            payload = log_record(record).payload
            entries.append(TaskEntry(number, queue, record.frame_id, record.drive_id, record.stamp, payload, 3, shuffle=number))
            found.append(labels)
        store.intake.apply(entries, log="log", after=count[0], position=count[0] + frames, now=START)
        count[0] += frames
        if shuffled:
            found = [swapped(labels) for labels in found]
        store.labels.submit(found, labeller="test", now=at)
        return found

    return put


def swapped(labels: FrameLabels) -> FrameLabels:
    """Return the labels with the classes of car and pedestrian exchanged."""
    other = {"Car": "Pedestrian", "Pedestrian": "Car"}
    return replace(labels, labels=tuple(replace(found, class_name=other[found.class_name]) for found in labels.labels))
