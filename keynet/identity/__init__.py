"""Who a node is: keys, node ids, certificates, chains, rotation. Knows nothing of the network."""

from keynet.identity.certificates import read_certificate
from keynet.identity.chain import MAX_CHAIN, PeerIdentity, verify_chain
from keynet.identity.identity import Identity
from keynet.identity.keys import node_id_of
from keynet.identity.store import IdentityStore

__all__ = [
    "MAX_CHAIN",
    "Identity",
    "IdentityStore",
    "PeerIdentity",
    "node_id_of",
    "read_certificate",
    "verify_chain",
]
