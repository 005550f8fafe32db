"""Why a task is asked for, as a picture: the cloud from above, what the detector made of it, and the reasons in words."""

import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quandary import BACKGROUND, Box3D, Calibration, FrameRecord, ImageBox, InvalidArgument
from quandary.convert import box3d, record
from quandary.v1 import queue_pb2, scoring_pb2
from quandary_server.cli.label_layout import placed
from quandary_server.cli.queue_watch import skip_reason_of, time_of
from quandary_server.wire.spread import centre_sigma_m, deviations_m

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

INK, GREY, PALE, FRUSTUM, SPREAD = "#1f2937", "#6b7280", "#d1d5db", "#0072b2", "#7b1fa2"
LEAST_M, LARGEST_M = 30.0, 90.0
BEHIND_M = -2.0
MARGIN_M = 4.0
SIDE_SHARE = 0.5
SURE = 0.9
SIZE_INCHES = (14.0, 9.0)
DPI = 110
MOST_NAMED = 14
MOST_SIBLINGS = 6
TITLE_WIDTH, WORDS_WIDTH = 85, 62
LINE_HEIGHT, ROW_HEIGHT, NOTE_TOP = 0.02, 0.0158, 0.12
GAP_PIXELS = 5.0
OBJECT = "object"

NOTE = (
    "Wedges: the proposals' frusta, numbered. Boxes: what the detector predicts, a line from the centre to the front; "
    "dashed where it rather sees background, left out where it is sure of that. Purple: one standard deviation of the centre. "
    "Entropy and disagreement are in nats, box +- is that deviation in metres."
)


