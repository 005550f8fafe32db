"""The scoring service: frames in, uncertainty out, on Ray Serve."""
