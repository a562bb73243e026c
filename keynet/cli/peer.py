"""`keynet peer`: peers whose UDP addresses the running node knows outright."""

from keynet.cli.changes import Words, table_app

app = table_app(
    Words(
        verb="peer",
        entry="NODEID@HOST:PORT",
        key="NODEID",
        about="Change whose UDP addresses the running node knows outright.",
        adding="Know one more address, and ping it until the peer answers.",
        removing="Forget every address of that peer; what is open goes on.",
        listing="List the addresses that were given.",
    )
)
