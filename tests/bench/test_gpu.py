"""The benchmark of the GPU with the CPU in its place; without a GPU it says what is missing."""

import pytest
from support.generations import SMALL

from quandary.errors import Unavailable
from quandary_server.bench.gpu import Extent, gpu_figures
from quandary_server.inference.cuda import VISIBLE
from quandary_server.inference.provider import Provider


def test_without_a_gpu_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "-1")
    with pytest.raises(Unavailable, match="there is no GPU to measure here: "):
        gpu_figures()


def test_it_measures_draws_bytes_and_requests_batched_and_not() -> None:
    extent = Extent(rounds=1, draws=1, seconds=0.05, crops=(2,), members=2, net=SMALL, run_sizes=(32,))
    figures = {figure.name: figure for figure in gpu_figures(provider=Provider.CPU, extent=extent)}
    places = ("cpu", "gpu_32", "gpu_128", "gpu_without_binding")
    assert {*(f"draw_ms_{place}" for place in places), "binding_over_copying"} <= set(figures)
    for way in ("cpu_unbatched", "cpu_batched", "gpu_unbatched", "gpu_batched"):
        assert figures[f"crops_per_s_{way}_full_2"].value > 0
    assert {"batched_over_unbatched_softmax_2", "batched_over_unbatched_full_2"} <= set(figures)
    # of the CPU's device bytes are the host's, whatever the company
    same = [figure for name, figure in figures.items() if name.startswith("same_bytes_")]
    assert [(figure.value, figure.met) for figure in same] == [(1.0, True)] * 3
    assert figures["score_difference_to_cpu"].value == 0.0
