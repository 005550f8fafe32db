"""What the replays rest on, studied: the detector's sizes and recipe, and how like real frames the simulator is."""
