"""The certificate authority of this emulator and the certificates that it serves Azure's host names with."""

from __future__ import annotations

import os
import re
from pathlib import Path

import certifi
import trustme


class Authority:
    """A private CA under the emulator's home, made once, so that a shell's environment stays valid across restarts."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "tls"
        self.bundle = self.folder / "bundle.pem"
        # A client that talks to nothing else takes the certificate alone: the public roots cost 15 ms at every connection.
        self.certificate, self._key = self.folder / "ca.pem", self.folder / "ca.key"
        if not self._key.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            ca = trustme.CA(organization_name="azureml emulator", organization_unit_name="laptop only")
            ca.cert_pem.write_to_path(str(self.certificate))
            # Public roots stay in the bundle: a shell with this environment still reaches its package index.
            self.bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + self.certificate.read_bytes())
            with os.fdopen(os.open(self._key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(ca.private_key_pem.bytes())

    def issue(self, name: str, hosts: list[str]) -> tuple[Path, Path]:
        """Certificate chain and key files for these hosts (wildcards and addresses allowed); made again only when the hosts change."""
        listing = self.folder / f"{name}.hosts"
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if not listing.exists() or listing.read_text().split() != hosts:
            ca = trustme.CA.from_pem(self.certificate.read_bytes(), self._key.read_bytes())
            certificate = ca.issue_cert(*hosts, common_name="azureml emulator")
            chain.write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems) + self.certificate.read_bytes())
            with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(certificate.private_key_pem.bytes())
            listing.write_text("\n".join(hosts))
        return chain, key


def certificate_hosts(patterns: list[str], regions: list[str]) -> list[str]:
    """Certificate names for host patterns: ``{region}.api.azureml.ms`` becomes one name a region, any other placeholder a wildcard."""
    names: set[str] = {"localhost", "127.0.0.1"}
    for pattern in patterns:
        for region in regions if "{region}" in pattern else [""]:
            names.add(re.sub(r"\{[^}]+\}", "*", pattern.replace("{region}", region)))
    return sorted(names)
