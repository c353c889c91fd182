"""Where the command writes: what it replaces, what it refuses before the call, and what becomes of a failed write."""

import errno
import io
import json
import os
import threading

import grpc
import pytest
from PIL import Image
from recast import safe_write
from recast.cli import main
from recast.output_files import UsageError, beside, check_outputs, kind_of
from recast.safe_write import write

from tests.unit.client_answers import SENTENCE, answer, blob


def jpeg(**options):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (1, 2, 3)).save(file, **{"format": "JPEG", **options})
    return file.getvalue()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "format", "written"),
    [
        ("photo.jpg", "JPEG", "photo-edited.jpg"),
        ("photo.JPEG", "JPEG", "photo-edited.JPEG"),
        ("photo.jfif", "JPEG", "photo-edited.jpg"),
        ("photo", "JPEG", "photo-edited.jpg"),
        ("photo.webp", "WEBP", "photo-edited.webp"),
        ("photo.png", "PNG", "photo-edited.png"),
        ("wrong.jpg", "PNG", "wrong-edited.png"),
        ("wrong.png", "JPEG", "wrong-edited.jpg"),
    ],
)
def test_a_jpeg_stays_a_jpeg_when_no_name_is_given(recast, scripted_server, street, name, format, written):
    scripted_server.script = [answer(street)]
    (street.parent / name).write_bytes(jpeg(format=format))
    assert recast("edit", street.parent / name, SENTENCE)[0] == 0
    assert Image.open(street.parent / written).format == format
    assert recast("mask", street.parent / name, "car")[0] == 0
    assert beside(street.parent / name, "mask").suffix == ".png"


def test_a_default_output_that_exists_is_replaced_only_with_force(recast, scripted_server, street):
    scripted_server.script = [answer(street)]
    for words, old in [
        (("edit", street, SENTENCE), street.with_name("street-edited.png")),
        (("edit", street, SENTENCE, "--num-images", 2), street.with_name("street-edited-2.png")),
        (("mask", street, "car"), street.with_name("street-mask.png")),
    ]:
        old.write_bytes(b"precious")
        before = len(scripted_server.calls)
        code, _, err = recast(*words)
        assert code == 2
        assert "exists; replace it with --force, or name another file with -o" in err
        assert (old.read_bytes(), len(scripted_server.calls)) == (b"precious", before)
        scripted_server.script = [answer(street, count=2 if "--num-images" in words else 1)]
        scripted_server.calls.clear()
        assert recast(*words, "--force")[0] == 0
        assert old.read_bytes() != b"precious"


