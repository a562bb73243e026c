"""Congestion control of uTP: one contract, and the algorithms by name."""
