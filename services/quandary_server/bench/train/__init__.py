"""Training runs, measured."""
