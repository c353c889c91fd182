"""What can be known to stop a launch before it begins: the machine, the repository, the ports."""

import ctypes
import importlib.metadata
import platform
import py_compile
import socket
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from serving.releases.errors import BadRelease, ReleaseError
from serving.releases.manifest import PROGRAM
from serving.releases.renewal import renew, renew_admit, stale, stale_admit
from serving.releases.repository import Release, exclusive, placed
from serving.topology import ADMIT, STEPS

GLIBC_NEEDED = (2, 35)
LOCK_PATIENCE = 30.0
"""Seconds to wait for another server, a deployment or an export that has the repository to itself."""


class LaunchError(Exception):
    """The server could not start or broke off; the message says why and what to do."""


def check(repository: Path, ready_model: str, config: str | None) -> None:
    """LaunchError with what prevents that tritonserver serves `repository` here, until `ready_model` is ready."""
    check_machine()
    check_repository(repository, ready_model, config)
    check_releases(repository)


def check_machine() -> None:
    """LaunchError with what this machine or environment lacks to run tritonserver."""
    check_glibc()
    check_libpython()
    check_numpy()


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
        raise LaunchError(f"tritonserver 2.51 needs numpy below 2 and finds {version}: run `make setup`.")


def find_libpython() -> Path | None:
    """The shared library of the running Python beside its own installation; None leaves it to the loader.

    The stub links it. Interpreters of pyenv, uv and conda keep theirs outside the loader's path.
    """
    folders = [sysconfig.get_config_var("LIBDIR") or "/usr/lib", f"{sys.base_prefix}/lib"]
    libraries = [Path(folder, libpython_name()) for folder in folders]
    return next((library for library in libraries if library.is_file()), None)


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


def check_repository(repository: Path, ready_model: str, config: str | None = None) -> None:
    """LaunchError unless every model of `repository` has a version to serve, `ready_model` among them.

    Some model must also have configs/`config`.pbtxt, if one is named.
    """
    models = [repository / name for name in model_names(repository)]
    if not models:
        raise LaunchError(f"{repository} holds no model: name a model repository with --model-repository.")
    if ready_model not in [model.name for model in models]:
        raise LaunchError(f"{repository} holds no model '{ready_model}' to wait for.")
    empty = [model.name for model in models if not any(map(_is_version, model.iterdir()))]
    if empty:
        raise LaunchError(f"{repository} holds no release of {', '.join(empty)}: run `make export`.")
    known = sorted({file.stem for file in repository.glob("*/configs/*.pbtxt")})
    if config is not None and config not in known:
        raise LaunchError(f"no model of {repository} has a configuration '{config}'; known are {', '.join(known)}.")


def check_releases(repository: Path) -> None:
    """LaunchError when a file of a release is not what its manifest says. Reads every byte of those to be loaded.

    What an earlier version wrote, and is whole, is then renewed for this one. A step without a manifest has nothing to
    be checked against: it was not exported, as one that forwards to another pool.
    """
    try:
        for step in STEPS:
            for number in sorted(placed(repository, step)):
                _check_release(Release(repository, step, number))
        if stale_admit(repository):
            with exclusive(repository, patience=LOCK_PATIENCE):
                renew_admit(repository)
            _tell(f"{ADMIT} has the new {PROGRAM}")
    except BadRelease as error:
        why = str(error).removesuffix(".")
        raise LaunchError(f"{why}: export it again, or remove it from {repository}.") from None
    except ReleaseError as error:
        raise LaunchError(str(error)) from None


def _check_release(release: Release) -> None:
    """Verify it, then renew it where it must be, alone: another server may start on the same repository."""
    if not release.has_manifest:
        return
    release.verify()
    if stale(release):
        with exclusive(release.repository, patience=LOCK_PATIENCE):
            models = renew(release)
        _tell(f"release {release.number} of {release.step} has the new {PROGRAM} of {' and '.join(models)}")


def _tell(line: str) -> None:
    print(f"recast: {line}", file=sys.stderr, flush=True)


def model_names(repository: Path) -> list[str]:
    """The models of a repository; hidden folders hold what is not to be loaded."""
    names = (config.parent.name for config in repository.glob("*/config.pbtxt"))
    return sorted(name for name in names if not name.startswith("."))


def compile_steps(repository: Path) -> None:
    """Write each model.py's bytecode now; the stubs, deaf to PYTHONDONTWRITEBYTECODE, would later.

    Triton takes a file that is new in a version's folder for a changed version, which the next load would load again.
    """
    for program in repository.glob("*/[0-9]*/model.py"):
        with suppress(OSError):  # a folder that this user may not write in: neither may the stubs
            py_compile.compile(str(program), quiet=2)


def _is_version(folder: Path) -> bool:
    return folder.name.isdecimal() and folder.is_dir()


def choose_ports(addresses: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, int]:
    """`ports` by protocol with each 0 replaced by one free at its address; LaunchError for one that is taken."""
    sockets, chosen = [], {}
    try:
        for protocol, port in ports.items():
            listener = socket.socket()
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((addresses[protocol], port))
                listener.listen()
            except OSError as error:
                raise LaunchError(
                    f"{addresses[protocol]} port {port} cannot be used ({error.strerror}): stop what uses it "
                    f"or choose another with --{protocol}-port."
                ) from None
            chosen[protocol] = listener.getsockname()[1]
    finally:
        for listener in sockets:
            listener.close()
    return chosen
