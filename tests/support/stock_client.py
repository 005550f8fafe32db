"""Run by another interpreter than the tests': stock_client.py TARGET TOKEN FOLDER. Knows tritonclient and nothing of ours.

Reads FOLDER/crops.npz; writes FOLDER/told.json and the outputs of each inference.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

MODELS = ("ensemble", "mc_dropout", "escalate", "member-1")


def main(target: str, token: str, folder: Path) -> None:
    crops = dict(np.load(folder / "crops.npz"))
    client = triton.InferenceServerClient(target)
    headers = {"authorization": f"Bearer {token}"}
    generation = client.get_model_metadata("ensemble", headers=headers).versions[0]

    def infer(name: str, model: str, outputs: list[str], **options: Any) -> Any:
        inputs = []
        for tensor, values in crops.items():
            found = triton.InferInput(tensor, values.shape, "FP64" if values.itemsize == 8 else "FP32")
            found.set_data_from_numpy(values)
            inputs.append(found)
        requested = [triton.InferRequestedOutput(output) for output in outputs] or None
        result = client.infer(model, inputs, outputs=requested, headers=headers, client_timeout=30, **options)
        answered = [output.name for output in result.get_response().outputs]
        np.savez(folder / f"{name}.npz", **{output: result.as_numpy(output) for output in answered})
        inferred.append(name)

    inferred: list[str] = []
    infer("everything", "ensemble", [])
    infer("asked", "mc_dropout", ["box", "score"], parameters={"seed": 5, "mc_samples": 7, "acquisition": "mutual_information"})
    infer("escalated", "escalate", ["escalated", "score"], parameters={"mc_samples": 8, "escalate_share": 0.5})
    infer("pinned", "member-0", [], model_version=generation, request_id="r1", timeout=20_000_000)
    told = {
        "inferred": inferred,
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "models_ready": [client.is_model_ready(m, headers=headers) for m in MODELS],
        "server": client.get_server_metadata(as_json=True, headers=headers),
        "metadata": client.get_model_metadata("ensemble", as_json=True, headers=headers),
        "refused": [
            refusal(lambda: client.is_model_ready("member-99", headers=headers)),
            refusal(lambda: infer("unknown", "resnet", [])),
            refusal(lambda: infer("elsewhere", "ensemble", [], model_version="g000099-00000000")),
            refusal(lambda: infer("wrong", "ensemble", ["logits"])),
            refusal(lambda: infer("priority", "ensemble", [], priority=3)),
            refusal(lambda: client.get_server_metadata()),
        ],
        "descriptors": descriptors(),
    }
    (folder / "told.json").write_text(json.dumps(told))


def refusal(call: Any) -> list[str]:
    try:
        call()
    except InferenceServerException as error:
        return [str(error.status()), str(error.message())]
    return ["OK", ""]


def descriptors() -> dict[str, list[list[Any]]]:
    """Return fields of all messages, and the methods of the service, as this client knows them."""
    file = service_pb2.DESCRIPTOR
    found: dict[str, list[list[Any]]] = {}
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        waiting += message.nested_types
        found[message.full_name] = [
            [field.name, field.number, field.type, field.message_type.full_name if field.message_type else ""]
            for field in message.fields
        ]
    service = file.services_by_name["GRPCInferenceService"]
    found[service.full_name] = [[m.name, m.input_type.full_name, m.output_type.full_name, ""] for m in service.methods]
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
