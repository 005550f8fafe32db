"""Real servers in this process, and one way to drive both kinds of client."""

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
import numpy as np
import pytest
from google.protobuf.message_factory import GetMessageClass

from quandary import Box3D, Calibration, Frame, ImageBox, Label, Proposal, QuandaryError
from quandary.clients import AsyncClient, Client
from quandary.error_messages import ERROR_TRAILER, error_message
from quandary.labelling import AsyncLabellingClient, LabellingClient
from quandary.leases import AsyncLeasedTask
from quandary.retries import CONTRACT
from quandary.scoring import AsyncScoringClient, ScoringClient
from quandary.training import AsyncTrainingClient, TrainingClient

TOKEN = "a-token-that-nobody-may-see"

SERVICES = {name: service for file in CONTRACT for name, service in file.services_by_name.items()}
ASYNC_TWINS: dict[type[Client], type[AsyncClient]] = {
    ScoringClient: AsyncScoringClient,
    LabellingClient: AsyncLabellingClient,
    TrainingClient: AsyncTrainingClient,
}


def handler(method: Any, behaviour: Callable[..., Any]) -> "grpc.RpcMethodHandler[Any, Any]":
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    make = getattr(grpc, f"{shape}_rpc_method_handler")
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    found: grpc.RpcMethodHandler[Any, Any] = make(behaviour, request.FromString, response.SerializeToString)
    return found


@pytest.fixture
def serve() -> Iterator[Callable[[Mapping[str, Callable[..., Any]]], str]]:
    """Start a server for methods of the contract ("QueueService/GetTask": behaviour); returns its target."""
    servers = []

    def start(behaviours: Mapping[str, Callable[..., Any]]) -> str:
        server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
        for path, behaviour in behaviours.items():
            service, method = path.split("/")
            found = handler(SERVICES[service].methods_by_name[method], behaviour)
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(SERVICES[service].full_name, {method: found}),)
            )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def refuse() -> Callable[[grpc.ServicerContext, QuandaryError], NoReturn]:
    """End a call with an error of ours, as the services do."""

    def end(context: grpc.ServicerContext, error: QuandaryError) -> NoReturn:
        context.set_trailing_metadata(((ERROR_TRAILER, error_message(error).SerializeToString()),))
        context.abort(grpc.StatusCode[error.status], error.message)

    return end


class Loop:
    """An event loop that runs in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Driven:
    """An asynchronous object with the face of its synchronous twin: every call is run to its end on the loop."""

    def __init__(self, loop: Loop, target: Any) -> None:
        self._loop = loop
        self._target = target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            answer: Any = found(*args, **kwargs)
            if inspect.iscoroutine(answer):
                return self._loop.run(answer)
            if isinstance(answer, AsyncGenerator):
                return self._items(answer)
            if hasattr(answer, "__aenter__"):
                return self._entered(answer)
            return answer

        return call

    def _items(self, items: AsyncGenerator[Any, None]) -> Generator[Any, None, None]:
        async def following() -> list[Any]:
            return [item async for item in _first(items)]

        try:
            while found := self._loop.run(following()):
                yield found[0]
        finally:
            self._loop.run(items.aclose())

    @contextmanager
    def _entered(self, manager: Any) -> Iterator[Any]:
        entered = self._loop.run(manager.__aenter__())
        try:
            yield [Driven(self._loop, item) if isinstance(item, AsyncLeasedTask) else item for item in entered]
        except BaseException as error:
            if not self._loop.run(manager.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self._loop.run(manager.__aexit__(None, None, None))


async def _first(items: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    try:
        yield await anext(items)
    except StopAsyncIteration:
        return


Connect = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Make a client of a kind for a target: the synchronous one, or its twin with the same face."""
    made: list[Any] = []
    loop = Loop() if request.param == "async" else None

    def make(kind: type[Client], target: str, **settings: Any) -> Any:
        settings = {"token": TOKEN, **settings}
        if loop is None:
            made.append(kind(target, **settings))
        else:

            async def twin() -> AsyncClient:
                return ASYNC_TWINS[kind](target, **settings)

            made.append(Driven(loop, loop.run(twin())))
        return made[-1]

    yield make
    for client in made:
        client.close()
    if loop is not None:
        loop.close()


@pytest.fixture
def calibration() -> Calibration:
    """A camera of 700 px focal length that looks along the LiDAR's x axis, without rotation error."""
    projection = [[700.0, 0.0, 600.0, 0.0], [0.0, 700.0, 180.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    lidar_to_camera = [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    return Calibration(np.array(projection), np.array(lidar_to_camera), 1200, 360)


@pytest.fixture
def frame(calibration: Calibration) -> Frame:
    """A frame of 200 points ahead, two proposals."""
    rng = np.random.default_rng(7)
    points = rng.uniform((5, -6, -2, 0), (40, 6, 1, 1), (200, 4)).astype(np.float32)
    proposals = [Proposal(ImageBox(500, 150, 700, 250), 0.9, "Car"), Proposal(ImageBox(0, 0, 300, 300))]
    return Frame("frame-1", calibration, proposals, points=points, drive_id="drive-1")


@pytest.fixture
def label() -> Label:
    return Label("Car", Box3D(12.5, 1.0, -0.8, 3.9, 1.6, 1.5, 0.3), truncation=0.1, occlusion=1)
