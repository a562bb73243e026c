"""`keynet allow-call`: who may call the running node's methods."""

from keynet.cli.changes import Words, table_app

app = table_app(
    Words(
        verb="allow-call",
        entry="NODEID[=SERVICE[.METHOD],…]|any",
        key="NODEID|any",
        about="Change who may call the running node's methods.",
        adding="Let a node call some methods or all; any: every node that proves its id.",
        removing="Take back all rules for that id; running calls go on.",
        listing="List the rules.",
    )
)
