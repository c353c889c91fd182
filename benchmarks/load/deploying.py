"""Releases that come and go while a server is loaded."""

from __future__ import annotations

import threading
from pathlib import Path

from recast import Client, Credentials, RecastError

from benchmarks.second import copied
from serving.launcher.server import RunningServer
from serving.releases.deploy import Releases
from serving.releases.errors import ReleaseError


class Deployments:
    """While the context is open, every `seconds` release 2 of inpaint is deployed or, the next time, rolled back.

    Release 2 is a copy of release 1, made in the server's own `repository`. The first deployment and its rollback are
    made before the context opens: a server keeps what both need. `done` counts, `refused` holds what went wrong.
    """

    def __init__(self, server: RunningServer, repository: Path, seconds: float) -> None:
        self.seconds, self.done, self.refused = seconds, 0, list[str]()
        self._client = Client(server.grpc_url, credentials=Credentials(admin_key=server.admin_key))
        self._releases = Releases(repository, self._client.control, lambda _: None)
        copied(repository, "inpaint", 2)
        self._swap(2)
        self._swap(1)

    def __enter__(self) -> Deployments:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._end.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        number = 2
        while not self._end.wait(self.seconds):
            try:
                self._swap(number)
                self.done += 1
            except (RecastError, ReleaseError) as error:
                self.refused.append(str(error))
            number = 3 - number

    def _swap(self, number: int) -> None:
        if number == 2:
            self._releases.deploy(2, ["inpaint"])
        else:
            self._releases.rollback(["inpaint"])
