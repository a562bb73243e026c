"""Whatever bytes a stranger shows as certificates, and whatever befalls a key file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.errors import IdentityError, KeyFileError
from keynet.identity import MAX_CHAIN, Identity, read_certificate, verify_chain
from keynet.identity.pem import identity_from_pem, identity_to_pem
from tests.unit.identity.forge import NOW, forge

ONCE = Identity.generate(NOW)
TWICE = ONCE.rotate(NOW)
THRICE = TWICE.rotate(NOW)
STRANGER = Identity.generate(NOW)
ANOTHER_ROOT = forge(ONCE.private_key)
POOL = [
    *THRICE.chain,
    *STRANGER.chain,
    ANOTHER_ROOT,
    forge(TWICE.private_key, ONCE.private_key, node_signer=ONCE.private_key),
]
LEAF, ROOT = (certificate.public_bytes(Encoding.DER) for certificate in TWICE.chain)
PEM = identity_to_pem(TWICE, None)

edits = st.lists(
    st.tuples(st.integers(min_value=0), st.binary(max_size=4), st.integers(0, 4)), min_size=1
)


def edited(data: bytes, changes: list[tuple[int, bytes, int]]) -> bytes:
    """At each place some bytes are cut out and others put in."""
    for place, insert, cut in changes:
        at = place % (len(data) + 1)
        data = data[:at] + insert + data[at + cut :]
    return data


@pytest.fixture(autouse=True)
def library_warnings_ignored() -> Iterator[None]:
    """cryptography warns of serial numbers and the like; that is not an error in production."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@given(edits)
def test_a_corrupted_certificate_is_an_identity_error(
    changes: list[tuple[int, bytes, int]],
) -> None:
    corrupt = edited(LEAF, changes)
    if corrupt == LEAF:
        return
    with pytest.raises(IdentityError):
        verify_chain([read_certificate(corrupt), read_certificate(ROOT)], None, NOW)


@given(st.integers(0, len(LEAF) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_a_single_changed_byte_is_an_identity_error(place: int, change: int) -> None:
    corrupt = bytearray(LEAF)
    corrupt[place] ^= change
    with pytest.raises(IdentityError):
        verify_chain([read_certificate(bytes(corrupt)), read_certificate(ROOT)], None, NOW)


@given(st.binary(max_size=600))
def test_random_bytes_are_no_certificate(data: bytes) -> None:
    with pytest.raises(IdentityError):
        read_certificate(data)


@given(st.lists(st.sampled_from(POOL), max_size=MAX_CHAIN + 2))
def test_only_honest_chains_are_accepted_in_whatever_order_they_come(
    chain: list[x509.Certificate],
) -> None:
    honest = [list(i.chain) for i in (ONCE, TWICE, THRICE, STRANGER)]
    honest += [[*i.chain[:-1], ANOTHER_ROOT] for i in (ONCE, TWICE, THRICE)]
    try:
        peer = verify_chain(chain, None, NOW)
    except IdentityError:
        assert chain not in honest
    else:
        assert chain in honest
        assert list(peer.chain) == chain


@given(edits)
@settings(max_examples=50)
def test_a_corrupted_key_file_is_a_key_file_error_or_still_whole(
    changes: list[tuple[int, bytes, int]],
) -> None:
    try:
        identity = identity_from_pem(edited(PEM, changes), None)
    except KeyFileError:
        return
    assert identity.lineage == TWICE.lineage