def draw(path: Path, task: queue_pb2.Task, points: NDArray[np.float32]) -> None:
    """Write a PNG of the task in the FULL view; points (N, 4) of its cloud.

    The LiDAR is at the bottom and looks up. Each proposal is the wedge that its frustum is from above, each object the box
    that the detector predicts, the darker the more it is worth a label.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    frame = record(task.record)
    objects = list(task.frame_score.objects)
    drawn = [found for found in objects if _is_drawn(found)]
    reach = _reach(drawn)
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    above, words = figure.subplots(1, 2, width_ratios=(1.35, 1.0))

    _draw_points(above, points, reach)
    labels = _draw_frusta(above, frame, reach)
    worth = Normalize(0.0, max((found.score for found in objects), default=0.0) or 1.0)
    colours = colormaps["YlOrRd"]
    for found in sorted(drawn, key=lambda found: found.score):  # what is most worth a label lies on top, and is named first
        labels.insert(0, _draw_object(above, found, colours(0.25 + 0.75 * float(worth(found.score)))))
    if objects:
        bar = figure.colorbar(ScalarMappable(worth, colours), ax=above, fraction=0.04, pad=0.02)
        bar.set_label("score of the object", color=GREY)
    title = _filled(f"{task.frame_id}, drive {task.drive_id}: from above", TITLE_WIDTH)
    above.set_title(title, color=INK, loc="left", fontsize=10)
    outside = [found for found in drawn if abs(found.box.y_m) > reach[0] or not BEHIND_M <= found.box.x_m <= reach[1]]
    _write_words(words, task, objects, len(outside))
    _spread(figure, above, labels)
    figure.savefig(path, format="png")


def _reach(objects: Sequence[scoring_pb2.ObjectScore]) -> tuple[float, float]:
    """Return how far to draw to either side and ahead, in metres: as far as objects are, and enough to see a street."""
    ahead = min(max((found.box.x_m for found in objects), default=0.0), LARGEST_M) + 3 * MARGIN_M
    ahead = max(ahead, LEAST_M)
    side = max((abs(found.box.y_m) for found in objects), default=0.0) + MARGIN_M
    return min(max(side, SIDE_SHARE * ahead), ahead), ahead


def _is_drawn(found: scoring_pb2.ObjectScore) -> bool:
    """Return whether its box is worth a look: that of what is surely background is not."""
    surely_none = found.predicted_class == BACKGROUND and max(found.class_probabilities, default=0.0) >= SURE
    return _box(found) is not None and not surely_none


def _draw_points(axes: "Axes", points: NDArray[np.float32], reach: tuple[float, float]) -> None:
    side, ahead = reach
    # the heights between street and roofs tell most
    shade = np.clip((points[:, 2] + 2.0) / 3.0, 0.0, 1.0)
    axes.scatter(-points[:, 1], points[:, 0], c=0.8 - 0.6 * shade, s=0.6, cmap="gray", vmin=0, vmax=1, linewidths=0)
    axes.set(xlim=(-side, side), ylim=(BEHIND_M, ahead), aspect="equal", xlabel="metres to the right", ylabel="metres ahead")
    axes.tick_params(colors=GREY)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)


def _draw_frusta(axes: "Axes", frame: FrameRecord, reach: tuple[float, float]) -> "list[Annotation]":
    from matplotlib.patches import Polygon

    labels = []
    for i, proposal in enumerate(frame.proposals):
        wedge = _wedge(frame.calibration, proposal.box, reach[1])
        axes.add_patch(Polygon(wedge, closed=True, facecolor=FRUSTUM, alpha=0.06, linewidth=0))
        axes.add_patch(Polygon(wedge, closed=True, fill=False, edgecolor=FRUSTUM, alpha=0.35, linewidth=0.6))
        end = wedge[1:].mean(axis=0)
        label = 0.95 * end * min(1.0, reach[0] / max(abs(end[0]), 1.0))
        labels.append(_label(axes, str(i), label, color=FRUSTUM, fontsize=7))
    return labels


def _wedge(calibration: Calibration, box: ImageBox, ahead_m: float) -> NDArray[np.float64]:
    """Return what the frustum of an image box covers from above (3, 2), from the camera to `ahead_m`: to the right, ahead."""
    middle = (box.top_px + box.bottom_px) / 2
    centre, rays = calibration.rays(np.array([[box.left_px, middle], [box.right_px, middle]]))
    ends = centre + rays * ((ahead_m - centre[0]) / rays[:, 0])[:, None]
    corners = np.vstack([centre, ends])
    return np.stack([-corners[:, 1], corners[:, 0]], axis=1)


def _draw_object(axes: "Axes", found: scoring_pb2.ObjectScore, colour: tuple[float, float, float, float]) -> "Annotation":
    from matplotlib.patches import Ellipse, Polygon

    box = _box(found)
    assert box is not None  # of those that are drawn
    line = "--" if found.predicted_class == BACKGROUND else "-"
    corners = box.corners()[:4]
    outline = np.stack([-corners[:, 1], corners[:, 0]], axis=1)
    axes.add_patch(Polygon(outline, closed=True, facecolor=colour, alpha=0.35, edgecolor="none", gid=OBJECT))
    axes.add_patch(Polygon(outline, closed=True, fill=False, edgecolor=colour, linewidth=2.0, linestyle=line))
    if (spread := deviations_m(found.box_uncertainty)) is not None:
        toward = np.degrees(np.arctan2(box.x_m, -box.y_m))
        ellipse = Ellipse(
            (-box.y_m, box.x_m),
            2 * spread[0],
            2 * spread[1],
            angle=toward,
            fill=False,
            edgecolor=SPREAD,
            linewidth=1.3,
        )
        axes.add_patch(ellipse)
    tip = box.centre[:2] + box.length_m / 2 * np.array([np.cos(box.yaw_rad), np.sin(box.yaw_rad)])
    axes.plot([-box.y_m, -tip[1]], [box.x_m, tip[0]], color=colour, linewidth=2.0)
    text = f"{found.proposal_index} {found.predicted_class} {max(found.class_probabilities, default=0.0):.0%}"
    framed = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": PALE, "alpha": 0.85}
    pointer = {"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
    return _label(axes, text, np.array([-box.y_m, box.x_m]), color=INK, fontsize=8, bbox=framed, arrowprops=pointer)


def _label(axes: "Axes", text: str, at: NDArray[np.float64], **style: Any) -> "Annotation":
    return axes.annotate(text, at.tolist(), xytext=at.tolist(), ha="center", va="center", clip_on=True, **style)


def _spread(figure: "Figure", axes: "Axes", labels: "list[Annotation]") -> None:
    """Move labels off each other, objects' with a line to what they name; those that name nothing inside are left out."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what is moved now must not move the rest
    inside = axes.get_window_extent()
    shown = [label for label in labels if inside.contains(*axes.transData.transform(label.xy))]
    for label in labels:
        label.set_visible(label in shown)
    if not shown:
        return
    extents = [Text.get_window_extent(label) for label in shown]
    sizes = np.array([[extent.width + GAP_PIXELS, extent.height + GAP_PIXELS] for extent in extents])
    anchors = axes.transData.transform([label.xy for label in shown])
    boxes = [patch.get_window_extent() for patch in axes.patches if patch.get_gid() == OBJECT]
    drawn = np.array([box.extents for box in boxes]).reshape(-1, 4)
    centres = placed(anchors, sizes, np.array(inside.extents), drawn)
    for label, centre in zip(shown, axes.transData.inverted().transform(centres), strict=True):
        label.set_position(tuple(centre))


def _box(found: scoring_pb2.ObjectScore) -> Box3D | None:
    if not found.HasField("box"):
        return None
    try:
        return box3d(found.box)
    except InvalidArgument:  # of an upstream score
        return None


def _write_words(axes: "Axes", task: queue_pb2.Task, objects: Sequence[scoring_pb2.ObjectScore], outside: int) -> None:
    """Write the reasons, the table of the objects and what the drawing means; outside: objects that are not in the drawing."""
    axes.set_axis_off()
    said = [task.reason, *told(task)]
    if outside:
        said.append(f"Outside of the picture: {outside} of the objects.")
    sentences = "\n\n".join(_filled(text, WORDS_WIDTH) for text in said)
    axes.text(0.0, 1.0, "Why", transform=axes.transAxes, va="top", fontsize=13, fontweight="bold", color=INK)
    axes.text(0.0, 0.955, sentences, transform=axes.transAxes, va="top", fontsize=9.5, color=INK)
    below = 0.955 - LINE_HEIGHT * (sentences.count("\n") + 2)
    rows = _rows(objects, most=min(MOST_NAMED, int((below - NOTE_TOP) / ROW_HEIGHT) - 2))
    axes.text(0.0, below, "\n".join(rows), transform=axes.transAxes, va="top", fontsize=7.6, family="monospace", color=INK)
    axes.text(0.0, 0.02, fill(NOTE, WORDS_WIDTH + 10), transform=axes.transAxes, va="bottom", fontsize=8, color=GREY)


