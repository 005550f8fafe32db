"""Generations on disk: immutable artefacts with digests, one pointer moved by compare-and-swap, a roster of replicas."""
