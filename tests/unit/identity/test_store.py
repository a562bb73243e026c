"""The identity at rest: kept, locked, and every way in which the file can be wrong."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keynet.errors import ConfigError, KeyFileError
from keynet.identity import Identity, IdentityStore
from keynet.identity.certificates import LIFETIME
from keynet.identity.keys import key_to_pem
from keynet.identity.pem import identity_from_pem, identity_to_pem
from tests.unit.identity.forge import NOW


@pytest.fixture
def store(tmp_path: Path) -> IdentityStore:
    return IdentityStore(tmp_path / "state")


def facts(identity: Identity) -> tuple[object, ...]:
    keys = (identity.private_key, *identity.retired_keys)
    return identity.node_id, identity.chain, [key.private_bytes_raw() for key in keys]


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_what_is_kept_is_loaded_again(store: IdentityStore, passphrase: bytes | None) -> None:
    created = store.create(passphrase)
    assert facts(store.load(passphrase)) == facts(created)
    rotated = store.rotate(passphrase)
    assert facts(store.load(passphrase)) == facts(rotated)
    assert rotated.lineage == (rotated.node_id, created.node_id)


def test_an_encrypted_file_shows_no_key(store: IdentityStore) -> None:
    store.create(b"correct horse")
    text = store.path.read_text()
    assert "BEGIN ENCRYPTED PRIVATE KEY" in text
    assert "BEGIN PRIVATE KEY" not in text


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_file_is_private_even_under_a_lax_umask(store: IdentityStore) -> None:
    before = os.umask(0)
    try:
        store.create()
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_open_to_others_is_refused(store: IdentityStore, mode: int) -> None:
    store.create()
    store.path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        store.load()


def test_a_missing_file(store: IdentityStore) -> None:
    with pytest.raises(KeyFileError, match="keynet id new"):
        store.load()


def test_an_identity_is_never_overwritten_by_a_new_one(store: IdentityStore) -> None:
    kept = store.create()
    with pytest.raises(ConfigError):
        store.create()
    assert store.load().node_id == kept.node_id


def test_a_file_that_cannot_be_looked_for_is_a_key_file_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    store = IdentityStore(tmp_path / "loop")
    for look in (store.exists, store.create, store.load_or_create):
        with pytest.raises(KeyFileError, match="cannot be read"):
            look()


@pytest.mark.parametrize(
    ("passphrase", "message"),
    [(b"wrong", "wrong passphrase"), (None, "KEYNET_PASSPHRASE"), (b"", "KEYNET_PASSPHRASE")],
)
def test_a_locked_key(store: IdentityStore, passphrase: bytes | None, message: str) -> None:
    store.create(b"right")
    with pytest.raises(KeyFileError, match=message):
        store.load(passphrase)


def test_an_empty_passphrase_encrypts_nothing(store: IdentityStore) -> None:
    with pytest.raises(ConfigError, match="empty"):
        store.create(b"")
    assert not store.exists()


def test_load_or_create_makes_one_then_keeps_it(store: IdentityStore) -> None:
    created = store.load_or_create(now=NOW)
    assert facts(store.load_or_create(now=NOW)) == facts(created)


def test_load_or_create_renews_an_expired_leaf_and_keeps_that(store: IdentityStore) -> None:
    created = store.create(now=NOW)
    renewed = store.load_or_create(now=NOW + 2 * LIFETIME)
    assert renewed.node_id == created.node_id
    assert renewed.chain != created.chain
    assert facts(store.load()) == facts(renewed)


def test_a_write_that_fails_leaves_the_old_file(
    store: IdentityStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store.create()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(KeyFileError, match="No space left"):
        store.rotate()
    assert facts(store.load()) == facts(kept)
    assert os.listdir(store.path.parent) == [store.path.name]


def _ecdsa_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def corrupt_files() -> dict[str, bytes]:
    identity = Identity.generate(NOW).rotate(NOW)
    other = Identity.generate(NOW)
    pem = identity_to_pem(identity, None)
    first_key = pem[: pem.index(b"-----BEGIN CERTIFICATE")]
    return {
        "empty": b"",
        "no PEM": b"\x00\xff not PEM\n",
        "cut in a block": pem[:-40],
        "without its retired key": identity_to_pem(replace(identity, retired_keys=()), None),
        "without its chain": first_key,
        "only certificates": pem[len(first_key) : pem.rindex(b"-----BEGIN PRIVATE")],
        "another's key": key_to_pem(other.private_key, None) + pem[len(first_key) :],
        "another's chain": identity_to_pem(replace(identity, chain=other.chain), None),
        "an unknown block": pem + b"-----BEGIN DUCK-----\nAAAA\n-----END DUCK-----\n",
        "a label with a dash": pem + b"-----BEGIN A-B-----\nAAAA\n-----END A-B-----\n",
        "a key that is not Ed25519": _ecdsa_pem() + pem[len(first_key) :],
        "a corrupt key": pem.replace(first_key.splitlines()[1], b"AAAA", 1),
        "a corrupt certificate": pem.replace(b"CERTIFICATE-----\nMII", b"CERTIFICATE-----\nMIJ", 1),
    }


@pytest.mark.parametrize("name", corrupt_files())
def test_a_corrupt_file_is_refused(name: str) -> None:
    with pytest.raises(KeyFileError):
        identity_from_pem(corrupt_files()[name], None)


def test_line_ends_of_another_system_do_no_harm() -> None:
    identity = Identity.generate(NOW)
    pem = identity_to_pem(identity, None).replace(b"\n", b"\r\n")
    assert identity_from_pem(pem, None).node_id == identity.node_id
