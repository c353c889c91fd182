"""Both images built for real, and the CPU one's server used: `python -m benchmarks.image_check`, or `make image-check`.

Builds with Debian's buildah, as root, without a daemon and without a registry of images: what a Dockerfile is FROM is
made by debootstrap. The CPU image's server is started as the image says, with the exported release mounted; the client
edits a picture from outside, the image's own health check runs inside, and SIGTERM must end it with status 0. Of the
GPU image all is built that does not need NVIDIA's base, on a stand-in for it. Writes benchmarks/results/image.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from recast import Client, RecastError

from benchmarks.machine import machine

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build/image"
RESULTS = ROOT / "benchmarks/results"
PICTURE, SENTENCE = ROOT / "docker/health.png", "Replace the car with a bicycle"
BASES = {
    "cpu": ("docker.io/library/python:3.11-slim-bookworm", ("python3.11", "libpython3.11", "python3-pip")),
    "gpu": ("localhost/tritonserver:stand-in", ("python3", "libpython3.11")),
}
"""By image: what its Dockerfile is FROM, and the Debian packages that stand in for what that base holds."""
NEEDED = ("buildah", "debootstrap")
READY_WITHIN, STOP_WITHIN = 600.0, 60.0


@dataclass
class Row:
    """One thing that was checked, what came of it, and whether that is well."""

    what: str
    outcome: str
    well: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--keep", action="store_true", help="leave the images and the base in build/image/")
    options = parser.parse_args()
    missing = [name for name in NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing or os.geteuid() != 0:
        parser.error(f"run it as root, with Debian's packages {' and '.join(NEEDED)}")
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        rows = [*check_cpu(), *check_gpu()]
    finally:
        if not options.keep:
            shutil.rmtree(WORK, ignore_errors=True)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "image.md").write_text(page(rows) + "\n")
    print(page(rows))
    return 0 if all(row.well for row in rows) else 1


def check_cpu() -> Iterator[Row]:
    """Build the image, then use its server from the start to the end."""
    build = built("cpu")
    yield build
    if not build.well:
        return
    image = inspected("recast:cpu")
    user = image["config"].get("User", "")
    yield Row("user that the image names", user, user.split(":")[0] not in ("", "0", "root"))
    with container("recast:cpu") as name:
        yield from check_server(name, user, image)


def check_server(name: str, user: str, image: dict[str, Any]) -> Iterator[Row]:
    """Start the image's command in the container `name`, edit, ask its health check, and stop it."""
    started = time.monotonic()
    with (WORK / "server.log").open("w") as log:
        command = run_command(name, user, image["config"]["Cmd"])
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        ready = wait_ready(process)
        said = f"after {time.monotonic() - started:.1f} s" if ready else (WORK / "server.log").read_text()[-500:]
        yield Row("ready to edit", said, ready)
        if not ready:
            return
        owner = launcher(process).uids().real
        yield Row("user id of its processes", str(owner), str(owner) == user.split(":")[0])
        yield edited_from_outside()
        yield health_checked(name, user, image)
        yield stopped(process)
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.wait()


def check_gpu() -> Iterator[Row]:
    """Build the GPU image on its stand-in, and import all that its steps do."""
    build = built("gpu")
    yield build
    if not build.well:
        return
    with container("recast:gpu") as name:
        steps = ("parse", "mask", "inpaint", "replace_stream", "admit")
        code = f"import {', '.join(f'serving.steps.{step}' for step in steps)}, serving.launcher.cli, recast"
        done = subprocess.run(run_command(name, "1000:1000", ["python3", "-c", code]), capture_output=True, text=True)
        said = "all" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
        yield Row("what its steps, launcher and command import, is there", said, done.returncode == 0)


def built(kind: str) -> Row:
    """The image `recast:KIND`, built from docker/Dockerfile.KIND."""
    base, packages = BASES[kind]
    make_base(base, packages)
    text = (ROOT / f"docker/Dockerfile.{kind}").read_text()
    # Debian's buildah is older than these two, which this build does not need.
    text = re.sub(r"\$\{TRITON_IMAGE:\?[^}]*\}", "${TRITON_IMAGE}", text.replace("--start-interval=5s ", ""))
    (WORK / f"Dockerfile.{kind}").write_text(text)
    arguments = [] if kind == "cpu" else [f"--build-arg=TRITON_IMAGE={base}"]
    started = time.monotonic()
    with (WORK / f"build-{kind}.log").open("w") as log:
        command = [*BUILDAH, "build", *ISOLATION, "--pull-never", "--format=docker", f"--file={WORK}/Dockerfile.{kind}",
                   *index_options(), *arguments, f"--tag=recast:{kind}", str(ROOT)]  # fmt: skip
        status = subprocess.run(command, stdout=log, stderr=log).returncode
    if status != 0:
        return Row(f"Dockerfile.{kind} builds", (WORK / f"build-{kind}.log").read_text()[-500:], False)
    gigabytes = int(buildah("images", "--json", f"recast:{kind}", as_json=True)[0].get("size_bytes", 0)) / 1e9
    size = f", {gigabytes:.1f} GB" if gigabytes else ""
    return Row(f"Dockerfile.{kind} builds", f"in {time.monotonic() - started:.0f} s{size}", True)


