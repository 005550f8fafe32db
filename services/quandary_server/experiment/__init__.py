"""Active learning, told and measured: the demo, and the replays of the paper's experiments."""
