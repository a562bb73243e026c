"""gRPC between nodes: service definitions over grpcio, and plain grpcio through the proxies.

grpcio is an optional extra (`pip install 'keynet[grpc]'`), imported when it is first needed.
"""

from keynet.rpc.grpc.binding import Binding, binding
from keynet.rpc.grpc.channel import ProxyNode, aio_channel, channel
from keynet.rpc.grpc.peer import client_address

__all__ = ["Binding", "ProxyNode", "aio_channel", "binding", "channel", "client_address"]
