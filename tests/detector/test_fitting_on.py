"""A fit goes on from its state, and comes to the very net that it would have come to without a break."""

import pytest
from support.examples import SMALL_FIT, SMALL_NET, random_examples

from quandary.errors import CorruptArtefact
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fit_state import FitState
from quandary_server.detector.fitting import Fit


@pytest.mark.parametrize("reports", [1, 3, 5])
def test_a_fit_that_goes_on_elsewhere_gives_the_same_bytes(reports: int) -> None:
    examples, whole = random_examples(19), Fit(random_examples(19), SMALL_NET, SMALL_FIT, seed=7)
    told = [whole.advance() for _ in range(6)]
    assert whole.done

    first = Fit(examples, SMALL_NET, SMALL_FIT, seed=7)
    for _ in range(reports):
        first.advance()
    data = first.state().to_bytes()
    second = Fit(examples, SMALL_NET, SMALL_FIT, seed=7)
    second.restore(FitState.from_bytes(data))
    assert second.step == 2 * reports
    assert [second.advance() for _ in range(6 - reports)] == told[reports:]
    assert export_onnx(second.net)[0] == export_onnx(whole.net)[0]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_the_shortest_fits_come_to_their_end(steps: int) -> None:
    fit = Fit(random_examples(8), SMALL_NET, SMALL_FIT.model_copy(update={"steps": steps}), seed=1)
    while not fit.done:
        fit.advance()
    assert fit.step == steps


def test_what_is_no_state_is_refused_and_runs_no_code() -> None:
    data = Fit(random_examples(4), SMALL_NET, SMALL_FIT, seed=1).state().to_bytes()
    for wrong in (b"", b"nonsense", data[: len(data) // 2]):
        with pytest.raises(CorruptArtefact, match="no state of a fit"):
            FitState.from_bytes(wrong)
