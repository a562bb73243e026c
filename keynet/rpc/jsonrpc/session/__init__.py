"""Both ends of one stream as state machines: bytes in, events out; verbs in, bytes out. Sans-IO.

Nothing below this package waits, and nothing in it imports asyncio.
"""
