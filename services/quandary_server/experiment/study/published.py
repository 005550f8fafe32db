"""What is published of KITTI's 7,481 labelled training frames: the whole of which the real frames at hand are a small part."""

LABELS = {
    "Car": 28_742,
    "Pedestrian": 4_487,
    "Van": 2_914,
    "Cyclist": 1_627,
    "Truck": 1_094,
    "Misc": 973,
    "Tram": 511,
    "Person_sitting": 222,
}
"""Objects with a 3D label, by class."""

MEDIAN_BOX_POINTS = {
    "Car": 80.0,
    "Pedestrian": 89.0,
    "Van": 148.0,
    "Cyclist": 75.0,
    "Truck": 298.0,
    "Misc": 91.0,
    "Tram": 43.0,
    "Person_sitting": 90.0,
}
"""Median LiDAR points in a label's box, by class, in the half that is used to train."""


def label_shares() -> dict[str, float]:
    """Return the share of each class among the labels."""
    total = sum(LABELS.values())
    return {name: count / total for name, count in LABELS.items()}
