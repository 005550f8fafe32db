"""The gates: what a candidate must pass before it may be promoted."""
