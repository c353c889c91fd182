"""What is found to stop a launch before it begins."""

import pytest

from serving.launcher import preflight
from serving.launcher.preflight import LaunchError
from tests.conftest import REPOSITORY


def test_a_missing_shared_libpython_names_the_package(monkeypatch):
    monkeypatch.setattr(preflight, "libpython_name", lambda: "libpython3.99.so.1.0")
    with pytest.raises(LaunchError, match=r"libpython3\.99\.so\.1\.0 .* apt-get install libpython3\.\d+"):
        preflight.check_libpython()


@pytest.mark.parametrize("found", [("glibc", "2.31"), ("", "")])
def test_an_old_or_other_c_library_is_named(monkeypatch, found):
    monkeypatch.setattr(preflight.platform, "libc_ver", lambda: found)
    with pytest.raises(LaunchError, match=r"needs glibc 2\.35"):
        preflight.check_glibc()


def test_numpy_2_is_refused(monkeypatch):
    monkeypatch.setattr(preflight.importlib.metadata, "version", lambda name: "2.4.0")
    with pytest.raises(LaunchError, match=r"numpy below 2 and finds 2\.4\.0"):
        preflight.check_numpy()


def test_an_unknown_configuration_is_refused_with_the_known_ones():
    with pytest.raises(LaunchError, match=r"no model of .* has a configuration 'gpu'; known are cuda, openvino"):
        preflight.check_repository(REPOSITORY, "replace", "gpu")
