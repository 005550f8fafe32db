"""LabelService: convert, call, convert."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import datetime

from quandary import convert
from quandary.errors import InvalidArgument, within
from quandary.frames import check_identifier
from quandary.v1 import fleet_log_pb2, labels_pb2, labels_pb2_grpc, view_pb2
from quandary_server.auth import Caller, Role
from quandary_server.selector.label_check import LabelCheck
from quandary_server.storage.paging import MAX_PAGE_SIZE
from quandary_server.storage.store import Store
from quandary_server.wire.door import Door, streaming, unary
from quandary_server.wire.requests import labels_of, view_of
from quandary_server.wire.tasks import labelled_frame_message

MAX_FRAMES = 500
DEFAULT_PAGE = 50


class LabelServicer(labels_pb2_grpc.LabelServiceServicer):
    """The service over the store."""

    def __init__(self, door: Door, store: Store, clock: Callable[[], datetime]) -> None:
        self.door, self._store, self._clock, self._check = door, store, clock, LabelCheck(store)

    @unary(Role.LABELLER, labels_pb2.SubmitLabelsResponse)
    async def SubmitLabels(self, request: labels_pb2.SubmitLabelsRequest, caller: Caller) -> labels_pb2.SubmitLabelsResponse:
        """Store labels of frames that nobody leased."""
        if not 1 <= len(request.frames) <= MAX_FRAMES:
            raise InvalidArgument.of("frames", f"{len(request.frames)} frames", f"1 to {MAX_FRAMES}")
        frames = []
        for i, message in enumerate(request.frames):
            with within(f"frames[{i}]"):
                frames.append(labels_of(message))
        await asyncio.to_thread(self._check.of_frames, frames)
        done = await asyncio.to_thread(self._store.labels.submit, frames, labeller=caller.subject, now=self._clock())
        return labels_pb2.SubmitLabelsResponse(
            stored_frames=done.stored, unchanged_frames=done.unchanged, replaced_frames=done.replaced
        )

    @unary(Role.LABELLER, labels_pb2.GetFrameLabelsResponse)
    async def GetFrameLabels(
        self, request: labels_pb2.GetFrameLabelsRequest, caller: Caller
    ) -> labels_pb2.GetFrameLabelsResponse:
        """Return the labels of one frame."""
        frame = await asyncio.to_thread(self._store.labels.get, check_identifier("frame_id", request.frame_id))
        return labels_pb2.GetFrameLabelsResponse(frame=labelled_frame_message(frame))

    @unary(Role.LABELLER, labels_pb2.ListFrameLabelsResponse)
    async def ListFrameLabels(
        self, request: labels_pb2.ListFrameLabelsRequest, caller: Caller
    ) -> labels_pb2.ListFrameLabelsResponse:
        """Return a page of labelled frames, oldest first."""
        size = request.page_size or DEFAULT_PAGE
        page = await asyncio.to_thread(self._store.labels.list, page_size=size, page_token=request.page_token)
        counts = await asyncio.to_thread(self._store.labels.counts)
        return labels_pb2.ListFrameLabelsResponse(
            frames=map(labelled_frame_message, page.items),
            next_page_token=page.next_token,
            total_frames=counts.frames + counts.control_frames,
        )

    @streaming(Role.LABELLER)
    async def StreamFrameLabels(
        self, request: labels_pb2.StreamFrameLabelsRequest, caller: Caller
    ) -> AsyncGenerator[labels_pb2.StreamFrameLabelsResponse, None]:
        """Stream labelled frames out, oldest first, page by page: nothing is held for long."""
        full = view_of(request.view, view_pb2.VIEW_BASIC) == view_pb2.VIEW_FULL
        since = None
        if request.HasField("since"):
            with within("since"):
                since = convert.timestamp(request.since)
        token = ""
        while True:
            page = await asyncio.to_thread(self._store.labels.list, page_size=MAX_PAGE_SIZE, page_token=token)
            for frame in page.items:
                if since is None or frame.label_time >= since:
                    record = fleet_log_pb2.FrameRecord.FromString(frame.record) if full else None
                    yield labels_pb2.StreamFrameLabelsResponse(frame=labelled_frame_message(frame), record=record)
            if not page.next_token:
                return
            token = page.next_token
