"""Stubs of the Open Inference Protocol, made by protos/generate.py. A stock client's cannot be imported beside them."""