def test_an_output_named_by_o_is_replaced_and_a_new_one_of_the_meantime_is_not(recast, scripted_server, street):
    named, default = street.with_name("named.png"), street.with_name("street-edited.png")
    named.write_bytes(b"old")

    def meanwhile(model, inputs):
        default.write_bytes(b"another's")
        return answer(street)

    scripted_server.script = [meanwhile]
    assert recast("edit", street, SENTENCE, "-o", named)[0] == 0
    assert named.read_bytes() == street.read_bytes()
    default.unlink()
    code, out, _ = recast("edit", street, SENTENCE, "--json")
    document = json.loads(out)
    assert (code, document["error"], default.read_bytes()) == (1, "not_saved", b"another's")
    with open(document["pictures"][0], "rb") as kept:
        assert kept.read() == street.read_bytes()
    os.unlink(document["pictures"][0])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, number, call):
    file = tmp_path / "out.png"
    file.write_bytes(b"old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        write(b"new", file, replace=True)
    assert (file.read_bytes(), files(tmp_path)) == (b"old", ["out.png"])


def test_a_picture_without_room_is_kept_elsewhere(recast, scripted_server, street, monkeypatch, tmp_path):
    scripted_server.script = [answer(street, count=2)]
    (tmp_path / "spare").mkdir()
    monkeypatch.setattr(safe_write, "_temporary", lambda: str(tmp_path / "spare"))
    beside_it = safe_write._write_beside

    def full(data, target, *, replace):
        if "spare" not in str(target) and "-1" in target.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        beside_it(data, target, replace=replace)

    monkeypatch.setattr(safe_write, "_write_beside", full)
    words = ("edit", street, SENTENCE, "--num-images", 2, "-o", tmp_path / "o.png", "--mask-out", tmp_path / "m.png")
    code, out, err = recast(*words)
    (spare,) = (tmp_path / "spare").iterdir()
    assert (code, out) == (1, "")
    assert err == f"recast: cannot write {tmp_path / 'o-1.png'}: No space left on device; it is in {spare} instead.\n"
    assert spare.read_bytes() == street.read_bytes()
    assert files(tmp_path) == ["m.png", "o-2.png", "spare", "street.png"]


def test_a_picture_that_pillow_cannot_convert_is_kept_as_it_came(
    recast, scripted_server, street, monkeypatch, tmp_path
):
    scripted_server.script = [{**answer(street), "edited_image": blob(b"no PNG")}]
    monkeypatch.setattr(safe_write, "_temporary", lambda: str(tmp_path))
    code, out, _ = recast("edit", street, SENTENCE, "-o", tmp_path / "o.webp", "--json")
    assert code == 1
    with open(json.loads(out)["pictures"][0], "rb") as kept:
        assert kept.read() == b"no PNG"


def test_permissions_and_links_stay(tmp_path):
    real, link, fresh = tmp_path / "real.png", tmp_path / "link.png", tmp_path / "fresh.png"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to("real.png")
    write(b"new", link, replace=True)
    assert link.is_symlink()
    assert (real.read_bytes(), real.stat().st_mode & 0o777) == (b"new", 0o640)
    mask = os.umask(0o027)
    try:
        write(b"new", fresh, replace=False)
    finally:
        os.umask(mask)
    assert fresh.stat().st_mode & 0o777 == 0o640
    with pytest.raises(FileExistsError):
        write(b"other", fresh, replace=False)
    assert files(tmp_path) == ["fresh.png", "link.png", "real.png"]


def test_a_mounted_file_is_written_where_it_is(tmp_path, monkeypatch):
    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    (tmp_path / "out.png").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", busy)
    write(b"new", tmp_path / "out.png", replace=True)
    assert ((tmp_path / "out.png").read_bytes(), files(tmp_path)) == (b"new", ["out.png"])


def test_a_pipe_by_name_is_written_directly(recast, scripted_server, street, tmp_path):
    scripted_server.script = [answer(street)]
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    assert recast("edit", street, SENTENCE, "-o", pipe)[0] == 0
    reader.join(10)
    assert read == [street.read_bytes()]
    assert pipe.is_fifo()


@pytest.mark.parametrize("output", ["folder.png", "x" * 300 + ".png", "loop.png", "file.txt/out.png", "gone.png/o.png"])
def test_outputs_that_cannot_be_written_are_refused_before_the_call(tmp_path, output):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.txt").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(UsageError):
        check_outputs(None, [tmp_path / output])


def test_kinds_by_content():
    assert [kind_of(jpeg(format=kind)) for kind in ("JPEG", "WEBP", "PNG", "GIF")] == ["JPEG", "WEBP", "PNG", "PNG"]
    assert kind_of(b"") == "PNG"


@pytest.mark.parametrize("seconds", ["inf", "0", "-1", "nan", "1e300", "soon", "", "1e7"])
def test_a_timeout_that_cannot_be(recast, scripted_server, seconds):
    code, _, err = recast("parse", SENTENCE, f"--timeout={seconds}")
    assert code == 2
    assert "--timeout" in err
    assert "number of seconds above 0" in err
    assert scripted_server.calls == []


@pytest.mark.parametrize(
    ("option", "server_says", "shown"),
    [
        ("--steps", "num_inference_steps is 0; send a whole number from 1 to 100.", "--steps is 0;"),
        ("--guidance", "guidance_scale is nan; send a number from 0 to 30.", "--guidance is nan;"),
        ("--strength", "strength is 2; send a number above 0, up to 1.", "--strength is 2;"),
        ("--num-images", "num_images is 9; send a whole number from 1 to 8.", "--num-images is 9;"),
        ("--seed", "seed is -1; send a whole number from 0 to 9.", "--seed is -1;"),
    ],
)
def test_options_are_called_as_the_user_knows_them(recast, scripted_server, fault, street, option, server_says, shown):
    scripted_server.script = [fault(grpc.StatusCode.INVALID_ARGUMENT, f"invalid_option: {server_says}")]
    code, _, err = recast("edit", street, SENTENCE, option, 1)
    assert code == 2
    assert f"recast: {shown}" in err
    assert main(["edit", str(street), SENTENCE, "--num-images", "1000000000", "--json"]) == 2  # asks the server at once
