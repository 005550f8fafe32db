"""Benchmarks: what is fast and small, measured on request; all write one shape."""
