"""Between protobuf and the domain: requests, answers, errors. Knows gRPC, decides nothing."""
