"""Valid requests of every method: what mutations begin from."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fuzz.attempts import Method
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from support.open_inference import infer_request, raster_frame, tensors

from quandary import Calibration, Frame, ImageBox, Proposal
from quandary.convert import frame_message
from quandary.v1 import geometry_pb2, labels_pb2, queue_pb2, scoring_pb2, training_pb2, view_pb2
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol

A_SECOND, A_MINUTE = Duration(seconds=1), Duration(seconds=60)
SINCE = Timestamp(seconds=1_700_000_000)

Requests = dict[str, list[Message]]


def small_frames(calibration: Calibration) -> list[Frame]:
    """Return two frames of two proposals and a few points."""
    found = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        points = np.column_stack([rng.uniform([5, -9, -2], [40, 9, 2], (60, 3)), rng.random(60)]).astype(np.float32)
        boxes = [ImageBox(100.0, 50.0, 700.0, 300.0), ImageBox(500.0, 100.0, 900.0, 350.0)]
        proposals = [Proposal(box, confidence=0.5, class_hint="Car") for box in boxes]
        found.append(Frame(f"f{seed}", calibration, proposals, points=points, drive_id="drive"))
    return found


def methods_of(service: ServiceDescriptor, seeds: Requests, **traits: Any) -> list[Method]:
    """Return the methods of a service; each must have seeds."""
    return [
        Method(
            f"/{service.full_name}/{method.name}",
            seeds[method.name],
            GetMessageClass(method.output_type),
            method.client_streaming,
            method.server_streaming,
            **traits,
        )
        for method in service.methods
    ]


def scoring_methods(frames: Sequence[Frame]) -> list[Method]:
    """Return the methods of the scoring service; its frames come as clouds and as crops."""
    whole, cropped = [frame_message(frame) for frame in frames], [frame_message(frame.cropped()) for frame in frames]
    doubles = scoring_pb2.FrameInput()
    doubles.CopyFrom(whole[0])
    doubles.cloud.data_type = geometry_pb2.DATA_TYPE_FLOAT64
    doubles.cloud.data = bytes(2 * len(whole[0].cloud.data))
    options = scoring_pb2.ScoringOptions(
        estimator=scoring_pb2.ESTIMATOR_MC_DROPOUT,
        acquisition=scoring_pb2.ACQUISITION_MUTUAL_INFORMATION,
        seed=5,
        mc_samples=3,
        include_embedding=True,
    )
    full = scoring_pb2.ScoringOptions(
        estimator=scoring_pb2.ESTIMATOR_ENSEMBLE_MC_DROPOUT,
        reduction=scoring_pb2.REDUCTION_TOP_K_MEAN,
        mc_samples=2,
        top_k=2,
    )
    jittered = scoring_pb2.ScoringOptions(
        estimator=scoring_pb2.ESTIMATOR_ESCALATE,
        acquisition=scoring_pb2.ACQUISITION_STABILITY,
        mc_samples=3,
        jittered_proposals=2,
        escalate_share=0.5,
    )
    timed = scoring_pb2.ScoreFramesRequest(frames=cropped, options=full, timeout=A_MINUTE)
    sent = [scoring_pb2.StreamScoresRequest(options=options)]
    sent += [scoring_pb2.StreamScoresRequest(frame=frame, sequence=i) for i, frame in enumerate([*whole, *cropped])]
    seeds: Requests = {
        "ScoreFrames": [
            scoring_pb2.ScoreFramesRequest(frames=[whole[0], cropped[1]], options=options),
            scoring_pb2.ScoreFramesRequest(frames=[doubles, whole[1]]),
            scoring_pb2.ScoreFramesRequest(frames=[whole[0], cropped[1]], options=jittered),
            timed,
        ],
        "StreamScores": list(sent),
        "GetServingStatus": [scoring_pb2.GetServingStatusRequest()],
    }
    return methods_of(scoring_pb2.DESCRIPTOR.services_by_name["ScoringService"], seeds)


def inference_methods(frame: Frame) -> list[Method]:
    """Return the methods of the Open Inference Protocol; its tensors come raw and typed."""
    crops = tensors(raster_frame(frame))
    asked: dict[str, Any] = {"seed": 3, "mc_samples": 2, "timeout": 60_000_000, "acquisition": "mutual_information"}
    seeds: Requests = {
        "ServerLive": [protocol.ServerLiveRequest()],
        "ServerReady": [protocol.ServerReadyRequest()],
        "ModelReady": [protocol.ModelReadyRequest(name="ensemble")],
        "ServerMetadata": [protocol.ServerMetadataRequest()],
        "ModelMetadata": [protocol.ModelMetadataRequest(name="member-0")],
        "ModelInfer": [
            infer_request(crops, "mc_dropout", outputs=["score", "box"], **asked),
            infer_request(crops, "escalate", outputs=["escalated"], mc_samples=20, escalate_share=0.5),
            infer_request(crops, "member-0", raw=False),
        ],
    }
    return methods_of(protocol.DESCRIPTOR.services_by_name["GRPCInferenceService"], seeds)


def queue_methods(leased: Callable[[], queue_pb2.Task], labels: labels_pb2.FrameLabels, page_token: str) -> list[Method]:
    """Return the methods of the queue service; leased: leases one more task. page_token: of the waiting tasks."""
    renewed, acknowledged, skipped, released = (leased() for _ in range(4))
    seeds: Requests = {
        "LeaseTasks": [queue_pb2.LeaseTasksRequest(queue="queues/active", max_tasks=1, lease_duration=A_MINUTE)],
        "RenewLease": [
            queue_pb2.RenewLeaseRequest(name=renewed.name, lease_token=renewed.lease.token, lease_duration=A_MINUTE)
        ],
        "AcknowledgeTask": [
            queue_pb2.AcknowledgeTaskRequest(
                name=acknowledged.name,
                lease_token=acknowledged.lease.token,
                labels=labels_pb2.FrameLabels(frame_id=acknowledged.frame_id, labels=labels.labels),
            )
        ],
        "SkipTask": [
            queue_pb2.SkipTaskRequest(
                name=skipped.name,
                lease_token=skipped.lease.token,
                reason=queue_pb2.SKIP_REASON_OTHER,
                comment="dark",
                requeue=queue_pb2.REQUEUE_POLICY_OTHERS,
            )
        ],
        "ReleaseTask": [queue_pb2.ReleaseTaskRequest(name=released.name, lease_token=released.lease.token)],
        "PinTask": [queue_pb2.PinTaskRequest(name=name, pinned=True, comment="now") for name in (renewed.name, released.name)],
        "SetTaskBand": [queue_pb2.SetTaskBandRequest(name=released.name, band=queue_pb2.PRIORITY_BAND_SAFETY, comment="first")],
        "RequeueTask": [queue_pb2.RequeueTaskRequest(name=skipped.name, comment="readable again")],
        "GetTask": [queue_pb2.GetTaskRequest(name=renewed.name, view=view_pb2.VIEW_FULL)],
        "ListTasks": [
            queue_pb2.ListTasksRequest(queue="queues/active", state=queue_pb2.TASK_STATE_WAITING, page_size=3),
            queue_pb2.ListTasksRequest(queue="queues/active", page_token=page_token, view=view_pb2.VIEW_FULL),
        ],
        "GetQueueStats": [queue_pb2.GetQueueStatsRequest(queue="queues/active")],
        "ListQueues": [queue_pb2.ListQueuesRequest()],
        "ListAuditEvents": [queue_pb2.ListAuditEventsRequest(task=renewed.name, page_size=3)],
    }
    return methods_of(queue_pb2.DESCRIPTOR.services_by_name["QueueService"], seeds)


def label_methods(labels: labels_pb2.FrameLabels) -> list[Method]:
    """Return the methods of the label service."""
    seeds: Requests = {
        "SubmitLabels": [labels_pb2.SubmitLabelsRequest(frames=[labels])],
        "GetFrameLabels": [labels_pb2.GetFrameLabelsRequest(frame_id=labels.frame_id)],
        "ListFrameLabels": [labels_pb2.ListFrameLabelsRequest(page_size=3)],
        "StreamFrameLabels": [labels_pb2.StreamFrameLabelsRequest(since=SINCE, view=view_pb2.VIEW_FULL)],
    }
    return methods_of(labels_pb2.DESCRIPTOR.services_by_name["LabelService"], seeds)


def training_methods(run: str, generation: str) -> list[Method]:
    """Return the methods of the training service, for a run that is over and a generation."""
    name = f"generations/{generation}"
    seeds: Requests = {
        "StartRun": [training_pb2.StartRunRequest(members=2, steps=10, seed=3, promote=True)],
        "GetRun": [training_pb2.GetRunRequest(name=f"runs/{run}")],
        "ListRuns": [training_pb2.ListRunsRequest(page_size=3, state=training_pb2.RUN_STATE_FAILED)],
        "WatchRun": [training_pb2.WatchRunRequest(name=f"runs/{run}")],
        "CancelRun": [training_pb2.CancelRunRequest(name=f"runs/{run}")],
        "ListGenerations": [training_pb2.ListGenerationsRequest(page_size=1, view=view_pb2.VIEW_FULL)],
        "GetGeneration": [training_pb2.GetGenerationRequest(name=found) for found in ("generations/current", name)],
        "PromoteGeneration": [
            training_pb2.PromoteGenerationRequest(name=name, expected_current=name, timeout=A_SECOND, force=True)
        ],
        "RollbackGeneration": [training_pb2.RollbackGenerationRequest(name=name, timeout=A_SECOND)],
        "PinGeneration": [training_pb2.PinGenerationRequest(name=name, pinned=True)],
    }
    return methods_of(training_pb2.DESCRIPTOR.services_by_name["TrainingService"], seeds)


def health_methods(service: str) -> list[Method]:
    """Return the methods of gRPC health."""
    request = health_pb2.HealthCheckRequest(service=service)
    found = health_pb2.DESCRIPTOR.services_by_name["Health"]
    seeds: Requests = {"Check": [request], "List": [health_pb2.HealthListRequest()], "Watch": [request]}
    return methods_of(found, seeds, bare=True, endless=True)


def reflection_methods() -> list[Method]:
    """Return the method of reflection."""
    request = reflection_pb2.ServerReflectionRequest
    seeds: list[Message] = [
        request(host="here", list_services="*"),
        request(file_containing_symbol="quandary.v1.QueueService"),
        request(file_containing_extension={"containing_type": "quandary.v1.Task", "extension_number": 3}),
        request(all_extension_numbers_of_type="quandary.v1.Task"),
        request(file_by_filename="quandary/v1/queue.proto"),
    ]
    found = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    return methods_of(found, {"ServerReflectionInfo": seeds}, bare=True)
