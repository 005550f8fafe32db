"""quandary log publish | tail | lag, whatever holds the log."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.kafka_broker import KafkaBroker
from support.mcap_files import FleetFile

from quandary import Calibration
from quandary_server.cli import app
from quandary_server.datasets.kitti_writer import FrameFiles, KittiWriter
from quandary_server.clock import now
