"""Settings of net and recipe. No torch here: the services read them too."""

from pydantic import BaseModel, ConfigDict, Field

from quandary_server.frustum.raster import SIDE


class NetSettings(BaseModel):
    """The net's sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int = Field(default=SIDE, ge=8, le=256, multiple_of=8, description="rows and columns of a map")
    channels: tuple[int, int, int] = Field(default=(16, 32, 64), description="channels of the three convolutions")
    image_embedding: int = Field(default=128, ge=1, le=1024, description="features taken from the maps")
    geometry_embedding: int = Field(default=16, ge=1, le=1024, description="features taken from the geometry vector")
    hidden: int = Field(default=128, ge=1, le=1024, description="hidden units of the head")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="share of features dropped at each of the head's two layers")

    @property
    def embedding(self) -> int:
        """Features of the embedding: the width of the first mask."""
        return self.image_embedding + self.geometry_embedding


class FitSettings(BaseModel):
    """The training recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=600, ge=1, le=1_000_000, description="optimiser steps per member")
    batch: int = Field(default=64, ge=2, le=4096, description="crops per step")
    learning_rate: float = Field(default=6e-3, gt=0, le=1, description="peak of the one-cycle schedule")
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="AdamW's")
    box_weight: float = Field(default=2.0, ge=0, le=100, description="weight of the box loss")
    mirror: bool = Field(default=True, description="mirror half of the crops left to right")
    report_every: int = Field(default=25, ge=1, description="steps between two reports of progress")
