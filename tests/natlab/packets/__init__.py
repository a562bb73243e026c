"""What moves packets in user space: a NAT and a slow wire, each a sans-IO core and a process.

It imports nothing of the lab, so that the processes start fast.
"""
