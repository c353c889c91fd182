"""The command's standard input, output and error, as processes: closed, full, piped, or unable to show a letter."""

import errno
import io
import json
import os
import subprocess
import sys

import pytest
from PIL import Image
from recast import standard_streams

from tests.unit.client_answers import SENTENCE, answer, blob

RECAST = [sys.executable, "-m", "recast"]


@pytest.fixture
def run(scripted_server, street):
    """Runs the command as a shell does, with `after` for redirections; its exit code, stdout and stderr."""
    scripted_server.script = [answer(street)]

    def run(*words, before="", after="", stdin=b"", **environment):
        done = subprocess.run(
            ["sh", "-c", f'{before} "$@" {after}', "sh", *RECAST, *words],
            cwd=street.parent,
            env={**os.environ, "RECAST_URL": scripted_server.grpc_url, "TMPDIR": str(street.parent), **environment},
            input=stdin,
            capture_output=True,
            timeout=60,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        assert b"Exception ignored" not in done.stderr, done.stderr.decode()
        return done.returncode, done.stdout, done.stderr.decode(errors="surrogateescape")

    return run


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("words", [["edit", "street.png", SENTENCE], ["parse", SENTENCE], ["status"], ["--help"]])
@pytest.mark.parametrize("after", [">&-", "| true", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_nobody_reads_what_is_told(run, street, words, after):
    code, _, _ = run(*words, after=after)
    assert code == 0
    if words[0] == "edit":
        assert (street.parent / "street-edited.png").read_bytes() == street.read_bytes()


@pytest.mark.parametrize("words", [["edit", "street.png", SENTENCE], ["parse", SENTENCE, "--json"], ["status"]])
def test_a_full_disk_under_the_output_is_told_and_the_work_is_kept(run, street, words):
    code, _, err = run(*words, after="> /dev/full")
    assert code == 1
    assert "cannot write to standard output: No space left on device." in err
    if "--json" in words:
        assert json.loads(err)["error"] == "not_told"
    if words[0] == "edit":
        assert (street.parent / "street-edited.png").read_bytes() == street.read_bytes()


def test_a_full_disk_under_the_errors_keeps_the_exit_code(run):
    assert run("edit", "nowhere.png", SENTENCE, after="2> /dev/full")[0] == 2
    assert run("parse", SENTENCE, after="2> /dev/full")[0] == 0


@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-8:strict", "latin-1:strict"])
def test_what_the_output_cannot_show_is_escaped(run, street, scripted_server, encoding):
    scripted_server.script = [{**answer(street), "replacement": blob("🚲 żółw".encode())}]
    odd = os.fsdecode("straße-🚗-\udcff".encode(errors="surrogateescape"))
    (street.parent / f"{odd}.png").write_bytes(street.read_bytes())
    code, out, err = run("edit", f"{odd}.png", "replace the 🚗", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert (b"\\U0001f6b2" in out) == ("utf" not in encoding)
    assert rb"\udcff-edited.png" in out
    assert f"{odd}-edited.png" in files(street.parent)
    code, out, err = run("edit", f"{odd}.nowhere", "replace the 🚗", PYTHONIOENCODING=encoding)
    assert (code, out) == (2, b"")
    assert "cannot read" in err


def test_a_locale_without_utf8_reads_the_sentence_all_the_same(run, scripted_server):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, _, err = run("parse", "replace the café by a 🚲", **plain)
    assert (code, err) == (0, "")
    assert scripted_server.calls[0][1]["prompt"].item().decode() == "replace the café by a 🚲"


def test_names_that_are_not_utf8_come_back_from_json(run, street):
    odd = os.fsdecode(b"caf\xe9.png")
    (street.parent / odd).write_bytes(street.read_bytes())
    code, out, _ = run("edit", odd, SENTENCE, "--json")
    assert code == 0
    (written,) = json.loads(out)["pictures"]
    assert written == os.fsdecode(b"caf\xe9-edited.png")
    assert (street.parent / written).exists()


@pytest.mark.parametrize("words", [["-", SENTENCE, "-o", "-"], ["-", SENTENCE], ["street.png", SENTENCE, "-o", "-"],
                                   ["/dev/stdin", SENTENCE, "--out", "/dev/stdout"]])  # fmt: skip
def test_a_picture_through_pipes(run, street, scripted_server, words):
    code, out, err = run("edit", *words, stdin=street.read_bytes())
    assert (code, out) == (0, street.read_bytes())
    assert scripted_server.calls[0][1]["image"].item() == street.read_bytes()
    assert "Understood:" in err
    code, out, err = run("edit", *words, "--json", stdin=street.read_bytes())
    assert (code, out) == (0, street.read_bytes())
    assert json.loads(err)["pictures"] == ["-"]
    assert files(street.parent) == ["street.png"]


def test_a_jpeg_stays_one_through_pipes_and_a_mask_is_a_png(run, street):
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG")
    assert Image.open(io.BytesIO(run("edit", "-", SENTENCE, stdin=file.getvalue())[1])).format == "JPEG"
    code, out, _ = run("mask", "-", "car", stdin=file.getvalue())
    assert (code, out) == (0, street.read_bytes() + b"tight")


@pytest.mark.parametrize(
    ("words", "after", "stdin", "why"),
    [
        (["edit", "-", SENTENCE], "", b"", "brought no picture"),
        (["edit", "-", SENTENCE, "-o", "a.png"], "<&-", b"", "brought no picture"),
        (["edit", "-", SENTENCE], ">&-", b"x", "standard output is closed; name a file with -o"),
        (["mask", "street.png", "car", "-o", "-"], ">&-", b"", "standard output is closed; name a file with -o"),
        (["edit", "street.png", SENTENCE, "-o", "-"], "> /dev/full", b"", "No space left on device"),
        (["edit", "-", SENTENCE, "--num-images", "2"], "", b"x", "takes one picture; name a file with -o"),
        (["edit", "-", SENTENCE, "--mask-out", "-"], "", b"x", "another output"),
    ],
)
def test_pipes_that_cannot_work_are_refused_before_the_call(run, scripted_server, words, after, stdin, why):
    code, out, err = run(*words, after=after, stdin=stdin)
    assert (code, out) == (2, b"")
    assert why in err
    code, out, err = run(*words, "--json", after=after, stdin=stdin)
    assert (code, json.loads(out or err)["exit_code"]) == (2, 2)
    assert scripted_server.calls == []


def test_a_picture_that_the_output_does_not_take_is_kept(run, street, scripted_server):
    data = street.read_bytes() + b"\0" * (1 << 20)  # more than a pipe holds
    scripted_server.script = [{**answer(street), "edited_image": blob(data)}]
    _, out, err = run("edit", "street.png", SENTENCE, "-o", "-", "--json", after="| true")
    document = json.loads(err)
    assert (out, document["error"], document["exit_code"]) == (b"", "not_saved", 1)
    (kept,) = document["pictures"]
    assert kept in document["message"]
    with open(kept, "rb") as file:
        assert file.read() == data


def test_a_limit_on_files_keeps_the_old_one(run, street, scripted_server):
    scripted_server.script = [{**answer(street), "edited_image": blob(street.read_bytes() + b"\0" * (1 << 20))}]
    (street.parent / "old.png").write_bytes(b"old")
    code, _, err = run("edit", "street.png", SENTENCE, "-o", "old.png", before="ulimit -f 64;")
    assert code == 1
    assert err == "recast: cannot write old.png: File too large.\n"
    assert (street.parent / "old.png").read_bytes() == b"old"
    assert files(street.parent) == ["old.png", "street.png"]


def test_a_gone_terminal_is_nobody(monkeypatch):
    class Gone(io.StringIO):
        def flush(self):
            raise OSError(errno.EIO, "Input/output error")

    standard_streams.say("told", Gone())
