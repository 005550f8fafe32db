"""Tasks, queue counts and labelled frames as messages."""

from quandary.convert import frame_labels_message, timestamp_message
from quandary.names import queue_name, task_name
from quandary.v1 import fleet_log_pb2, labels_pb2, queue_pb2, scoring_pb2, view_pb2
from quandary_server.leasing.order import PriorityBand
from quandary_server.leasing.status import Lease, TaskState
from quandary_server.storage.audit import AuditEvent
from quandary_server.storage.label_values import LabelledFrame
from quandary_server.storage.task_values import CONTROL_QUEUE, QueueStats, Task
from quandary_server.wire.spread import centre_sigma_m


def task_message(
    task: Task, view: view_pb2.View.ValueType, *, with_token: bool = False, nearest: tuple[str, float] | None = None
) -> queue_pb2.Task:
    """Return the message of a task; record, objects' scores and siblings in the FULL view, the lease token where asked for.

    nearest: the labelled frame most like the task's, and its distance.
    """
    frame_score = scoring_pb2.FrameScore.FromString(task.frame_score) if task.frame_score else None
    message = queue_pb2.Task(
        name=task_name(task.queue, task.frame_id),
        frame_id=task.frame_id,
        drive_id=task.drive_id,
        stamp=timestamp_message(task.stamp),
        state=queue_pb2.TaskState.Value(f"TASK_STATE_{task.state.name}"),
        pinned=task.place.pinned,
        band=queue_pb2.PriorityBand.Value(f"PRIORITY_BAND_{task.place.band.name}"),
        rank=task.place.rank,
        score=task.place.score,
        generation=task.generation,
        crops=task.crops,
        enqueue_time=timestamp_message(task.enqueued),
        failed_leases=task.status.failed_leases,
        reason=reason(task, frame_score),
        folded_under=task.folded_under,
    )
    if task.skip_reason:
        message.skip_reason = queue_pb2.SkipReason.Value(f"SKIP_REASON_{task.skip_reason.upper()}")
    if task.status.lease is not None:
        message.lease.CopyFrom(lease_message(task.status.lease, with_token=with_token))
    if nearest is not None:
        message.nearest_labelled_frame, message.nearest_labelled_distance = nearest
    if view == view_pb2.VIEW_FULL:
        message.siblings.extend(task.siblings)
        message.record.CopyFrom(fleet_log_pb2.FrameRecord.FromString(task.record))
        if frame_score is not None:
            message.frame_score.CopyFrom(frame_score)
    return message


def lease_message(lease: Lease, *, with_token: bool) -> queue_pb2.Lease:
    """Return the message of a lease; the token only for who holds it."""
    token = lease.token if with_token else ""
    return queue_pb2.Lease(token=token, holder=lease.holder, expire_time=timestamp_message(lease.expires))


def reason(task: Task, frame_score: scoring_pb2.FrameScore | None) -> str:
    """Return why a task is asked for, one sentence, and before it what put it forward by hand, or a fold back."""
    return _put_forward(task) + _asked_for(task, frame_score)


def _put_forward(task: Task) -> str:
    band = task.place.band
    placed = f"In the {band.name.lower()} band. " if band is not PriorityBand.ACTIVE_LEARNING else ""
    folded = task.state is TaskState.WAITING and not task.place.can_be_leased
    back = f"A near copy of {task.folded_under}, folded under it: not leased now. " if folded else ""
    return ("Pinned to the front. " if task.place.pinned else "") + placed + back


def _asked_for(task: Task, frame_score: scoring_pb2.FrameScore | None) -> str:
    if task.queue == CONTROL_QUEUE:
        return "Frame of a control drive, in random order: its labels judge the detector and never train it."
    if task.place.score is None:
        return "No generation has scored it yet: it stands in a seeded random order."
    objects = frame_score.objects if frame_score else ()
    if not objects:
        return f"Score {task.place.score:.3f} by {task.generation}."
    most = max(objects, key=lambda found: found.score)
    likely = max(most.class_probabilities, default=0.0)
    return (
        f"Score {task.place.score:.3f} by {task.generation}; most doubtful is object {most.proposal_index} of {len(objects)}: "
        f"{most.predicted_class} at {likely:.0%}, {most.class_uncertainty.predictive_entropy_nats:.2f} nats of class entropy, "
        f"{most.class_uncertainty.mutual_information_nats:.2f} of them disagreement{_placed(most)}."
    )


def _placed(found: scoring_pb2.ObjectScore) -> str:
    sigma = centre_sigma_m(found.box_uncertainty)
    return "" if sigma is None else f", its centre known to {sigma:.1f} m"


def stats_message(stats: QueueStats, *, generation: str, ranked_generation: str, log_lag: int) -> queue_pb2.QueueStats:
    """Return the message of a queue's counts."""
    message = queue_pb2.QueueStats(
        name=queue_name(stats.queue),
        waiting=stats.waiting,
        folded=stats.folded,
        leased=stats.leased,
        acknowledged=stats.acknowledged,
        skipped=stats.skipped,
        dead_letter=stats.dead_letter,
        unscored=stats.unscored,
        behind=stats.behind if generation else None,
        generation=generation,
        log_lag=log_lag,
        rejected_records=stats.rejected,
        ranked_generation=ranked_generation,
    )
    if stats.oldest_waiting is not None:
        message.oldest_waiting_time.CopyFrom(timestamp_message(stats.oldest_waiting))
    return message


def audit_message(event: AuditEvent) -> queue_pb2.AuditEvent:
    """Return the message of an audit event."""
    return queue_pb2.AuditEvent(
        time=timestamp_message(event.time),
        subject=event.subject,
        action=event.action,
        task=task_name(event.queue, event.frame_id) if event.frame_id else "",
        details=event.details,
    )


def task_state(number: int) -> TaskState | None:
    """Return the state of a number, None for UNSPECIFIED; raises ValueError for an unknown one."""
    if number == queue_pb2.TASK_STATE_UNSPECIFIED:
        return None
    return TaskState[queue_pb2.TaskState.Name(number).removeprefix("TASK_STATE_")]  # type: ignore[arg-type]


def labelled_frame_message(frame: LabelledFrame) -> labels_pb2.FrameLabels:
    """Return the message of a labelled frame as it is kept, with who labelled it and when."""
    message = frame_labels_message(frame.labels)
    message.labeller, message.drive_id, message.control = frame.labeller, frame.drive_id, frame.control
    message.label_time.CopyFrom(timestamp_message(frame.label_time))
    return message
