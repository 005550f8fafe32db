"""All settings; `everything` alone reads the environment. A module for each section, with units and bounds.

Sources, the later over the earlier: the defaults here, a TOML file (QUANDARY_CONFIG), environment variables
(QUANDARY_SCORING__PORT=9700), arguments. An unknown name or a value out of bounds is refused.
"""

from quandary_server.settings.common import RaySettings, StoreSettings, TlsSettings
from quandary_server.settings.everything import CONFIG_VARIABLE, Settings, load_settings
from quandary_server.settings.query import DEFAULT_PLAN, QuerySettings
from quandary_server.settings.queues import QueueSettings
from quandary_server.settings.quotas import QuotaSettings
from quandary_server.settings.refusal import refused
from quandary_server.settings.registry import RegistrySettings
from quandary_server.settings.scoring import AutoscalingSettings, BatchingSettings, ScoringSettings, SpreadSettings, Topology
from quandary_server.settings.selector import SelectorSettings
from quandary_server.settings.trainer import TrainerSettings

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_PLAN",
    "AutoscalingSettings",
    "BatchingSettings",
    "QuerySettings",
    "QueueSettings",
    "QuotaSettings",
    "RaySettings",
    "RegistrySettings",
    "ScoringSettings",
    "SelectorSettings",
    "Settings",
    "SpreadSettings",
    "StoreSettings",
    "TlsSettings",
    "Topology",
    "TrainerSettings",
    "load_settings",
    "refused",
]
