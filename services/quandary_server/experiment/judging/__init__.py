"""Is the uncertainty right? Sparsification, calibration, coverage, and what was never seen."""
