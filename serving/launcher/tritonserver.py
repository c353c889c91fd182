"""What tritonserver needs to run, from the wheel or installed: its parts, the backend folder, the environment."""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from serving.environment import TRITONSERVER_HOME
from serving.launcher.preflight import LaunchError, find_libpython

ONNX_BACKEND = Path(__file__).parents[1] / "onnx_backend" / "model.py"


@dataclass(frozen=True)
class Triton:
    """The parts of a tritonserver: the nvidia-pytriton wheel's, or those of an installed one."""

    tritonserver: Path
    backends: Path
    libraries: Path | None = None
    stub: Path | None = None  # of the running Python; None when `backends` is complete

    @classmethod
    def find(cls) -> "Triton":
        """The one installed in the folder that TRITONSERVER_HOME names, else the wheel's; LaunchError without."""
        home = os.environ.get(TRITONSERVER_HOME)
        return cls.of_home(Path(home)) if home else cls.of_wheel()

    @classmethod
    def of_home(cls, home: Path) -> "Triton":
        """The one in `home`, laid out as in NVIDIA's image, with a C++ onnxruntime backend of its own."""
        triton = cls(home / "bin" / "tritonserver", home / "backends")
        needed = [triton.tritonserver, *(triton.backends / name for name in ("python", "onnxruntime"))]
        missing = [str(path) for path in needed if not path.exists()]
        if missing:
            raise LaunchError(
                f"{TRITONSERVER_HOME} is {home}, which lacks {', '.join(missing)}: name a whole tritonserver."
            )
        return triton

    @classmethod
    def of_wheel(cls) -> "Triton":
        """The installed wheel's, for the running Python."""
        spec = importlib.util.find_spec("pytriton")
        if spec is None or not spec.submodule_search_locations:
            raise LaunchError("tritonserver is not installed: run `make setup` (package nvidia-pytriton).")
        package = Path(spec.submodule_search_locations[0])
        root = package / "tritonserver"
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = root / "python_backend_stubs" / minor / "triton_python_backend_stub"
        libraries = package.parent / "nvidia_pytriton.libs"
        triton = cls(root / "bin" / "tritonserver", root / "backends", libraries, stub)
        if not triton.tritonserver.is_file():
            raise LaunchError(f"the nvidia-pytriton package holds no {triton.tritonserver}: install it again.")
        if not stub.is_file():
            stubs = sorted(stub.name for stub in stub.parents[1].iterdir())
            known = ", ".join(stubs)
            raise LaunchError(f"this tritonserver has no stub for Python {minor}; use one of {known}.")
        return triton


def assemble(folder: Path, triton: Triton) -> Path:
    """The backend folder to serve from: the wheel's is put together in `folder`, with `lib/` (libpython) beside it."""
    if triton.stub is None:
        return triton.backends
    # Copies: Triton refuses a backend that a link leads out of the backend folder.
    backends = folder / "backends"
    shutil.copytree(triton.backends / "python", backends / "python", ignore=shutil.ignore_patterns("__pycache__"))
    (backends / "onnxruntime").mkdir()
    shutil.copy(ONNX_BACKEND, backends / "onnxruntime")
    stub = backends / "python" / triton.stub.name
    shutil.copyfile(triton.stub, stub)
    stub.chmod(0o755)
    libraries = folder / "lib"
    libraries.mkdir()
    libpython = find_libpython()
    if libpython is not None:
        (libraries / libpython.name).symlink_to(libpython)
    return backends


def environment(folder: Path, triton: Triton) -> dict[str, str]:
    """The environment of tritonserver and its stubs; thread counts that the caller has set stay."""
    cores = str(len(os.sched_getaffinity(0)))
    defaults = {
        "OMP_NUM_THREADS": cores,
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",  # numpy in many light processes: a pool in each would only be in the way
        "TOKENIZERS_PARALLELISM": "false",
    }
    ours = [triton.libraries, folder / "lib"] if triton.libraries else []
    libraries = [*map(str, ours), os.environ.get("LD_LIBRARY_PATH", "")]
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


def quickest_config() -> str | None:
    """The launcher's `config` for this machine's processor: openvino where that computes in bf16."""
    abilities = set(Path("/proc/cpuinfo").read_text().split())
    bf16 = abilities & {"amx_bf16", "avx512_bf16"}
    return "openvino" if bf16 and importlib.util.find_spec("openvino") is not None else None
