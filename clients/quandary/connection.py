"""Where a client connects to, as whom and how patiently: what synchronous and asynchronous channels share."""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio

from quandary.errors import InvalidArgument
from quandary.retries import service_config

__all__ = ["DEFAULT_TIMEOUT", "MAX_MESSAGE_BYTES", "Connection", "tls_credentials"]

DEFAULT_TIMEOUT = timedelta(seconds=30)
MAX_MESSAGE_BYTES = 64 * 2**20

TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # gRPC retries only what fits into this buffer, and its 256 KiB hold no whole cloud.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    # While a channel waits to reconnect every attempt fails at once: the default of 1 s and more would use the retries up.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Servers may hang up on pings more frequent than every 5 minutes (gRFC A8), load balancers on 350 s of silence.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """A target (host:port, or any gRPC name), a bearer token, the time allowed per call, and TLS credentials if any.

    token: itself, or what returns the one to use now; that is called for every call, so that tokens may be changed.
    Raises InvalidArgument for an empty target or a URL, a token that is not of visible ASCII characters, a timeout <= 0.
    """

    target: str
    token: str | Callable[[], str] = field(repr=False)
    timeout: timedelta = DEFAULT_TIMEOUT
    credentials: grpc.ChannelCredentials | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.target or self.target.startswith(("http://", "https://")):
            raise InvalidArgument.of("target", repr(self.target), "host:port")
        if isinstance(self.token, str):
            _check_token(self.token)
        self.seconds(self.timeout)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        token = self.token if isinstance(self.token, str) else self.token()
        _check_token(token)
        return (("authorization", f"Bearer {token}"),)

    def seconds(self, timeout: timedelta | None) -> float:
        """Return a call's time in seconds, the connection's where it has none; raises InvalidArgument unless > 0."""
        allowed = self.timeout if timeout is None else timeout
        if allowed <= timedelta():
            raise InvalidArgument.of("timeout", allowed, "> 0")
        return allowed.total_seconds()

    def channel(self) -> grpc.Channel:
        """Return a new synchronous channel; it connects at the first call."""
        options = [*CHANNEL_OPTIONS, ("grpc.service_config", service_config())]
        if self.credentials is None:
            return grpc.insecure_channel(self.target, options)
        return grpc.secure_channel(self.target, self.credentials, options)

    def aio_channel(self) -> grpc.aio.Channel:
        """Return a new asynchronous channel of the running event loop; it connects at the first call."""
        options = [*CHANNEL_OPTIONS, ("grpc.service_config", service_config())]
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target, options)
        return grpc.aio.secure_channel(self.target, self.credentials, options)


def tls_credentials(
    ca: Path | str, certificate: Path | str | None = None, key: Path | str | None = None
) -> grpc.ChannelCredentials:
    """Return credentials for a client: TLS, and with certificate and key mutual TLS.

    All are PEM files: of the authorities that the server's certificate may come from, of our certificate with its chain, of its
    private key without a passphrase. They are read once: after a change make a new client. Raises InvalidArgument for files
    that cannot be read, are not what they should be, or do not belong together.
    """
    # gRPC says of a bad file no more than that nobody can be reached
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidArgument.of("ca", ca, f"certificates in a PEM file ({error.strerror or error})") from None
    if certificate is None or key is None:
        if certificate is not key:
            raise InvalidArgument.of("certificate" if key else "key", "missing", "given: certificate and key go together")
        return grpc.ssl_channel_credentials(Path(ca).read_bytes())
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except OSError as error:
        bound = f"a certificate in a PEM file, and the key {key} its private key ({error.strerror or error})"
        raise InvalidArgument.of("certificate", certificate, bound) from None
    return grpc.ssl_channel_credentials(Path(ca).read_bytes(), Path(key).read_bytes(), Path(certificate).read_bytes())


def _no_passphrase() -> str:
    """What an encrypted key is given, so that nobody is asked at the terminal."""
    return ""


def _check_token(token: str) -> None:
    if not TOKEN.fullmatch(token):
        raise InvalidArgument.of("token", "(not shown)", "1 to 4096 visible ASCII characters")
