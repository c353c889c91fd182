"""Certificates for tests, made with the openssl command."""

import subprocess
from pathlib import Path


def authority(folder: Path, name: str) -> Path:
    """`name`.pem, a new certificate authority, with `name`.key beside it."""
    _run(
        folder,
        f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}"
        f" -keyout {name}.key -out {name}.pem",
    )
    return folder / f"{name}.pem"


def signed(folder: Path, name: str, by: str) -> tuple[Path, Path]:
    """`name`.pem, good for 127.0.0.1 and localhost, signed by the authority `by`, and `name`.key."""
    _run(
        folder,
        f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr",
    )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    _run(
        folder,
        f"x509 -req -in {name}.csr -CA {by}.pem -CAkey {by}.key -CAcreateserial -days 2 -extfile names -out {name}.pem",
    )
    return folder / f"{name}.pem", folder / f"{name}.key"


def encrypted(folder: Path, key: str, name: str) -> None:
    """A copy of `key` that needs a password."""
    _run(folder, f"pkey -in {key} -aes256 -passout pass:password -out {name}")


def _run(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
