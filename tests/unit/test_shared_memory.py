"""Shared memory of launchers, dead and alive."""

import os
import subprocess
import sys

from serving.launcher.shared_memory import Regions, sweep


def test_only_what_dead_launchers_left_is_swept(tmp_path):
    alive = Regions(tmp_path)
    ours = tmp_path / f"{alive.prefix}region"
    ours.touch()
    code = "import sys, pathlib, serving.launcher.shared_memory as l\n"
    code += "r = l.Regions(pathlib.Path(sys.argv[1]))\nprint(r.prefix)"
    prefix = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True).strip()
    (tmp_path / f"{prefix}region").touch()
    other = tmp_path / "of something else"
    other.touch()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {ours.name, f"{alive.prefix[:-1]}.lock", other.name}
    alive.close()
    assert list(tmp_path.iterdir()) == [other]


def test_a_child_holds_the_lock_of_a_launcher_that_died(tmp_path):
    launcher = Regions(tmp_path)
    (tmp_path / f"{launcher.prefix}region").touch()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[launcher.descriptor])
    os.close(launcher.descriptor)  # as the kernel does when the launcher is killed
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    child.communicate(b"\n")
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())