def make_base(name: str, packages: Sequence[str]) -> None:
    """A base image of that name: Debian with `packages`, whose python3 and pip may be used as in Docker's images."""
    folder = WORK / "root"
    shutil.rmtree(folder, ignore_errors=True)
    included = ",".join((*packages, "ca-certificates"))
    command = ["debootstrap", "--variant=minbase", f"--include={included}", "bookworm", str(folder)]
    with (WORK / "debootstrap.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    for marker in folder.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    with container("scratch") as made:
        buildah("copy", made, str(folder), "/")
        buildah("commit", made, name)
    shutil.rmtree(folder)


def index_options() -> list[str]:
    """Mounts that let the build's pip reach the package index as this machine's does: what its configuration names."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "debug"], capture_output=True, text=True).stdout
    files = [line.split(", exists: True")[0].strip() for line in listed.splitlines() if ", exists: True" in line]
    # An index in a folder has its files beside "simple".
    named = [word.removesuffix("/simple") for word in listed.replace("file://", " ").split() if word.startswith("/")]
    mounted = {Path(path) for path in (*files, *named, "/etc/resolv.conf") if Path(path).exists()}
    return [f"--volume={path}:{path}:ro" for path in sorted(mounted)]


def run_command(name: str, user: str, command: Sequence[str]) -> list[str]:
    """What runs `command` in the container `name` as its user, the model repository mounted read-only."""
    models = f"--volume={ROOT}/model_repository:/models:ro"
    return [*BUILDAH, "run", *ISOLATION, f"--user={user}", models, name, "--", *command]


def wait_ready(process: subprocess.Popen) -> bool:
    """Whether the server says within READY_WITHIN seconds that it takes edits."""
    deadline = time.monotonic() + READY_WITHIN
    with Client("127.0.0.1:8001", timeout=5, retries=0) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.status().ready and "recast: ready" in (WORK / "server.log").read_text():
                    return True
            except RecastError:
                pass
            time.sleep(0.5)
    return False


def edited_from_outside() -> Row:
    started = time.monotonic()
    with Client("127.0.0.1:8001") as client:
        edit = client.replace(PICTURE, SENTENCE, seed=1)
    difference = edit.report["background_difference"]
    said = f"'{edit.target}' became '{edit.replacement}' in {time.monotonic() - started:.2f} s"
    return Row("an edit from outside", said, difference == 0)


def health_checked(name: str, user: str, image: dict[str, Any]) -> Row:
    _, command = image["config"]["Healthcheck"]["Test"]
    done = subprocess.run(run_command(name, user, ["sh", "-c", command]), capture_output=True, text=True)
    return Row("its own health check", f"status {done.returncode}", done.returncode == 0)


def stopped(process: subprocess.Popen) -> Row:
    started = time.monotonic()
    launcher(process).send_signal(signal.SIGTERM)
    try:
        status = process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        return Row("stops on SIGTERM", f"not within {STOP_WITHIN:.0f} s", False)
    return Row("stops on SIGTERM", f"status {status} after {time.monotonic() - started:.1f} s", status == 0)


def launcher(process: subprocess.Popen) -> psutil.Process:
    """`python3 -m serving` below `process`."""
    found = [each for each in psutil.Process(process.pid).children(recursive=True) if each.name().startswith("python3")]
    return found[0]


BUILDAH = ("buildah", "--storage-driver=vfs", f"--root={WORK}/storage", f"--runroot={WORK}/run")
ISOLATION = ("--isolation=chroot",)


def buildah(*words: str, as_json: bool = False) -> Any:
    """What a command of buildah's says."""
    said = subprocess.run([*BUILDAH, *words], check=True, capture_output=True, text=True).stdout
    return json.loads(said) if as_json else said.strip()


@contextmanager
def container(image: str) -> Iterator[str]:
    """The name of a container made from `image`, for as long as the block lasts."""
    name = buildah("from", "--pull-never", image)
    try:
        yield name
    finally:
        buildah("rm", name)


def inspected(image: str) -> dict[str, Any]:
    """The image's configuration as Docker writes it, with what its health check runs."""
    return json.loads(buildah("inspect", "--type=image", image, as_json=True)["Config"])


def page(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    table = [f"| {row.what} | {row.outcome} | {'yes' if row.well else '**no**'} |" for row in rows]
    return "\n".join(
        [f"On {machine()}, built by buildah without a daemon:", "", "| | | well |", "|---|---|---|", *table]
    )


if __name__ == "__main__":
    sys.exit(main())
