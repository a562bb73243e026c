"""`python -m keynet` is the `keynet` command."""

from keynet.cli import main

main()
