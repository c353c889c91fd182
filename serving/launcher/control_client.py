"""The launcher's own way into its server: Triton's HTTP, which is on this machine without TLS, with the admin key."""

import base64
import http.client
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from serving.launcher.security import ADMIN_HEADER
from serving.releases.control import LOAD_TIMEOUT

CALL_TIMEOUT = 10.0  # seconds
_HEADER_LENGTH = "Inference-Header-Content-Length"


class CallError(Exception):
    """A call failed: the server's message, and the HTTP `status` it answered with, None when no answer came."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.message = message
        self.status = status


@dataclass(frozen=True)
class ControlClient:
    """Calls of the server at `url`, host:port of its HTTP. Any thread may use it; a call is a connection.

    Every method but `ready` and `live` raises CallError. Timeouts are seconds without a byte from the server.
    """

    url: str
    admin_key: str
    probe_id: str
    """The request id of its inferences, by which the steps know them."""

    def load(
        self,
        model: str,
        config: str | None = None,
        files: dict[str, bytes] | None = None,
        *,
        timeout: float = LOAD_TIMEOUT,
    ) -> None:
        """Load `model`, or load it again; returns when it serves.

        `config` is a JSON text in place of its config.pbtxt; `files`, by path such as "1/model.onnx", then are all of
        its files.
        """
        parameters: dict[str, str] = {} if config is None else {"config": config}
        for path, content in (files or {}).items():
            parameters[f"file:{path}"] = base64.b64encode(content).decode()
        self._post(f"/v2/repository/models/{model}/load", {"parameters": parameters}, timeout)

    def unload(self, model: str, *, timeout: float = LOAD_TIMEOUT) -> None:
        """Take `model` away; it ends when the requests in flight have."""
        self._post(f"/v2/repository/models/{model}/unload", {}, timeout)

    def ready(self, model: str, version: int | None = None, *, timeout: float = CALL_TIMEOUT) -> bool:
        """Whether the server says that `model`, some version or that one, takes requests."""
        try:
            self._call("GET", f"{_path(model, version)}/ready", timeout)
        except CallError:
            return False
        return True

    def live(self, *, timeout: float = CALL_TIMEOUT) -> bool:
        """Whether the server answers at all."""
        try:
            self._call("GET", "/v2/health/live", timeout)
        except CallError:
            return False
        return True

    def states(self) -> dict[str, dict[str, str]]:
        """By model and version READY, LOADING, UNLOADING or UNAVAILABLE: of those that were ever loaded."""
        states: dict[str, dict[str, str]] = {}
        for entry in json.loads(self._post("/v2/repository/index", {}, CALL_TIMEOUT)):
            if "state" in entry:
                states.setdefault(entry["name"], {})[entry["version"]] = entry["state"]
        return states

    def successes(self) -> dict[str, int]:
        """How many inferences of each model succeeded since it was loaded, all versions together."""
        content, _ = self._call("GET", "/v2/models/stats", CALL_TIMEOUT)
        counts: dict[str, int] = {}
        for entry in json.loads(content)["model_stats"]:
            count = entry["inference_stats"]["success"]["count"]
            counts[entry["name"]] = counts.get(entry["name"], 0) + count
        return counts

    def infer(
        self,
        model: str,
        inputs: dict[str, np.ndarray],
        timeout: float,
        *,
        version: int | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs of one inference by name; arrays carry the batch axis, objects of bytes are BYTES."""
        contents = {name: _content(array) for name, array in inputs.items()}
        head = {
            "id": self.probe_id,
            "inputs": [
                {
                    "name": name,
                    "shape": list(array.shape),
                    "datatype": np_to_triton_dtype(array.dtype),
                    "parameters": {"binary_data_size": len(contents[name])},
                }
                for name, array in inputs.items()
            ],
            "parameters": {"binary_data_output": True},
        }
        encoded = json.dumps(head).encode()
        body = b"".join([encoded, *contents.values()])
        answer, length = self._call(
            "POST", f"{_path(model, version)}/infer", timeout, body, {_HEADER_LENGTH: str(len(encoded))}
        )
        return _outputs(answer, int(length or len(answer)))

    def _post(self, path: str, document: dict[str, Any], timeout: float) -> bytes:
        return self._call("POST", path, timeout, json.dumps(document).encode())[0]

    def _call(
        self, method: str, path: str, timeout: float, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[bytes, str | None]:
        """The answer's body and the length of its inference header."""
        connection = http.client.HTTPConnection(self.url, timeout=timeout)
        try:
            connection.request(method, path, body, {ADMIN_HEADER: self.admin_key, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CallError(f"no answer from the server at {self.url}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise CallError(_message(content), answer.status)
        return content, answer.getheader(_HEADER_LENGTH)


def _path(model: str, version: int | None) -> str:
    return f"/v2/models/{model}" + ("" if version is None else f"/versions/{version}")


def _content(array: np.ndarray) -> bytes:
    if array.dtype != np.object_:
        return np.ascontiguousarray(array).tobytes()
    return bytes(serialize_byte_tensor(array).item())


def _outputs(answer: bytes, length: int) -> dict[str, np.ndarray]:
    outputs, place = {}, length
    for output in json.loads(answer[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        content = answer[place : place + size]
        place += size
        if output["datatype"] == "BYTES":
            array = deserialize_bytes_tensor(content)
        else:
            array = np.frombuffer(content, triton_to_np_dtype(output["datatype"]))
        outputs[output["name"]] = array.reshape(output["shape"])
    return outputs


def _message(content: bytes) -> str:
    """What Triton says in an answer that is not 200: a JSON document with `error`, or nothing."""
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace") or "refused without a message"
