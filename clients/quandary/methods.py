"""Methods of clients, written once for both kinds.

A method is a builder: from its arguments it makes a Call or a Listing, and makes nothing happen. The decorators below turn it
into a method that returns the result on a Synchronous object, and an awaitable or asynchronous iterator of that same type on
an Asynchronous one; type checkers see both exactly.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import update_wrapper, wraps
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from quandary.calls import AsyncCaller, Call, Caller, Listing

__all__ = ["Asynchronous", "Paged", "Streamed", "Synchronous", "Unary"]

P = ParamSpec("P")
Result = TypeVar("Result")


class Synchronous:
    """An object whose calls return results."""

    _caller: Caller


class Asynchronous:
    """An object whose calls return awaitables and asynchronous iterators."""

    _caller: AsyncCaller


class Unary(Generic[P, Result]):
    """A method of one request and one answer. Read from the class, it is the decorator, with the builder as `build`."""

    def __init__(self, build: Callable[Concatenate[Any, P], Call[Result]]) -> None:
        self.build = build
        self._method = _method(self, build, "unary")

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Synchronous, owner: type) -> Callable[P, Result]: ...
    @overload
    def __get__(self, instance: Asynchronous, owner: type) -> Callable[P, Coroutine[Any, Any, Result]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else MethodType(self._method, instance)


class _Iterated(Generic[P, Result]):
    _method: Callable[..., Any]

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Synchronous, owner: type) -> Callable[P, Generator[Result, None, None]]: ...
    @overload
    def __get__(self, instance: Asynchronous, owner: type) -> Callable[P, AsyncGenerator[Result, None]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else MethodType(self._method, instance)


class Paged(_Iterated[P, Result]):
    """A method that lists: an iterator that fetches page after page."""

    def __init__(self, build: Callable[Concatenate[Any, P], Listing[Result]]) -> None:
        self._method = _method(self, build, "pages")


class Streamed(_Iterated[P, Result]):
    """A method of one request and many answers: an iterator; closing it cancels the call."""

    def __init__(self, build: Callable[Concatenate[Any, P], Call[Result]]) -> None:
        self._method = _method(self, build, "stream")


def _method(decorator: Any, build: Callable[..., Any], maker: str) -> Callable[..., Any]:
    @wraps(build)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._caller, maker)(build(self, *args, **kwargs))

    update_wrapper(decorator, build)  # so that help() of the class shows name, arguments and docstring
    return method
