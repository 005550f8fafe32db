"""FrustumNet in torch: the net, its targets and loss, fitting, and the export to ONNX with its parity check."""
