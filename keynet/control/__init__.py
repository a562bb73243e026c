"""The running node's control socket, which the CLI talks to."""

from keynet.control.client import call
from keynet.control.running import RunningNode, running_node
from keynet.control.server import ControlServer, Verb

__all__ = ["ControlServer", "RunningNode", "Verb", "call", "running_node"]
