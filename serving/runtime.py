"""What tritonserver needs to run from the wheel: its parts, the backend folder, the environment."""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from serving.preflight import LaunchError, find_libpython

OUR_BACKENDS = Path(__file__).parent / "backends"


@dataclass(frozen=True)
class Wheel:
    """The parts of the nvidia-pytriton wheel that make up tritonserver."""

    tritonserver: Path
    caches: Path
    libraries: Path
    python_backend: Path
    stub: Path

    @classmethod
    def find(cls) -> "Wheel":
        """The installed wheel's parts for the running Python; LaunchError when one is missing."""
        spec = importlib.util.find_spec("pytriton")
        if spec is None or not spec.submodule_search_locations:
            raise LaunchError("tritonserver is not installed: run `make setup` (package nvidia-pytriton).")
        package = Path(spec.submodule_search_locations[0])
        root = package / "tritonserver"
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        wheel = cls(
            tritonserver=root / "bin" / "tritonserver",
            caches=root / "caches",
            libraries=package.parent / "nvidia_pytriton.libs",
            python_backend=root / "backends" / "python",
            stub=root / "python_backend_stubs" / minor / "triton_python_backend_stub",
        )
        if not wheel.tritonserver.is_file():
            raise LaunchError(f"the nvidia-pytriton package holds no {wheel.tritonserver}: install it again.")
        if not wheel.stub.is_file():
            stubs = sorted(stub.name for stub in wheel.stub.parents[1].iterdir())
            known = ", ".join(stubs)
            raise LaunchError(f"this tritonserver has no stub for Python {minor}; use one of {known}.")
        return wheel


def assemble(folder: Path, wheel: Wheel) -> None:
    """Fill `folder` with `backends/` (Triton's python one and ours) and `lib/` (libpython, if found)."""
    # Copies: Triton refuses a backend that a link leads out of the backend folder.
    backends = folder / "backends"
    for source, name in [(wheel.python_backend, "python"), (OUR_BACKENDS / "onnxruntime", "onnxruntime")]:
        shutil.copytree(source, backends / name, ignore=shutil.ignore_patterns("__pycache__"))
    stub = backends / "python" / wheel.stub.name
    shutil.copyfile(wheel.stub, stub)
    stub.chmod(0o755)
    libraries = folder / "lib"
    libraries.mkdir()
    libpython = find_libpython()
    if libpython is not None:
        (libraries / libpython.name).symlink_to(libpython)


def environment(folder: Path, wheel: Wheel) -> dict[str, str]:
    """The environment of tritonserver and its stubs; thread counts that the caller has set stay."""
    cores = str(len(os.sched_getaffinity(0)))
    defaults = {
        "OMP_NUM_THREADS": cores,
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",  # numpy in many light processes: a pool in each would only be in the way
        "TOKENIZERS_PARALLELISM": "false",
    }
    libraries = [str(wheel.libraries), str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        **defaults,
        **os.environ,
        # The stub takes the environment of the first python3 on PATH; it ignores PYTHONPATH.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        # A __pycache__ in a version folder would make the next load a full reload.
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
    }
