"""Asynchronous iterators that are left early. Generators clean up when closed, others need not."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def closed_after(items: AsyncIterable[T]) -> AsyncIterator[AsyncIterator[T]]:
    """An iterator over `items`, closed at the end of the context if it can be."""
    iterator = aiter(items)
    try:
        yield iterator
    finally:
        aclose = getattr(iterator, "aclose", None)
        if aclose is not None:
            await aclose()
