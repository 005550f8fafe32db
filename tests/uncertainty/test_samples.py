import numpy as np
import pytest

from quandary_server.uncertainty.samples import detections_last, lengths, softmax, unit_vectors

T, D, C = 6, 4, 3


def test_softmax_sums_to_one_in_the_order_of_its_axes() -> None:
    logits = np.zeros((T, D, C), np.float32)
    logits[2, 1] = [0.0, np.log(2), np.log(5)]
    probs = softmax(logits)
    assert probs.shape == (T, D, C)
    assert probs[2, 1] == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert probs[0, 0] == pytest.approx([1 / 3] * 3)


def test_softmax_of_a_hot_temperature_is_flat_and_of_huge_logits_finite() -> None:
    logits = np.array([[[1000.0, 0.0, -1000.0]]], np.float32)
    assert softmax(logits)[0, 0] == pytest.approx([1.0, 0.0, 0.0])
    assert softmax(logits, temperature=1e6)[0, 0] == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_detections_lie_innermost_in_memory() -> None:
    values = np.arange(T * D * C, dtype=np.float32).reshape(T, D, C)
    boxes, probs = detections_last(values), softmax(values)
    assert boxes.tolist() == values.tolist()
    assert np.argsort(boxes.strides).tolist() == [1, 2, 0]
    assert np.argsort(probs.strides).tolist() == [1, 0, 2]


def test_unit_vectors_keep_their_direction_and_none_is_divided_by_zero() -> None:
    assert unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]
    assert lengths(np.array([[[3.0, -4.0]]])).tolist() == [[5.0]]
