"""Where a node can be reached: its interfaces' addresses, and what others see of it."""
