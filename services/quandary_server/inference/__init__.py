"""A generation ready to score: ONNX Runtime sessions, masks, and the way from rasters to scores. No torch."""
