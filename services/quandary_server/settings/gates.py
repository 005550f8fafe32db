"""The section of the gates: bounds for a candidate's figures on the control drives."""

from pydantic import Field

from quandary_server.settings.section import Section, Share

__all__ = ["GateSettings"]


class GateSettings(Section):
    """What a candidate is refused for, whatever the current generation does."""

    slack: float = Field(
        default=0.05,
        ge=0,
        allow_inf_nan=False,
        description="share of the current generation's figure by which a candidate's may be worse",
    )
    recall_floor: Share = Field(
        default=0.1, description="least macro recall, as a share of the way from guessing (0) to knowing (1)"
    )
    nll_floor: float = Field(default=3.0, gt=0, allow_inf_nan=False, description="largest NLL in nats")
    nll_over_frequencies: float = Field(
        default=0.95,
        gt=0,
        allow_inf_nan=False,
        description="largest NLL over that of who knows how frequent the classes are and no more",
    )
    ece_floor: Share = Field(default=0.25, description="largest ECE")
    centre_floor_m: float = Field(
        default=5.0, gt=0, allow_inf_nan=False, description="largest mean error of the box's centre in metres"
    )
    ause_over_random: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="largest AUSE over that of a ranking by chance"
    )
    latency_ratio: float = Field(
        default=1.5, gt=0, allow_inf_nan=False, description="largest CPU per crop over the current generation's"
    )
    disagreement_floor: float = Field(
        default=1e-4, ge=0, lt=1, description="least mutual information of any two members over their expected entropy"
    )
