"""Settings of net and recipe. No torch here: the services read them too."""

import itertools
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from quandary.errors import InvalidArgument
from quandary_server.frustum.raster import CHANNELS, SIDE

CONVOLUTIONS = 3
"""Each halves the side."""

MAX_WEIGHTS = 50_000_000
"""More than that is a slip of the pen: the default has 116,000."""

Width = Annotated[int, Field(ge=1, le=1024)]


class NetSettings(BaseModel):
    """The net's sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int = Field(default=SIDE, ge=8, le=256, multiple_of=8, description="rows and columns of a map")
    channels: tuple[Width, Width, Width] = Field(default=(16, 32, 64), description="channels of the three convolutions")
    image_embedding: int = Field(default=128, ge=1, le=1024, description="features taken from the maps")
    geometry_embedding: int = Field(default=16, ge=1, le=1024, description="features taken from the geometry vector")
    hidden: int = Field(default=128, ge=1, le=1024, description="hidden units of the head")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="share of features dropped at each of the head's two layers")

    @property
    def embedding(self) -> int:
        """Features of the embedding: the width of the first mask."""
        return self.image_embedding + self.geometry_embedding

    @property
    def weights(self) -> int:
        """Weights of the net's maps and layers, biases left out."""
        kernels = sum(9 * i * o for i, o in itertools.pairwise([len(CHANNELS), *self.channels]))
        cells: int = (self.side // 2**CONVOLUTIONS) ** 2
        return kernels + self.channels[-1] * cells * self.image_embedding + self.embedding * self.hidden

    @field_validator("channels", mode="before")
    @classmethod
    def _one_a_convolution(cls, channels: object) -> object:
        if isinstance(channels, list | tuple) and len(channels) != CONVOLUTIONS:
            raise ValueError(f"{CONVOLUTIONS} numbers, one for each convolution (each halves the side), got {len(channels)}")
        return channels

    @model_validator(mode="after")
    def _of_a_size(self) -> Self:
        if self.weights > MAX_WEIGHTS:
            asked = f"{list(self.channels)} with side {self.side}, image_embedding {self.image_embedding}"
            raise InvalidArgument.of("channels", asked, f"of at most {MAX_WEIGHTS:,} weights together, got {self.weights:,}")
        return self


class FitSettings(BaseModel):
    """The training recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=600, ge=1, le=1_000_000, description="optimiser steps per member")
    batch: int = Field(default=64, ge=2, le=4096, description="crops per step")
    learning_rate: float = Field(default=6e-3, gt=0, le=1, description="peak of the one-cycle schedule")
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="AdamW's")
    box_weight: float = Field(default=2.0, ge=0, le=100, description="weight of the box loss")
    class_weights: float = Field(
        default=0.0, ge=0, le=1, description="power of a class's inverse frequency that its crops weigh by; 0: all alike"
    )
    mirror: bool = Field(default=True, description="mirror half of the crops left to right")
    report_every: int = Field(default=25, ge=1, description="steps between two reports of progress")
