"""Runs and generations as messages."""

from quandary.convert import timestamp_message
from quandary.names import generation_name, run_name
from quandary.v1 import training_pb2, view_pb2
from quandary_server.registry.manifest import GateRecord, Manifest
from quandary_server.registry.pointer import Pointer
from quandary_server.storage.run_values import Run, RunLine
from quandary_server.wire.requests import view_of


def run_message(run: Run) -> training_pb2.Run:
    """Return the message of a run."""
    message = training_pb2.Run(
        name=run_name(run.id),
        state=training_pb2.RunState.Value(f"RUN_STATE_{run.state.name}"),
        stage=training_pb2.RunStage.Value(f"RUN_STAGE_{run.stage.name}"),
        stage_progress=run.stage_progress,
        trigger=training_pb2.RunTrigger.Value(f"RUN_TRIGGER_{run.trigger.name}"),
        requester=run.requester,
        start_time=timestamp_message(run.start_time),
        training_frames=run.training_frames,
        training_crops=run.training_crops,
        control_crops=run.control_crops,
        generation=generation_name(run.generation) if run.generation else "",
        gates=[gate_message(GateRecord.model_validate(gate)) for gate in run.gates],
        error=run.error,
        metrics=run.metrics,
        resumptions=run.resumptions,
    )
    if run.end_time is not None:
        message.end_time.CopyFrom(timestamp_message(run.end_time))
    return message


def line_message(line: RunLine) -> training_pb2.RunLine:
    """Return the message of a line that a run told."""
    return training_pb2.RunLine(time=timestamp_message(line.time), text=line.text)


def generation_message(manifest: Manifest, pointer: Pointer | None, view: view_pb2.View.ValueType) -> training_pb2.Generation:
    """Return the message of a generation; pointer: to the one that answers; digests in the FULL view."""
    full = view_of(view, view_pb2.VIEW_BASIC) == view_pb2.VIEW_FULL
    message = training_pb2.Generation(
        name=generation_name(manifest.generation),
        state=_state(manifest, pointer.generation if pointer else None),
        create_time=timestamp_message(manifest.created),
        members=len(manifest.files),
        class_names=manifest.classes,
        parent=generation_name(manifest.parent) if manifest.parent else "",
        run=run_name(manifest.run) if manifest.run else "",
        snapshot_digest=manifest.snapshot_digest,
        training_crops=manifest.training_crops,
        metrics=manifest.metrics,
        gates=[gate_message(gate) for gate in manifest.gates],
        pinned=pointer is not None and manifest.generation in pointer.pinned,
        calibration=manifest.calibration,
    )
    if full:
        message.digests.update(manifest.files)
    return message


def _state(manifest: Manifest, current: str | None) -> training_pb2.GenerationState.ValueType:
    if manifest.generation == current:
        return training_pb2.GENERATION_STATE_CURRENT
    return training_pb2.GENERATION_STATE_REFUSED if manifest.refused else training_pb2.GENERATION_STATE_REGISTERED


def gate_message(gate: GateRecord) -> training_pb2.GateResult:
    """Return the message of a verdict."""
    low, high = gate.difference or (None, None)
    return training_pb2.GateResult(
        gate=gate.gate,
        verdict=training_pb2.GateVerdict.Value(f"GATE_VERDICT_{gate.verdict.upper()}"),
        candidate=gate.candidate if _measured(gate) else None,
        reference=gate.reference,
        floor=gate.floor,
        difference_low=low,
        difference_high=high,
        reason=gate.reason,
    )


def _measured(gate: GateRecord) -> bool:
    # manifests of before 2026-11-28 say 0.0 where there was no figure
    return gate.verdict != "undetermined" or gate.candidate != 0.0