def _filled(text: str, width: int) -> str:
    """Return the text in lines; ids are broken where they must be, a number stays with its unit."""
    return fill(re.sub(r"(\d) (m|nats)\b", "\\1\N{NO-BREAK SPACE}\\2", text), width, break_on_hyphens=False)


def _rows(objects: Sequence[scoring_pb2.ObjectScore], most: int) -> list[str]:
    """Return the table of the objects, those most worth a label first."""
    if not objects:
        return ["No object was scored."]
    ordered = sorted(objects, key=lambda found: -found.score)[: max(most, 0)]
    head = f"{'#':>3} {'class':<15}{'prob':>5} {'score':>6} {'entropy':>8} {'disagr.':>8} {'box +-':>7} {'points':>7}"
    more = [f"and {len(objects) - len(ordered)} more of lower score"] if len(objects) > len(ordered) else []
    return [head, *(_row(found) for found in ordered), *more]


def _row(found: scoring_pb2.ObjectScore) -> str:
    doubt = found.class_uncertainty
    disagreement = f"{doubt.mutual_information_nats:.3f}" if doubt.HasField("mutual_information_nats") else "-"
    sigma = centre_sigma_m(found.box_uncertainty)
    return (
        f"{found.proposal_index:>3} {found.predicted_class:<15}{max(found.class_probabilities, default=0.0):>5.0%} "
        f"{found.score:>6.3f} {doubt.predictive_entropy_nats:>8.3f} {disagreement:>8} "
        f"{'-' if sigma is None else f'{sigma:.2f}':>7} {found.points:>7}"
    )


def told(task: queue_pb2.Task) -> list[str]:
    """Return what else stands behind the task's place in the queue, a sentence each."""
    objects = list(task.frame_score.objects)
    found = [_state(task)] if task.state != queue_pb2.TASK_STATE_WAITING else []
    if task.stands_in_for:
        found.append(
            f"It stands in for {task.stands_in_for}, a near copy that ended without labels: the last query picked that one, as "
            f"number {task.rank + 1} of those that waited then."
        )
    elif task.HasField("rank"):
        found.append(f"The last query picked it as number {task.rank + 1} of those that waited then.")
    elif task.HasField("score") and not task.folded_under:
        found.append("No query has picked it: it comes behind those picked, by its score.")
    likely = [item for item in objects if item.predicted_class != BACKGROUND]
    if objects:
        found.append(
            f"Of {len(objects)} proposals the detector takes {len(likely)} for objects and {len(objects) - len(likely)} for "
            f"background; a label costs all {task.crops} crops."
        )
    by_box = max(likely, key=lambda item: centre_sigma_m(item.box_uncertainty) or 0.0, default=None)
    if by_box is not None and (sigma := centre_sigma_m(by_box.box_uncertainty)):
        found.append(f"It is least sure where object {by_box.proposal_index} is: its centre is known to {sigma:.1f} m.")
    few = [str(item.proposal_index) for item in objects if scoring_pb2.OBJECT_FLAG_TOO_FEW_POINTS in item.flags]
    if few:
        found.append(f"Few points show object {', '.join(few)}.")
    if task.siblings:
        named = ", ".join(task.siblings[:MOST_SIBLINGS])
        more = f" and {len(task.siblings) - MOST_SIBLINGS} more" if len(task.siblings) > MOST_SIBLINGS else ""
        copies = (
            "1 near copy along the drive is"
            if len(task.siblings) == 1
            else f"{len(task.siblings)} near copies along the drive are"
        )
        found.append(f"{copies} folded under it: {named}{more}.")
    if task.nearest_labelled_frame:
        away = f" (cosine distance {task.nearest_labelled_distance:.2f})" if task.HasField("nearest_labelled_distance") else ""
        found.append(f"The labelled frame most like it is {task.nearest_labelled_frame}{away}.")
    if task.failed_leases:
        found.append(f"{task.failed_leases} leases of it ran out without an answer.")
    return found


def _state(task: queue_pb2.Task) -> str:
    """Return how a task stands that does not wait."""
    if task.state == queue_pb2.TASK_STATE_LEASED:
        return f"{task.lease.holder} has it until {time_of(task.lease.expire_time)} UTC."
    if task.state == queue_pb2.TASK_STATE_SKIPPED:
        return f"It was skipped for good ({skip_reason_of(task)}), and is not asked for any more."
    if task.state == queue_pb2.TASK_STATE_DEAD_LETTER:
        return "It is a dead letter: nobody gets it until it is requeued."
    return "Its labels are in."
