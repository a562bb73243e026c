"""`keynet allow`: who may reach the running node's exposed services."""

from keynet.cli.changes import Words, table_app

app = table_app(
    Words(
        verb="allow",
        entry="NODEID[=PORT,…]|any",
        key="NODEID|any",
        about="Change who may reach the running node's exposed services.",
        adding="Let a node in, to some ports or to all; any: every node that proves its id.",
        removing="Take back all rules for that id; open streams go on.",
        listing="List the rules.",
    )
)
