"""From scored objects to FrameScore."""

import numpy as np
from numpy.typing import NDArray

from quandary.convert import box3d_message, tensor_message
from quandary.errors import NonFiniteOutput
from quandary.frames import Frame
from quandary.geometry import Box3D
from quandary.options import ScoringOptions
from quandary.v1 import scoring_pb2
from quandary_server.inference.object_scores import ObjectScores
from quandary_server.uncertainty.jackknife import standard_error
from quandary_server.uncertainty.reduction import reduce_objects

Array = NDArray[np.float64]

FEW_POINTS = 5


def empty_score(options: ScoringOptions, classes: tuple[str, ...], samples: int, seed: int) -> scoring_pb2.FrameScore:
    """Return the score of a frame without proposals: 0, flagged."""
    message = _frame_score(options, classes, samples, seed)
    message.flags.append(scoring_pb2.FRAME_FLAG_NO_OBJECTS)
    return message


def frame_score(
    frame: Frame,
    scores: ObjectScores,
    part: slice,
    options: ScoringOptions,
    classes: tuple[str, ...],
    samples: int,
    seed: int,
) -> scoring_pb2.FrameScore:
    """Return the score of one frame, whose objects are `part` of the scored objects.

    Raises NonFiniteOutput where one of them has no usable answer.
    """
    broken = np.flatnonzero(~scores.usable[part])
    if len(broken):
        raise NonFiniteOutput(
            f"the detector's output for proposal {broken[0]} of frame {frame.frame_id} is not finite or out of range"
        )
    message = _frame_score(options, classes, samples, seed)
    if scores.escalated is not None:
        message.escalated_share = float(scores.escalated[part].mean())
    message.score = float(reduce_objects(options.reduction, scores.score[part], options.top_k))
    _add_uncertainty(message, scores, part, options)
    if options.include_objects:
        for index, box in enumerate(scores.boxes(part)):
            message.objects.append(_object_score(frame, index, scores, part.start + index, box, options, classes))
    if scores.score_without is not None:
        _add_standard_errors(message, scores.score_without[:, part], options)
    return message


def _add_uncertainty(message: scoring_pb2.FrameScore, scores: ObjectScores, part: slice, options: ScoringOptions) -> None:
    """Add the class and box uncertainty of the frame: that of its objects, each figure reduced for itself."""
    # (5 + 2 x 7, D) in one piece, so that one reduction does
    figures = np.vstack(
        [
            scores.predictive_entropy[part],
            scores.expected_entropy[part],
            scores.mutual_information[part],
            scores.variation_ratio[part],
            scores.margin[part],
            scores.aleatoric[part].T,
            scores.epistemic[part].T,
        ]
    )
    reduced = reduce_objects(options.reduction, figures, options.top_k)
    total, expected, information, ratio, margin, *variances = reduced.tolist()
    parameters = len(variances) // 2

    of_class, of_box = message.class_uncertainty, message.box_uncertainty
    of_class.predictive_entropy_nats, of_class.expected_entropy_nats, of_class.margin = total, expected, margin
    of_box.aleatoric_variance.extend(variances[:parameters])
    if scores.samples[part].min() > 1:
        of_class.mutual_information_nats, of_class.variation_ratio = information, ratio
        of_box.epistemic_variance.extend(variances[parameters:])


def _add_standard_errors(message: scoring_pb2.FrameScore, without: Array, options: ScoringOptions) -> None:
    """Add those of the frame and its objects from the objects' scores without each sample (T, D).

    The frame's is the jackknife of the reduced score: one mask acts on all objects, so their errors go together.
    """
    message.score_standard_error = float(standard_error(reduce_objects(options.reduction, without, options.top_k)))
    for found, error in zip(message.objects, standard_error(without), strict=False):
        found.score_standard_error = error


def _frame_score(options: ScoringOptions, classes: tuple[str, ...], samples: int, seed: int) -> scoring_pb2.FrameScore:
    return scoring_pb2.FrameScore(
        estimator=scoring_pb2.Estimator.Value(f"ESTIMATOR_{options.estimator.name}"),
        acquisition=scoring_pb2.Acquisition.Value(f"ACQUISITION_{options.effective_acquisition.name}"),
        reduction=scoring_pb2.Reduction.Value(f"REDUCTION_{options.reduction.name}"),
        samples=samples,
        seed=seed,
        class_names=classes,
    )


def _object_score(
    frame: Frame,
    index: int,
    scores: ObjectScores,
    i: int,
    box: Box3D,
    options: ScoringOptions,
    classes: tuple[str, ...],
) -> scoring_pb2.ObjectScore:
    several = scores.samples[i] > 1
    classification = scoring_pb2.ClassUncertainty(
        predictive_entropy_nats=scores.predictive_entropy[i],
        expected_entropy_nats=scores.expected_entropy[i],
        margin=scores.margin[i],
    )
    regression = scoring_pb2.BoxUncertainty(aleatoric_variance=scores.aleatoric[i].tolist())
    if several:
        classification.mutual_information_nats = scores.mutual_information[i]
        classification.variation_ratio = scores.variation_ratio[i]
        regression.epistemic_variance.extend(scores.epistemic[i].tolist())
    message = scoring_pb2.ObjectScore(
        proposal_index=index,
        score=scores.score[i],
        class_probabilities=scores.mean_probs[i].tolist(),
        predicted_class=classes[scores.predicted[i]],
        box=box3d_message(box),
        class_uncertainty=classification,
        box_uncertainty=regression,
        points=int(scores.points[i]),
        samples=int(scores.samples[i]),
        flags=_flags(frame, index, int(scores.points[i])),
    )
    if scores.tightness is not None:
        message.tightness = scores.tightness[i]
    if scores.stability is not None:
        message.stability = scores.stability[i]
    if options.include_embedding:
        message.embedding.CopyFrom(tensor_message(scores.embedding[i]))
    return message


def _flags(frame: Frame, index: int, points: int) -> list[scoring_pb2.ObjectFlag.ValueType]:
    flags: list[scoring_pb2.ObjectFlag.ValueType] = []
    if points < FEW_POINTS:
        flags.append(scoring_pb2.OBJECT_FLAG_TOO_FEW_POINTS)
    if points == 0:
        flags.append(scoring_pb2.OBJECT_FLAG_NO_POINTS)
    box, calibration = frame.proposals[index].box, frame.calibration
    right, bottom = calibration.image_width_px - 1, calibration.image_height_px - 1
    if box.left_px <= 0 or box.top_px <= 0 or box.right_px >= right or box.bottom_px >= bottom:
        flags.append(scoring_pb2.OBJECT_FLAG_TRUNCATED)
    return flags
