"""The trainer service: from labels to a generation that serves."""
