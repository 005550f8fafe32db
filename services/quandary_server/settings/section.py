"""What all sections are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Port", "Section", "Share"]

Port = Annotated[int, Field(ge=1, le=65_535)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of all sections: frozen, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")
