"""Every exception of keynet, arranged by what the caller does next. Imports nothing.

KeynetError
├── ConfigError                 fix the call, the flag or the file
├── PluginError                 fix the installation
│   ├── PluginNotFound
│   ├── PluginConflict
│   ├── PluginLoadFailed
│   └── ContractBroken
├── ProtocolError
│   ├── LocalProtocolError      a bug on this side
│   └── RemoteProtocolError     drop the peer
├── ConnectError                retry, or choose another way
│   ├── PunchFailed
│   ├── HandshakeFailed
│   └── ProxyRefused            carries the proxy's status code
├── IdentityError               the certificate chain proves nothing; one subclass per fault
│   ├── EmptyChain
│   ├── ChainTooLong
│   ├── UnclaimedNodeId         the chain is sound but names another node
│   ├── BrokenLink              a certificate was not issued by the next one
│   ├── CertificateExpired      the leaf is past its date
│   ├── CertificateNotYetValid
│   ├── CommonNameMissing
│   ├── KeyMismatch             the key does not give the id in the CN
│   ├── NodeSignatureInvalid
│   ├── MalformedCertificate
│   └── KeyFileError            a key at rest cannot be used (mode, passphrase, format)
├── ClosedError                 reopen or stop
│   ├── LocallyClosed
│   ├── ClosedByPeer            the peer reset or closed it on purpose
│   └── ConnectionLost          the path died; carries the reason
│       └── PeerReplaced        another node answers at that address now
├── DeadlineExceeded            also a TimeoutError
├── RpcError                    status, message, details
└── LookupFailed                nobody knows that node
"""


class KeynetError(Exception):
    """The root: `except KeynetError` catches whatever this library raises on purpose."""


class ConfigError(KeynetError):
    """The call, the flag or the configuration file is wrong; the message says how to mend it."""


class StateInUse(ConfigError):
    """Another process, most often a running node, holds the state directory's lock."""


class PluginError(KeynetError):
    """An installed plugin is missing, broken or ambiguous."""


class PluginNotFound(PluginError):
    """No installed distribution offers that name."""


class PluginConflict(PluginError):
    """Two distributions offer the same name."""


class PluginLoadFailed(PluginError):
    """The plugin's entry point could not be imported or called."""


class ContractBroken(PluginError):
    """The plugin loaded, but is not what its layer asks for."""


class ProtocolError(KeynetError):
    """Somebody broke a protocol."""


class LocalProtocolError(ProtocolError):
    """This side did what the protocol forbids: a bug here."""


class RemoteProtocolError(ProtocolError):
    """The peer did what the protocol forbids: drop it."""


class ConnectError(KeynetError):
    """No connection came about; nothing was sent to the peer's service."""


class PunchFailed(ConnectError):
    """No path to the peer could be opened; the message says what was tried."""


class HandshakeFailed(ConnectError):
    """The peer was reached, but no secure connection came about."""


class ProxyRefused(ConnectError):
    """A proxy answered CONNECT with a status other than 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status code, 400 to 599."""


class IdentityError(KeynetError):
    """A certificate chain or a key does not prove what it should."""


class EmptyChain(IdentityError):
    """The peer showed no certificate."""


class ChainTooLong(IdentityError):
    """The peer showed more certificates than any honest node has."""


class UnclaimedNodeId(IdentityError):
    """The chain is sound, but the expected node id is nowhere in it."""


class BrokenLink(IdentityError):
    """A certificate of the chain was not issued and signed by the next one."""


class CertificateExpired(IdentityError):
    """The leaf certificate is past its last day."""


class CertificateNotYetValid(IdentityError):
    """A certificate's first day lies ahead."""


class CommonNameMissing(IdentityError):
    """A certificate has no subject common name, where the node id must stand."""


class KeyMismatch(IdentityError):
    """A certificate's common name is not the node id of its key."""


class NodeSignatureInvalid(IdentityError):
    """A certificate's private extension does not hold a valid signature by its own key."""


class MalformedCertificate(IdentityError):
    """The bytes are no certificate, or its key is not Ed25519."""


class KeyFileError(IdentityError):
    """A private key at rest cannot be used: its mode, its format or the passphrase is wrong."""


class ClosedError(KeynetError):
    """What was used is closed."""


class LocallyClosed(ClosedError):
    """This side closed it."""


class ClosedByPeer(ClosedError):
    """The peer closed or reset it."""


class ConnectionLost(ClosedError):
    """The path to the peer died, or broke off without a clean end."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """One line for people: what was lost, and how that was noticed."""


class PeerReplaced(ConnectionLost):
    """Another node has proved itself at the address of a peer that had fallen silent."""


class DeadlineExceeded(KeynetError, TimeoutError):
    """The time allowed ran out first."""


class RpcError(KeynetError):
    """A call ended with a status other than OK."""

    def __init__(self, status: int, message: str, details: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details


class LookupFailed(KeynetError):
    """No source of addresses knows that node."""
