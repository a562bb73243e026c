"""Relaying what cannot be punched: a TURN client and a TURN server (RFC 8656), sans-IO.

Two engines on one codec: `client.TurnClient` works with any TURN server, `server.TurnServer` with
any TURN client. `serving.RelayServer` is the server's asyncio shell. Nothing here knows links,
seeds or offers.
"""
