"""A server that vanishes without a word, as behind a cable that is cut: noticed by the client's own keepalive."""

import socket
import threading

import pytest
import recast
from recast import channel, transport

from tests.unit.client_answers import edit


class Cable:
    """Carries the bytes of one connection at a time to `port` until `cut` is set; then it swallows them."""

    def __init__(self, port: int) -> None:
        self.cut = threading.Event()
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listening]
        self.url = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            self._sockets += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                if not self.cut.is_set():
                    target.sendall(data)
        except OSError:
            pass

    def close(self) -> None:
        for each in self._sockets:
            each.close()


@pytest.fixture
def cable(scripted_server, monkeypatch):
    for module in (channel, transport):
        monkeypatch.setattr(module, "PROMPT_KEEPALIVE", 1)
    monkeypatch.setattr(channel, "KEEPALIVE_TIMEOUT", 1)
    cable = Cable(int(scripted_server.grpc_url.rpartition(":")[2]))
    yield cable
    cable.close()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_server_that_vanishes_is_noticed_long_before_the_deadline(scripted_server, connect, cable, streamed):
    over = threading.Event()

    def answer(model, inputs):
        cable.cut.set()
        over.wait(60)
        return edit()

    scripted_server.script = [answer]
    with connect(cable.url, timeout=60, retries=0) as client:
        ask = (lambda: list(client.replace_stream(b"x", "y"))) if streamed else (lambda: client.replace(b"x", "y"))
        with pytest.raises(recast.Restarting, match="lost"):
            ask()
    over.set()
