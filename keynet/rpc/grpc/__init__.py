"""gRPC between nodes: grpcio channels that lead through this node's forward proxy.

grpcio is an optional extra (`pip install 'keynet[grpc]'`), imported when a channel is made.
"""

from keynet.rpc.grpc.binding import Binding, binding
from keynet.rpc.grpc.channel import ProxyNode, aio_channel, channel
from keynet.rpc.grpc.peer import client_address

__all__ = ["Binding", "ProxyNode", "aio_channel", "binding", "channel", "client_address"]
