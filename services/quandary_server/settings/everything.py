"""All sections together, and where they are read from."""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from quandary.errors import InvalidArgument
from quandary_server.registry.place import RegistryPlace
from quandary_server.settings.common import RaySettings, StoreSettings, TlsSettings
from quandary_server.settings.refusal import refused
from quandary_server.settings.registry import RegistrySettings
from quandary_server.settings.scoring import ScoringSettings
from quandary_server.settings.selector import SelectorSettings
from quandary_server.settings.trainer import TrainerSettings

if TYPE_CHECKING:
    from quandary_server.registry.directory import Registry
    from quandary_server.storage import Store

__all__ = ["CONFIG_VARIABLE", "Settings", "load_settings"]

PREFIX = "QUANDARY_"
CONFIG_VARIABLE = "QUANDARY_CONFIG"
NO_SETTINGS = (CONFIG_VARIABLE, "QUANDARY_KITTI", "QUANDARY_VENV")
"""Variables of our prefix that are no settings: this file's, the tests' and deploy/local.py's."""
SECTIONS = ("tls", "store", "registry", "ray", "scoring", "selector", "trainer")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", nested_model_default_partial_update=True
    )

    data: Path = Field(default=Path("quandary-data"), description="directory of all state")
    token: SecretStr = Field(default=SecretStr(""), description="bearer token of the commands; empty: the admin's of the data")
    target: str = Field(default="", description="host:port of a front that the commands call; empty: each service's own")
    tls: TlsSettings = TlsSettings()
    store: StoreSettings = StoreSettings()
    registry: RegistrySettings = RegistrySettings()
    ray: RaySettings = RaySettings()
    scoring: ScoringSettings = ScoringSettings()
    selector: SelectorSettings = SelectorSettings()
    trainer: TrainerSettings = TrainerSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the file."""
        _check_environment(os.environ)
        file = os.environ.get(CONFIG_VARIABLE)
        if file and not Path(file).is_file():
            raise InvalidArgument.of(CONFIG_VARIABLE, file, "a TOML file")
        try:
            from_file = TomlConfigSettingsSource(settings_cls, Path(file) if file else None)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument.of(CONFIG_VARIABLE, file, f"a TOML file: {error}") from None
        return init_settings, env_settings, from_file

    def environment(self) -> dict[str, str]:
        """Return the environment variables from which another process loads these settings."""
        sections = {f"QUANDARY_{name.upper()}": getattr(self, name).model_dump_json() for name in SECTIONS}
        own = {"DATA": str(self.data.resolve()), "TOKEN": self.token.get_secret_value(), "TARGET": self.target}
        return {**{f"{PREFIX}{name}": value for name, value in own.items()}, **sections}

    @property
    def scoring_target(self) -> str:
        """host:port of the scoring service, as the selector calls it."""
        return self.selector.scoring_target or f"{self.scoring.host}:{self.scoring.port}"

    @property
    def member_deployments(self) -> int:
        """Deployments that hold one member each, in the spread topology."""
        return self.scoring.spread.members or self.trainer.members

    @property
    def registry_directory(self) -> Path:
        """Directory of the registry, unless it is in S3."""
        return self.data / "registry"

    @property
    def registry_place(self) -> RegistryPlace:
        """Where the registry is, for whatever process."""
        return RegistryPlace(self.registry_directory.resolve(), self.registry.s3)

    def open_registry(self) -> "Registry":
        """Open the registry: every process that has these settings sees the same. Raises as `RegistryPlace.open` does."""
        return self.registry_place.open()

    @property
    def database(self) -> Path:
        """File of the store, unless it is elsewhere."""
        return self.data / "quandary.db"

    @property
    def store_place(self) -> str | Path:
        """Path or URL of the store."""
        return self.store.url.get_secret_value() or self.database

    def open_store(self) -> "Store":
        """Open the store. Raises as `Store.open` does."""
        from quandary_server.storage import Store  # SQLAlchemy is for who opens it

        return Store.open(
            self.store_place,
            max_failed_leases=self.selector.max_failed_leases,
            passed_over_at_most=self.selector.passed_over_at_most,
            options=self.store.options(),
        )

    @property
    def fleet_log(self) -> Path:
        """File of the fleet log."""
        return self.data / f"{self.selector.log}.log.db"

    @property
    def mcap_directory(self) -> Path:
        """Directory of the fleet log's MCAP files."""
        return self.selector.mcap.directory or self.data / f"{self.selector.log}.mcap"

    @property
    def tokens(self) -> Path:
        """File of the bearer tokens."""
        return self.data / "tokens.json"

    @property
    def snapshots(self) -> Path:
        """Directory of the label snapshots."""
        return self.data / "snapshots"

    @property
    def checkpoints(self) -> Path:
        """Directory of the checkpoints of the run that goes on."""
        return self.data / "checkpoints"


def load_settings(**arguments: object) -> Settings:
    """Return the settings of all sources; raises InvalidArgument naming field, value and bound."""
    try:
        return Settings(**arguments)  # type: ignore[arg-type]
    except ValidationError as error:
        raise refused(error, Settings) from None
    except SettingsError as error:
        raise InvalidArgument(f"the environment cannot be read: {error}: {error.__cause__}") from None


def _check_environment(environment: Mapping[str, str]) -> None:
    """Raise InvalidArgument for a variable of our prefix that names no setting, and for one that is to be JSON and is not."""
    known = (*NO_SETTINGS, *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields))
    for variable, value in environment.items():
        name = variable.upper()
        head, nested, _ = name.partition("__")
        section = head.removeprefix(PREFIX).lower() in SECTIONS
        if not name.startswith(PREFIX):
            continue
        if head not in known or (nested and not section):
            raise InvalidArgument.of(variable, "no setting", f"one of {', '.join(known)}; {PREFIX}<SECTION>__<NAME>")
        if section and (not nested or value.startswith(("[", "{"))):
            _check_json(variable, value)


def _check_json(variable: str, value: str) -> None:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        raise InvalidArgument.of(variable, value, "JSON") from None
