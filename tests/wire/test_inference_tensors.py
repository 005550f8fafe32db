import numpy as np
import pytest

from quandary.errors import InvalidArgument, within
from quandary_server.wire.inference_parameters import check_names, integer, parameter, text
from quandary_server.wire.inference_tensors import DTYPES, VARIES, TensorSpec, read_inputs, write_output
from quandary_server.wire.inference_v2 import open_inference_pb2 as protocol

SPECS = (TensorSpec("a", "FP32", (VARIES, 2)), TensorSpec("b", "FP64", (VARIES,)))


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("datatype", DTYPES)
def test_what_is_written_is_read_again_to_the_bit(datatype: str, raw: bool) -> None:
    values = np.random.default_rng(0).normal(size=(5, 2)).astype(DTYPES[datatype])
    response = protocol.ModelInferResponse()
    write_output(response, "a", datatype, values[::-1], raw=raw)
    request = protocol.ModelInferRequest(raw_input_contents=response.raw_output_contents)
    request.inputs.add().MergeFromString(response.outputs[0].SerializeToString())
    read = read_inputs(request, [TensorSpec("a", datatype, (VARIES, 2))])["a"].values()
    assert (read.dtype, read.tobytes()) == (values.dtype, values[::-1].tobytes())


def test_an_optional_input_may_be_left_out_and_no_other() -> None:
    request = protocol.ModelInferRequest(raw_input_contents=[bytes(8)])
    request.inputs.add(name="a", datatype="FP32", shape=[1, 2])
    assert set(read_inputs(request, SPECS, optional=["b"])) == {"a"}
    with pytest.raises(InvalidArgument, match="inputs is without b, must be with a, b"):
        read_inputs(request, SPECS)


def test_extents_whose_product_overflows_are_counted_in_full() -> None:
    request = protocol.ModelInferRequest(raw_input_contents=[b""])
    request.inputs.add(name="a", datatype="FP32", shape=[2**63 - 1, 2])
    with pytest.raises(InvalidArgument, match=r"raw_input_contents\[0\] is 0 bytes, must be 73786976294838206456 bytes"):
        read_inputs(request, SPECS, optional=["b"])


@pytest.mark.parametrize("value", [0, -5, 2**63 - 1, 2**63, 2**64 - 1])
def test_integers_of_64_bits_come_back(value: int) -> None:
    assert integer({"seed": parameter(value)}, "seed") == value


def test_parameters_that_are_not_there_are_none_and_unknown_ones_are_refused() -> None:
    assert (integer({}, "seed"), text({}, "acquisition")) == (None, None)
    assert text({"acquisition": parameter("margin")}, "acquisition") == "margin"
    check_names({"seed": parameter(1)}, ["seed"])
    with pytest.raises(InvalidArgument, match="parameters is 'sead', must be one of seed"), within("parameters"):
        check_names({"sead": parameter(1)}, ["seed"])
