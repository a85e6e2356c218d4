"""A gateway over TLS: its certificate is renewed while it runs, and a wrong one changes nothing."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from apikeys import KeysFile
from click.testing import CliRunner, Result
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.cli import main


def run(*arguments: str, **environ: str) -> Result:
    """A command; every other variable of a key is gone."""
    return CliRunner().invoke(main, arguments, env={"GATEWAY_KEY": None, **environ})


class Files:
    """The certificate's files, written as a certificate manager would."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        self._authority = authority
        self.write(self.issued())

    def issued(self) -> trustme.LeafCert:
        return self._authority.issue_cert("localhost", "127.0.0.1")

    def write(self, leaf: trustme.LeafCert) -> None:
        self.key.write_bytes(leaf.private_key_pem.bytes())
        self.cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))

    @property
    def settings(self) -> dict[str, str]:
        return {"cert_file": str(self.cert), "key_file": str(self.key)}


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    return Files(tmp_path, authority)


def started(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    authority: trustme.CA,
    files: Files,
    **settings: Any,
) -> Gateway:
    remote.commit("prod", serve_py("prod"))
    gateway = Gateway(
        tmp_path / "g", remote, {"prod": {"weight": 1}}, tls=files.settings, **settings
    )
    gateways.append(gateway)
    trusts = gateway.trusts = ssl.create_default_context()
    authority.configure_trust(trusts)
    gateway.start()
    assert gateway.url.startswith("https://127.0.0.1:")
    return gateway


def shown(gateway: Gateway) -> bytes:
    """The certificate that a new connection is shown."""
    assert isinstance(gateway.trusts, ssl.SSLContext)
    address = ("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    with (
        socket.create_connection(address, timeout=30) as plain,
        gateway.trusts.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() in ("TLSv1.2", "TLSv1.3")
        found = secure.getpeercert(binary_form=True)
    assert found is not None
    return found


def test_a_certificate_is_renewed_without_a_restart_and_open_connections_stay(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    authority: trustme.CA,
    files: Files,
) -> None:
    gateway = started(tmp_path, remote, gateways, authority, files)
    before = shown(gateway)
    with httpx.Client(base_url=gateway.url, verify=gateway.trusts, timeout=30) as client:
        assert client.post("/predict", json={"instances": [[1]]}).json()["branch"] == "prod"
        renewed = files.issued()
        files.write(renewed)
        wait_until(lambda: shown(gateway) != before, describe=gateway.words)
        assert client.post("/predict", json={"instances": [[1]]}).status_code == 200
    assert shown(gateway) == ssl.PEM_cert_to_DER_cert(renewed.cert_chain_pems[0].bytes().decode())
    wait_until(lambda: '"what": "certificate"' in gateway.words())

    after = shown(gateway)
    files.key.write_bytes(files.issued().private_key_pem.bytes())  # of another
    wait_until(lambda: gateway.metric("gateway_certificate_up") == 0)
    said = gateway.get("/branches").json()["access"]["certificate"]
    assert said["state"] == "refused"
    assert said["reason"] == f"tls: {files.key} is not the key of the certificate in {files.cert}"
    assert shown(gateway) == after
    files.cert.unlink()
    wait_until(lambda: "No such file" in gateway.get("/branches").text)
    files.cert.write_text("no certificate")
    wait_until(lambda: "must be a certificate" in gateway.get("/branches").text)
    assert shown(gateway) == after
    files.write(renewed)
    wait_until(lambda: gateway.metric("gateway_certificate_up") == 1)
    assert gateway.get("/branches").json()["access"]["certificate"]["reason"] is None
    assert shown(gateway) == after
    assert gateway.stop() == 0


def test_what_is_refused_and_what_is_too_large_is_told_over_tls_as_well(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    authority: trustme.CA,
    files: Files,
) -> None:
    limits = {"body_bytes": "1KiB"}
    gateway = started(tmp_path, remote, gateways, authority, files, limits=limits)
    for _ in range(2):
        answer = gateway.predict(["x" * 500_000])
        assert answer.status_code == 413
    assert gateway.predict().status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(gateway.url.replace("https:", "http:"))
    wait_until(lambda: gateway.metric("gateway_connections") == 1)
    assert "Traceback" not in gateway.words()


def test_commands_reach_it_by_its_file_and_by_its_name_with_a_key(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    authority: trustme.CA,
    files: Files,
) -> None:
    keys = KeysFile(tmp_path / "keys.yaml", reader=["read"])
    access = {"keys_file": str(keys.path)}
    gateway = started(tmp_path, remote, gateways, authority, files, access=access)
    port = gateway.url.rpartition(":")[2]
    gateway.write(listen=f"127.0.0.1:{port}")  # where it is now
    authorities = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(authorities))
    by_file = ["results", "--config", str(gateway.file)]
    by_name = ["results", "--url", f"https://localhost:{port}"]
    key = keys.keys["reader"]
    assert run(*by_file, GATEWAY_KEY=key).exit_code == 0
    done = run(*by_name, GATEWAY_KEY=key, SSL_CERT_FILE=str(authorities))
    assert (done.exit_code, done.stderr) == (0, "")
    done = run(*by_name, GATEWAY_KEY=key)
    assert done.exit_code == 2
    assert "certificate verify failed" in done.stderr
    done = run(*by_file)
    assert done.exit_code == 2
    assert "answered 401: needs an API key with the scope read" in done.stderr
    assert "GATEWAY_KEY is the variable that holds the key" in done.stderr
    files.write(files.issued())
    wait_until(lambda: '"what": "certificate"' in gateway.words())
    assert run(*by_file, GATEWAY_KEY=key).exit_code == 0


def test_a_gateway_without_a_usable_certificate_does_not_start_and_says_why(
    tmp_path: Path, files: Files
) -> None:
    files.cert.unlink()
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "repository: /r\nbaseline: prod\nbranches: {prod: {weight: 1}}\n"
        "tls: {cert_file: tls.crt, key_file: tls.key}\n"
    )
    done = run("serve", str(file))
    assert done.exit_code == 2
    assert done.stderr == f"{files.cert}: cannot be read: No such file or directory\n"
