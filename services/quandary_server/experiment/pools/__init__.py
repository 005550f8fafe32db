"""Labelled crops to replay with: from a simulated fleet, a KITTI folder or the store."""
