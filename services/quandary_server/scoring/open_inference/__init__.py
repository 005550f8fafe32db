"""The Open Inference Protocol over the same keeper and engine: rasterised crops in, tensors of probabilities and doubts out."""
