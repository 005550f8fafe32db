"""Frames and labels from outside: the KITTI object layout, for real and simulated fleets alike."""
