"""A request for which there is no memory."""

import resource

import psutil
import pytest
from PIL import Image
from recast import Client, Overloaded

from serving.launcher.processes import stubs

ROOM = 64 << 20


@pytest.fixture
def tight(server):
    """The mask step's processes may grow by ROOM bytes and no more."""
    pids = [stub.pid for stub in stubs(server.pid) if stub.model == "mask"]
    former = {pid: resource.prlimit(pid, resource.RLIMIT_AS) for pid in pids}
    for pid, (_, hard) in former.items():
        resource.prlimit(pid, resource.RLIMIT_AS, (psutil.Process(pid).memory_info().vms + ROOM, hard))
    yield
    for pid, limits in former.items():
        resource.prlimit(pid, resource.RLIMIT_AS, limits)


def test_no_memory_for_one_request_overloaded(server, scenes, tight):
    picture, name = scenes[0]
    with Client(server.grpc_url, retries=0) as client:
        with pytest.raises(Overloaded, match="no memory"):
            client.mask(Image.new("RGB", (7000, 7000), "grey"), name)
        assert client.mask(picture, name).mask_score > 0
