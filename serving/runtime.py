"""What tritonserver needs to run from the wheel: its parts, the backend folder, the environment."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

GLIBC_NEEDED = (2, 35)
OUR_BACKENDS = Path(__file__).parent / "backends"


class LaunchError(Exception):
    """The server could not start or broke off; the message says why and what to do."""


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
            raise LaunchError("tritonserver is not installed: run `make install` (package nvidia-pytriton).")
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


def check_glibc() -> None:
    """LaunchError when the C library is not the glibc that the wheel was built for, or is older."""
    name, version = platform.libc_ver()
    needed = ".".join(map(str, GLIBC_NEEDED))
    if name != "glibc" or tuple(map(int, version.split(".")[:2])) < GLIBC_NEEDED:
        found = f"{name} {version}".strip() or "another C library"
        raise LaunchError(
            f"tritonserver needs glibc {needed} or newer and this machine has {found}: "
            "use Debian 12, Ubuntu 22.04 or later, or the container."
        )


def check_numpy() -> None:
    """LaunchError for numpy 2: this tritonserver's stubs hand it empty tensors, while all looks healthy."""
    version = importlib.metadata.version("numpy")
    if int(version.split(".")[0]) >= 2:
        raise LaunchError(f"tritonserver 2.51 needs numpy below 2 and finds {version}: run `make install`.")


def find_libpython() -> Path | None:
    """The shared library of the running Python beside its own installation; None leaves it to the loader.

    The stub links it. Interpreters of pyenv, uv and conda keep theirs outside the loader's path.
    """
    folder, name = sysconfig.get_config_var("LIBDIR"), libpython_name()
    library = Path(folder or "", name)
    return library if library.is_file() else None


def libpython_name() -> str:
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def check_libpython() -> None:
    """LaunchError naming the package to install when no shared libpython can be found."""
    if find_libpython() is not None or _loader_finds(libpython_name()):
        return
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise LaunchError(
        f"tritonserver's Python models need {libpython_name()} and this machine has none: "
        f"install it (Debian and Ubuntu: apt-get install libpython{minor}; python3-dev brings it too), "
        "or use a Python built with --enable-shared."
    )


def _loader_finds(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


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


def check_machine() -> None:
    """LaunchError with what this machine or environment lacks to run tritonserver."""
    check_glibc()
    check_libpython()
    check_numpy()
