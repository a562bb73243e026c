"""How an identity is made, rotated and renewed."""

from __future__ import annotations

import weakref
from dataclasses import replace
from datetime import timedelta

import pytest

from keynet.errors import CertificateExpired, UnclaimedNodeId
from keynet.identity import MAX_CHAIN, Identity, node_id_of, verify_chain
from keynet.identity.certificates import BACKDATED, LIFETIME
from tests.unit.identity.forge import DAY, NOW


def test_a_new_identity_proves_its_own_id() -> None:
    identity = Identity.generate(NOW)
    assert identity.node_id == node_id_of(identity.private_key)
    assert verify_chain(identity.chain, identity.node_id, NOW).node_id == identity.node_id


def test_a_leaf_is_backdated_an_hour_and_lasts_a_year() -> None:
    leaf = Identity.generate(NOW).chain[0]
    assert leaf.not_valid_before_utc == NOW - timedelta(hours=1) == NOW - BACKDATED
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=365) == LIFETIME


def test_rotation_keeps_the_old_id_reachable() -> None:
    old = Identity.generate(NOW)
    new = old.rotate(NOW + DAY)
    assert new.node_id != old.node_id
    assert new.retired_keys == (old.private_key,)
    assert new.chain[1:] == old.chain
    assert verify_chain(new.chain, old.node_id, NOW + DAY).node_id == new.node_id


def test_rotation_years_later_is_accepted_though_the_old_certificate_has_expired() -> None:
    later = NOW + 5 * LIFETIME
    new = Identity.generate(NOW).rotate(later)
    assert verify_chain(new.chain, None, later).lineage == new.lineage


def test_too_many_rotations_forget_the_oldest_id_only() -> None:
    identity = Identity.generate(NOW)
    ids = [identity.node_id]
    for day in range(MAX_CHAIN + 3):
        identity = identity.rotate(NOW + day * DAY)
        ids.insert(0, identity.node_id)
    now = NOW + (MAX_CHAIN + 3) * DAY
    assert verify_chain(identity.chain, None, now).lineage == tuple(ids[:MAX_CHAIN])
    assert identity.lineage == tuple(ids[:MAX_CHAIN])
    with pytest.raises(UnclaimedNodeId):
        verify_chain(identity.chain, ids[-1], now)


def test_renewal_is_due_at_two_thirds_of_the_leafs_life() -> None:
    identity = Identity.generate(NOW)
    due = NOW - BACKDATED + LIFETIME * 2 / 3
    assert identity.renewal_at == due
    assert identity.renewed(due - timedelta(seconds=1)) is identity
    assert identity.renewed(due) is not identity


@pytest.mark.parametrize("rotations", [0, 2])
def test_a_renewed_leaf_keeps_the_ids_and_outlives_the_old_one(rotations: int) -> None:
    identity = Identity.generate(NOW)
    for _ in range(rotations):
        identity = identity.rotate(NOW)
    later = NOW + LIFETIME
    with pytest.raises(CertificateExpired):
        verify_chain(identity.chain, None, later)
    renewed = identity.renewed(later)
    assert verify_chain(renewed.chain, None, later).lineage == identity.lineage
    assert renewed.chain[1:] == identity.chain[1:]
    assert renewed.retired_keys == identity.retired_keys


def test_an_identity_shows_no_key_when_printed() -> None:
    identity = Identity.generate()
    assert repr(identity) == f"Identity(node_id={identity.node_id!r})"


def test_identities_are_told_apart_by_object_so_that_caches_may_hang_on_them() -> None:
    identity = Identity.generate(NOW)
    assert replace(identity) != identity
    assert weakref.ref(identity)() is identity
