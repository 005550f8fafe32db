"""What several requests have in common, held to its bounds."""

from quandary import convert
from quandary.errors import InvalidArgument
from quandary.labels import FrameLabels
from quandary.v1 import labels_pb2, view_pb2

MAX_LABELS = 1000


def view_of(view: view_pb2.View.ValueType, default: view_pb2.View.ValueType) -> view_pb2.View.ValueType:
    """Return the view asked for, `default` where none is; raises InvalidArgument for an unknown one."""
    if view not in view_pb2.View.DESCRIPTOR.values_by_number:
        raise InvalidArgument.of("view", view, "a View")
    return view or default


def labels_of(message: labels_pb2.FrameLabels) -> FrameLabels:
    """Return the labels of a frame; raises InvalidArgument for malformed ones, and for more than 1000 of them or of regions."""
    if len(message.labels) > MAX_LABELS:
        raise InvalidArgument.of("labels", f"{len(message.labels)} labels", f"at most {MAX_LABELS}")
    if len(message.ignored_regions) > MAX_LABELS:
        raise InvalidArgument.of("ignored_regions", f"{len(message.ignored_regions)} regions", f"at most {MAX_LABELS}")
    return convert.frame_labels(message)
