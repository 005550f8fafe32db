"""How Serve registers the services of a replica: it imports these by name."""

from grpc_health.v1 import health_pb2_grpc

from quandary.v1 import scoring_pb2_grpc
from quandary_server.wire.decoding import tolerant
from quandary_server.wire.inference_v2 import open_inference_pb2_grpc

add_scoring_service = tolerant(scoring_pb2_grpc.add_ScoringServiceServicer_to_server)
add_inference_service = tolerant(open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server)
add_health_service = tolerant(health_pb2_grpc.add_HealthServicer_to_server)

SERVICERS = [f"{__name__}.{function}" for function in ("add_scoring_service", "add_inference_service", "add_health_service")]
