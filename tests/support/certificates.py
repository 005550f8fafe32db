"""Certificates made on the fly: an authority, and what it signs."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


class Authority:
    """Signs certificates of servers on this machine, and of clients; all files go into its folder, its own is `ca`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key = folder, generate_private_key(SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        key = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        own = self._builder(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0)).add_extension(
            key, critical=True
        )
        self.ca = self._write(f"{name}.pem", own.sign(self._key, hashes.SHA256()))

    def sign(self, name: str, *, lifetime: timedelta = DAY) -> tuple[Path, Path]:
        """Return the files of a certificate and its key, for a server and a client at once; a lifetime < 0 is over."""
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(subject, key, x509.BasicConstraints(ca=False, path_length=None), lifetime)
        signed = builder.add_extension(names, critical=False).add_extension(usage, critical=False)
        certificate = self._write(f"{name}.pem", signed.sign(self._key, hashes.SHA256()))
        file = self._folder / f"{name}.key"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, file

    def serial(self, name: str) -> str:
        """Return the serial number of a certificate, as hexadecimal digits."""
        return f"{x509.load_pem_x509_certificate((self._folder / f'{name}.pem').read_bytes()).serial_number:x}"

    def _builder(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, constraints: x509.BasicConstraints, lifetime: timedelta = DAY
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + lifetime)
            .add_extension(constraints, critical=True)
        )

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self._folder / name
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        return path
