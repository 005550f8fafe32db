"""What `quandary bench queue --only tracks` counts, and that it asks as the selector does."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.records import record_of
from support.scoring import ScoringService

from quandary import ScoringOptions
from quandary.errors import InvalidArgument
from quandary_server.bench.queue.local_scorer import LocalScorer
from quandary_server.bench.queue.tracks import FOLDER, TASKS, TRACKED, Drives, kitti_drives, leased, track_figures
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.registry.directory import Artefacts
from quandary_server.settings import QuerySettings


def test_the_share_is_of_what_as_many_frames_can_show() -> None:
    tracks = {"a": frozenset("123"), "b": frozenset("12"), "c": frozenset("45"), "d": frozenset()}
    drives = Drives((), tracks)
    assert drives.covered(["a", "c"]) == 1.0
    assert drives.covered(["a", "b"]) == 3 / 5
    assert drives.covered(["b"]) == 2 / 3
    assert drives.covered(["d", "d", "d"]) == 0.0


def test_without_real_drives_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(InvalidArgument, match=FOLDER):
        track_figures(lambda *_: None)


def test_a_torn_line_of_tracking_labels_is_named(make_folder: Callable[..., Path]) -> None:
    root = make_folder("0 1 Car", "x 2 Car")
    with pytest.raises(InvalidArgument, match=r"0000.txt:2 is x 2 Car, must be frame, id and class"):
        kitti_drives(root)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    def make(*lines: str) -> Path:
        (tmp_path / "training" / "velodyne").mkdir(parents=True)
        (tmp_path / "training" / "velodyne" / "000000.bin").write_bytes(bytes(16))
        (tmp_path / "tracking_labels").mkdir()
        for name in TRACKED.values():
            (tmp_path / "tracking_labels" / name).write_text("\n".join(lines))
        return tmp_path

    return make


def test_a_local_generation_answers_as_the_service_does_and_few_tasks_are_leased(
    generation: Artefacts, make_frame: Callable[..., Any], tmp_path: Path
) -> None:
    frames = [make_frame(f"f{i}", seed=i) for i in range(TASKS + 2)]
    records = [record_of(frame, tmp_path / "clouds", at_s=2.0 * i) for i, frame in enumerate(frames)]
    scorer = LocalScorer(LoadedGeneration(generation), {})
    scored = asyncio.run(scorer.score(records[0]))
    assert scored is not None

    service = ScoringService(tmp_path, generation)
    service.start()
    try:
        service.promote(service.register())
        with service.client() as client:
            options = ScoringOptions(include_embedding=True)
            answer = client.score_frames([frames[0]], options).results[0].score
    finally:
        service.stop()
    assert scored.frame_score == answer.SerializeToString()

    found = leased(records, scorer, QuerySettings(), seed=0)
    assert len(set(found)) == len(found) == TASKS
    assert found == leased(records, scorer, QuerySettings(), seed=0)
    assert np.isin(found, [record.frame_id for record in records]).all()
