"""Uncertainty from samples: entropies, box variances, acquisition, reduction, calibration, sparsification. Pure.

Axis order everywhere: (T samples, D detections, C classes).
"""
