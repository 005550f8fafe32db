"""The main job from end to end: a fleet streams, the queue asks, the oracle labels, the trainer retrains, scoring swaps."""
