"""Options and arguments that are refused, told with their value: since 0.29 typer tells the bound alone."""

from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from quandary.errors import shortened

__all__ = ["Commands"]


class Commands(TyperGroup):
    """The commands; what is wrong with an option names the option, its value and its bound."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of the line."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):
                error.message = _told(error.__cause__)
            raise


def _told(refused: ValidationError) -> str:
    first = refused.errors()[0]
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")  # a choice, which names its value itself
    return f"{shortened(first['input'])}, must be {first['msg'].removeprefix('Input should be ')}"
