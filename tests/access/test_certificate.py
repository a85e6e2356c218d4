"""The certificate's files: taken when both stand still and go together, else refused with why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as written

from gateway.access.certificate import Certificate
from gateway.config import TlsConfig
from gateway.errors import StateError

LEAF = trustme.CA().issue_cert("localhost")


@pytest.fixture
def config(tmp_path: Path) -> TlsConfig:
    config = TlsConfig.model_validate(
        {"cert_file": str(tmp_path / "tls.crt"), "key_file": str(tmp_path / "tls.key")}
    )
    write(config, LEAF)
    return config


def write(config: TlsConfig, leaf: trustme.LeafCert) -> None:
    config.key_file.write_bytes(leaf.private_key_pem.bytes())
    config.cert_file.write_bytes(leaf.cert_chain_pems[0].bytes())


def lock(config: TlsConfig) -> None:
    key = written.load_pem_private_key(config.key_file.read_bytes(), None)
    config.key_file.write_bytes(
        key.private_bytes(
            written.Encoding.PEM,
            written.PrivateFormat.PKCS8,
            written.BestAvailableEncryption(b"hunter2"),
        )
    )


def mismatch(config: TlsConfig) -> None:
    other = trustme.CA().issue_cert("localhost")
    config.key_file.write_bytes(other.private_key_pem.bytes())


WRONG = [
    (lambda config: config.cert_file.unlink(), "tls.crt: cannot be read: No such file"),
    (lambda config: config.key_file.write_text("x"), "must be a certificate and"),
    (lambda config: config.cert_file.write_bytes(b""), "must be a certificate and"),
    (mismatch, "tls.key is not the key of the certificate in"),
    (lock, "without a passphrase"),
]
NAMES = ["away", "nonsense", "empty", "mismatched", "locked"]


@pytest.mark.parametrize(("spoil", "words"), WRONG, ids=NAMES)
def test_there_is_no_beginning_without_a_usable_one(
    config: TlsConfig, spoil: Callable[[TlsConfig], object], words: str
) -> None:
    spoil(config)
    with pytest.raises(StateError, match=words) as raised:
        Certificate(config)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(("spoil", "words"), WRONG, ids=NAMES)
def test_a_wrong_one_leaves_what_is_in_use_until_it_is_right(
    config: TlsConfig, spoil: Callable[[TlsConfig], object], words: str
) -> None:
    certificate = Certificate(config)
    spoil(config)
    looks(certificate, 3)
    assert certificate.trouble is not None
    assert words in certificate.trouble
    assert certificate.status()["state"] == "refused"
    write(config, LEAF)
    looks(certificate, 2)
    assert certificate.status() == {
        "file": str(config.cert_file),
        "state": "in_force",
        "reason": None,
    }


def test_a_pair_that_is_written_one_after_the_other_is_no_trouble(
    config: TlsConfig, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = Certificate(config)
    new = trustme.CA().issue_cert("localhost")
    config.key_file.write_bytes(new.private_key_pem.bytes())
    looks(certificate, 1)  # between the two
    write(config, new)
    looks(certificate, 2)
    assert certificate.trouble is None
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_no_descriptor_of_the_files_stays_open(config: TlsConfig) -> None:
    certificate = Certificate(config)
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(5):
        mismatch(config)
        looks(certificate, 2)
        write(config, trustme.CA().issue_cert("localhost"))
        looks(certificate, 2)
    assert len(list(Path("/dev/fd").iterdir())) == before


def looks(certificate: Certificate, number: int) -> None:
    async def body() -> None:
        for _ in range(number):
            await certificate.look()

    asyncio.run(body())
