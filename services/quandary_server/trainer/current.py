"""The current generation, for a candidate to be held against."""

from quandary.errors import CorruptArtefact, QuandaryError
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.provider import Provider
from quandary_server.inference.warm_up import warm_up
from quandary_server.registry.directory import Registry
from quandary_server.registry.pointer import Pointer


def load_current(registry: Registry, pointer: Pointer) -> LoadedGeneration:
    """Return the generation that the pointer names, in memory.

    Raises NotFound or CorruptArtefact where it is gone, torn, or does not run in this program; Unavailable.
    """
    artefacts = registry.load(pointer.generation, pointer.manifest_digest)
    try:
        loaded = LoadedGeneration(artefacts, Provider.CPU)
    except QuandaryError:
        raise
    except Exception as error:
        # ONNX Runtime's exceptions share no base but Exception
        raise CorruptArtefact(f"{pointer.generation} cannot be opened: {type(error).__name__}") from error
    warm_up(loaded)
    return loaded
