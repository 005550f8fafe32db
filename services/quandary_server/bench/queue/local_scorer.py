"""A generation that answers in this process, as scoring does over the network."""

from quandary.frames import Frame
from quandary.options import ScoringOptions
from quandary.records import FrameRecord
from quandary.v1 import scoring_pb2
from quandary_server.frustum.raster import Rasters, rasterise
from quandary_server.inference.generation import LoadedGeneration, sample_count
from quandary_server.inference.scores import score_rasters
from quandary_server.selector.frame_scores import Scored, scored
from quandary_server.settings import SelectorSettings
from quandary_server.storage.blobs import read_cloud
from quandary_server.wire.scores import empty_score, frame_score

Views = dict[str, tuple[Frame, Rasters]]
"""Frames cut and rasterised, by frame id: the same for every generation."""


class LocalScorer:
    """Scores records as the selector asks for by default, each once. views: kept from one scorer to the next."""

    def __init__(self, generation: LoadedGeneration, views: Views) -> None:
        self._generation, self._views = generation, views
        self._options = SelectorSettings().scoring_options()
        self._scores: dict[str, Scored] = {}

    async def generation(self) -> str:
        """Return the generation's id."""
        return self._generation.id

    async def score(self, record: FrameRecord) -> Scored | None:
        """Return the score of a frame; raises what reading its cloud raises."""
        if record.frame_id not in self._scores:
            self._scores[record.frame_id] = self._scored(record)
        return self._scores[record.frame_id]

    def _scored(self, record: FrameRecord) -> Scored:
        generation = self._generation
        if record.frame_id not in self._views:
            self._views[record.frame_id] = _view(record, generation.manifest.net.side)
        return scored(answer_of(generation, *self._views[record.frame_id], self._options), generation.id)


def answer_of(generation: LoadedGeneration, frame: Frame, rasters: Rasters, options: ScoringOptions) -> scoring_pb2.FrameScore:
    """Return what the generation says of a frame, whose rasters are given."""
    classes, seed = generation.manifest.classes, generation.seed(options.seed)
    samples = sample_count(options, generation.members)
    if not len(rasters):
        return empty_score(options, classes, samples, seed)
    found = score_rasters(generation, rasters, options)
    return frame_score(frame, found, slice(0, len(rasters)), options, classes, samples, seed)


def rasters_of(frame: Frame, side: int) -> Rasters:
    """Return the rasters of a cropped frame."""
    return rasterise(frame.crops or [], frame.calibration, [proposal.box for proposal in frame.proposals], side)


def _view(record: FrameRecord, side: int) -> tuple[Frame, Rasters]:
    points = read_cloud(record.cloud_uri)
    frame = Frame(record.frame_id, record.calibration, record.proposals, points=points, drive_id=record.drive_id).cropped()
    return frame, rasters_of(frame, side)
