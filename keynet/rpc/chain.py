"""Interceptors around a call, the same at both ends. Knows neither calls nor requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

Step = Callable[[T], Awaitable[R]]
Link = Callable[[T, Step[T, R]], Awaitable[R]]


def chain(links: Sequence[Link[T, R]], last: Step[T, R]) -> Step[T, R]:
    """`last` with `links` around it, the first one outermost."""
    for link in reversed(links):
        last = _around(link, last)
    return last


def _around(link: Link[T, R], rest: Step[T, R]) -> Step[T, R]:
    def step(subject: T) -> Awaitable[R]:
        return link(subject, rest)

    return step
