"""`keynet expose`: which local servers the running node lets peers in to."""

from keynet.cli.changes import Words, table_app

app = table_app(
    Words(
        verb="expose",
        entry="PORT=HOST:PORT|PORT=unix:PATH",
        key="PORT",
        about="Change which local servers the running node lets peers in to.",
        adding="Expose a local server, in place of what had that port before.",
        removing="Let no new streams in to that port; open ones go on.",
        listing="List what is exposed.",
    )
)
