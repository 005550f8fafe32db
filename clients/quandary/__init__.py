"""Quandary: which LiDAR frames is the detector unsure about, and which should be labelled first."""
