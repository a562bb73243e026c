"""The verifier: each fault has its own error, and what is sound is accepted."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from keynet import errors
from keynet.identity import MAX_CHAIN, Identity, node_id_of, read_certificate, verify_chain
from keynet.identity import chain as chain_module
from tests.unit.identity.forge import DAY, NOW, common_names, elliptic, forge

NEW = Ed25519PrivateKey.generate()
OLD = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
ROOT = forge(OLD)


def test_a_self_signed_leaf_proves_its_id() -> None:
    peer = verify_chain([forge(NEW)], node_id_of(NEW), NOW)
    assert peer.node_id == node_id_of(NEW)
    assert peer.lineage == (node_id_of(NEW),)


def test_any_id_of_the_chain_may_be_expected_and_the_current_one_is_learned() -> None:
    peer = verify_chain([forge(NEW, OLD), ROOT], node_id_of(OLD), NOW)
    assert peer.node_id == node_id_of(NEW)
    assert peer.lineage == (node_id_of(NEW), node_id_of(OLD))
    assert peer.matches(node_id_of(OLD))
    assert peer.matches(node_id_of(NEW))
    assert not peer.matches(node_id_of(OTHER))


def test_the_certificates_can_be_had_as_text() -> None:
    chain = (forge(NEW, OLD), ROOT)
    text = verify_chain(chain, None, NOW).certificates_pem()
    assert x509.load_pem_x509_certificates(text.encode()) == list(chain)


def test_a_newer_key_and_a_newer_certificate_supersede_the_older() -> None:
    old = verify_chain([ROOT], None, NOW)
    new = verify_chain([forge(NEW, OLD), ROOT], None, NOW)
    fork = verify_chain([forge(OTHER, OLD), ROOT], None, NOW)
    renewed = verify_chain([forge(NEW, OLD, start=NOW - DAY / 2), ROOT], None, NOW)
    sound = [(new, old), (fork, old), (renewed, old), (renewed, new)]
    every = [old, new, fork, renewed]
    found = [(one, other) for one in every for other in every if one.supersedes(other)]
    assert sorted(map(repr, found)) == sorted(map(repr, sound))


FAULTS: dict[str, tuple[list[x509.Certificate], type[errors.IdentityError]]] = {
    "no certificate": ([], errors.EmptyChain),
    "more than the bound": ([ROOT] * (MAX_CHAIN + 1), errors.ChainTooLong),
    "another kind of key": ([elliptic()], errors.MalformedCertificate),
    "no common name": ([forge(NEW, subject=x509.Name([]))], errors.CommonNameMissing),
    "only an organisation": (
        [forge(NEW, subject=x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x")]))],
        errors.CommonNameMissing,
    ),
    "two common names": (
        [forge(NEW, subject=common_names(str(node_id_of(NEW)), "b"))],
        errors.MalformedCertificate,
    ),
    "another's id": (
        [forge(NEW, subject=common_names(str(node_id_of(OLD))))],
        errors.KeyMismatch,
    ),
    "its id in capitals": (
        [forge(NEW, subject=common_names(str(node_id_of(NEW)).upper()))],
        errors.KeyMismatch,
    ),
    "no root": ([forge(NEW, OLD)], errors.BrokenLink),
    "another root": ([forge(NEW, OLD), forge(OTHER)], errors.BrokenLink),
    "a certificate between is missing": (
        [forge(NEW, OTHER), forge(OLD)],
        errors.BrokenLink,
    ),
    "signed by another than it names": (
        [forge(NEW, OLD, signer=OTHER), ROOT],
        errors.BrokenLink,
    ),
    "names another than signed it": (
        [forge(NEW, OLD, issuer_name=common_names(str(node_id_of(OTHER)))), ROOT],
        errors.BrokenLink,
    ),
    "root signed by another": ([forge(NEW, signer=OTHER)], errors.BrokenLink),
    "the wrong way round": ([ROOT, forge(NEW, OLD)], errors.BrokenLink),
    "an id twice": ([forge(NEW, OLD), forge(OLD, NEW), forge(NEW)], errors.BrokenLink),
    "no node signature": ([forge(NEW, with_extension=False)], errors.NodeSignatureInvalid),
    "node signature by another key": (
        [forge(NEW, OLD, node_signer=OLD), ROOT],
        errors.NodeSignatureInvalid,
    ),
    "node signature for another issuer": (
        [forge(NEW, OLD, follows=OTHER), ROOT],
        errors.NodeSignatureInvalid,
    ),
    "node signature of another certificate": (
        [forge(NEW, signed_serial=8)],
        errors.NodeSignatureInvalid,
    ),
    "node signature cut short": (
        [forge(NEW, extension=b"\x04\x40short")],
        errors.NodeSignatureInvalid,
    ),
    "node signature of another type": (
        [forge(NEW, extension=b"\x0c\x40" + bytes(64))],
        errors.NodeSignatureInvalid,
    ),
    "node signature of the root by another": (
        [forge(NEW, OLD), forge(OLD, node_signer=NEW)],
        errors.NodeSignatureInvalid,
    ),
    "leaf expired": ([forge(NEW, end=NOW - DAY / 2)], errors.CertificateExpired),
    "leaf not yet valid": ([forge(NEW, start=NOW + DAY / 2)], errors.CertificateNotYetValid),
    "root not yet valid": (
        [forge(NEW, OLD), forge(OLD, start=NOW + DAY / 2)],
        errors.CertificateNotYetValid,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_error(fault: str) -> None:
    chain, expected = FAULTS[fault]
    with pytest.raises(errors.IdentityError) as caught:
        verify_chain(chain, None, NOW)
    assert type(caught.value) is expected


def test_every_identity_error_of_a_chain_is_covered() -> None:
    covered = {error for _, error in FAULTS.values()} | {
        errors.UnclaimedNodeId,
        errors.KeyFileError,
    }
    assert covered == set(errors.IdentityError.__subclasses__())


def test_a_sound_chain_of_another_node_is_refused() -> None:
    with pytest.raises(errors.UnclaimedNodeId, match=str(node_id_of(OTHER))):
        verify_chain([forge(NEW, OLD), ROOT], node_id_of(OTHER), NOW)


def test_an_expired_lineage_certificate_is_accepted() -> None:
    chain = [forge(NEW, OLD), forge(OLD, end=NOW - DAY / 2)]
    assert verify_chain(chain, node_id_of(OLD), NOW).node_id == node_id_of(NEW)


def test_the_first_and_the_last_second_are_valid() -> None:
    chain = [forge(NEW)]
    verify_chain(chain, None, NOW - DAY)
    verify_chain(chain, None, NOW + DAY)


def test_bytes_that_are_no_certificate() -> None:
    with pytest.raises(errors.MalformedCertificate):
        read_certificate(b"\x30\x03\x02\x01\x00")


def test_what_was_proved_once_is_still_judged_by_date_and_id() -> None:
    chain = [forge(NEW)]
    verify_chain(chain, None, NOW)
    with pytest.raises(errors.CertificateExpired):
        verify_chain(chain, None, NOW + 2 * DAY)
    with pytest.raises(errors.UnclaimedNodeId):
        verify_chain(chain, node_id_of(OLD), NOW)


def test_a_proved_certificate_does_not_vouch_for_one_under_another_root() -> None:
    verify_chain([forge(NEW, OLD), ROOT], None, NOW)
    with pytest.raises(errors.BrokenLink):
        verify_chain([forge(NEW, OLD), forge(OTHER)], None, NOW)


def test_the_memory_of_proofs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "PROVED_MAX", 3)
    proved = chain_module._Proved()
    for number in range(10):
        proved.add((bytes([number]), b""))
    assert (bytes([9]), b"") in proved
    assert (bytes([6]), b"") not in proved


def test_threads_may_prove_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "PROVED_MAX", 3)
    proved = chain_module._Proved()

    def add(thread: int) -> None:
        for number in range(5000):
            proved.add((bytes([thread]), number.to_bytes(2)))

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(add, range(4))) == [None] * 4
    finally:
        sys.setswitchinterval(usual)
    assert len(proved._known) == 3


def test_a_long_history_is_verified_whole() -> None:
    identity = Identity.generate()
    first = identity.node_id
    for _ in range(MAX_CHAIN - 1):
        identity = identity.rotate()
    peer = verify_chain(identity.chain, first)
    assert peer.lineage == identity.lineage
    assert len(peer.lineage) == MAX_CHAIN
