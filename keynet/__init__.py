"""keynet: reach a server on another key-identified node, across NATs, over one UDP socket."""

__version__ = "0.1.0"
