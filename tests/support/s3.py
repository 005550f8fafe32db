"""An S3 for tests: moto in a process and an environment of its own."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.request import Request, urlopen

from quandary.errors import NotFound
from quandary_server.registry.s3_objects import S3Place
from support.environments import python_with

MOTO = ("moto==5.2.5", "flask==3.1.3", "flask-cors==6.0.5")
"""It needs an older python-dateutil than ours, so it stays out of our environment."""
BUCKET = "models"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}


class S3Server:
    """A running one, told how to answer; `away`, `refuses`, `slow`, `lost` and `well` are as support/s3_server.py has them."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def place(self, prefix: str, timeout: timedelta = timedelta(seconds=20)) -> S3Place:
        """Return a place in the bucket."""
        return S3Place(f"s3://{BUCKET}/{prefix}", self.endpoint, timeout=timeout)

    def answers(self, how: str) -> None:
        """Say how it answers from now on."""
        urlopen(f"{self.endpoint}/-/{how}", timeout=30).close()

    def requests(self, prefix: str) -> dict[str, int]:
        """Return how many requests came, by method and key below the prefix."""
        with urlopen(f"{self.endpoint}/-/requests", timeout=30) as answer:
            found: dict[str, int] = json.loads(answer.read())
        start = f"/{BUCKET}/{prefix}/"
        return {key.replace(start, "", 1): count for key, count in found.items() if start in key}


@contextmanager
def s3_for_tests() -> Iterator[S3Server]:
    """Start one with an empty bucket, and end it. Raises NotFound where no package index is at hand."""
    python = python_with("moto", MOTO)
    if python is None:
        raise NotFound("moto's environment could not be made (no package index)")
    script = Path(__file__).with_name("s3_server.py")
    # werkzeug tells every request
    with subprocess.Popen(
        [python, "-I", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        server = S3Server(int(process.stdout.readline()))
        # any credentials will do: moto wants a signature, and believes it
        header = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        urlopen(Request(f"{server.endpoint}/{BUCKET}", method="PUT", headers={"Authorization": header}), timeout=60).close()
        try:
            yield server
        finally:
            process.stdin.close()
            process.wait(timeout=30)
