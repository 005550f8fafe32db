"""Make the Python stubs of protos/ again: python3 protos/generate.py [OUTPUT], by default into this checkout.

Standard library only. The generator runs in a virtual environment of its own, pinned low: generated code refuses a runtime
older than its generator, so the pins here are the floors of pyproject.toml, and a newer protobuf in the project's own
environment does not move them.
"""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"quandary": ("clients", "quandary"), "inference": ("services", "quandary_server/wire/inference_v2")}
"""Folders of protos/: where their stubs go, and as what folder they are imported from there. A protocol that is not ours gets
no import package of its own: its stubs are a part of the server."""

GENERATOR = ["grpcio-tools==1.76.0", "mypy-protobuf==5.1.0", "protobuf==6.33.6", "setuptools<81"]


def generator_python() -> Path:
    """Return the interpreter of the generator's environment, made on first use."""
    home = ROOT / ".venv-protos"
    python = home / "bin" / "python"
    pins = home / "pins.txt"
    if pins.is_file() and pins.read_text() == "\n".join(GENERATOR):
        return python
    venv.create(home, with_pip=True, clear=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *GENERATOR], check=True)
    pins.write_text("\n".join(GENERATOR))
    return python


def generate(output: Path) -> None:
    """Write messages, services and their type stubs of every package below `output`."""
    for folder, (root, imported_as) in PACKAGES.items():
        generate_package(folder, imported_as, output / root)


def generate_package(folder: str, imported_as: str, output: Path) -> None:
    """Write the stubs of one folder of protos/ below `output`, in the folder `imported_as`."""
    python = generator_python()
    protos = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos" / folder).rglob("*.proto"))
    services = [path for path in protos if "\nservice " in (ROOT / "protos" / path).read_text()]
    output.mkdir(parents=True, exist_ok=True)

    compiler = [str(python), "-m", "grpc_tools.protoc", f"-I{imported_as}={folder}"]
    plugins = [f"--plugin=protoc-gen-{name}={python.parent / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    messages = [f"--python_out={output}", f"--mypy_out=quiet:{output}"]
    stubs = [f"--grpc_python_out={output}", f"--mypy_grpc_out=quiet:{output}"]
    subprocess.run([*compiler, *plugins, *messages, *protos], check=True, cwd=ROOT / "protos")
    subprocess.run([*compiler, *plugins, *stubs, *services], check=True, cwd=ROOT / "protos")


if __name__ == "__main__":
    generate(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT)
