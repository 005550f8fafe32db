"""What settings of GPUs mean, on whatever machine."""

import pytest

from quandary.errors import InvalidArgument
from quandary_server.inference.cuda import VISIBLE
from quandary_server.inference.device import Bound, Host
from quandary_server.scoring.batch import BatchLimit
from quandary_server.scoring.gpu import LONGEST_BATCH_S, batch_limit_of, check_gpus, device_of, gpus_wanted
from quandary_server.settings import ScoringSettings, load_settings


def scoring(**settings: object) -> ScoringSettings:
    return load_settings(scoring=settings).scoring


def test_by_default_replicas_compute_on_the_cpu_and_batch_nothing() -> None:
    device = device_of(scoring())
    assert isinstance(device, Host)
    assert batch_limit_of(scoring(), device) is None


def test_batching_follows_the_device_unless_it_is_told() -> None:
    host, gpu = Host(), Bound(64)
    told = {"max_requests": 4, "max_crops": 64, "window": "PT0.002S"}
    limit = BatchLimit(jobs=4, crops=64, window_s=0.002, work_s=LONGEST_BATCH_S)
    assert batch_limit_of(scoring(batching=told), gpu) == limit
    assert batch_limit_of(scoring(batching=told), host) is None
    assert batch_limit_of(scoring(batching=told | {"enabled": True}), host) == limit
    assert batch_limit_of(scoring(batching=told | {"enabled": False}), gpu) is None


def test_a_replica_that_must_have_cuda_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "")
    with pytest.raises(InvalidArgument, match=r"scoring\.provider is cuda, must be auto or cpu: "):
        device_of(scoring(provider="cuda", replica_gpus=0.5))
    assert isinstance(device_of(scoring(provider="auto", replica_gpus=0.5)), Host)


def test_what_reserves_no_gpu_cannot_ask_for_cuda_and_the_cpu_reserves_none() -> None:
    with pytest.raises(InvalidArgument, match=r"scoring\.provider is cuda, must be auto or cpu where replica_gpus is 0: "):
        scoring(provider="cuda")
    with pytest.raises(InvalidArgument, match=r"scoring\.provider is cpu, must be auto or cuda where replica_gpus is 1: "):
        scoring(provider="cpu", replica_gpus=1)
    with pytest.raises(InvalidArgument, match=r"scoring\.replica_gpus is 2, must be less than or equal to 1"):
        scoring(replica_gpus=2)
    with pytest.raises(InvalidArgument, match=r"scoring\.batching\.max_crops is 4, must be greater than or equal to 8"):
        scoring(batching={"max_crops": 4})


def test_replicas_reserve_no_more_gpus_than_there_are() -> None:
    packed = load_settings(scoring={"replicas": 3, "replica_gpus": 0.5})
    assert gpus_wanted(packed) == 1.5
    check_gpus(packed, 2.0)
    with pytest.raises(InvalidArgument, match=r"scoring\.replica_gpus is 0\.5, must be at most what Ray has: 1 GPUs, .* 1\.5"):
        check_gpus(packed, 1.0)
    spread = load_settings(
        scoring={"topology": "spread", "replica_gpus": 0.25, "spread": {"members": 5, "mc_dropout_replicas": 3}}
    )
    assert gpus_wanted(spread) == 2.0
    check_gpus(load_settings(), 0.0)
