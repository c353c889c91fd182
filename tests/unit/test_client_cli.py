"""The command `recast`: arguments, files, lines, JSON and exit codes, against a scripted server."""

import json
import os
import pty
import signal
import subprocess
import sys

import grpc
import numpy as np
import pytest
from PIL import Image
from recast.arguments import parser
from recast.cli import main
from recast.console import Line
from recast.results import Progress

from tests.unit.client_answers import SENTENCE, answer, blob


def test_edit_tells_and_saves(recast, scripted_server, street):
    scripted_server.script = [answer(street)]
    code, out, err = recast("edit", street, SENTENCE)
    assert (code, err) == (0, "")
    assert 'replace "car" with "bicycle" (score 0.98)' in out
    assert "car (score 0.91)" in out
    assert "--seed 5" in out
    assert "parse 0.31 s, mask 0.22 s, inpaint 2.90 s" in out
    assert "street-edited.png" in out
    assert (street.parent / "street-edited.png").read_bytes() == street.read_bytes()


@pytest.mark.parametrize(("score", "attempts", "told"), [
    (0.31, [3], "it may not be right: replace \"car\" with \"bicycle\" (score 0.31 after 3 tries); try another --seed"),
    (0.4, [1, 2], "one of them may not be right"),
    (0.6, [2], None),
    (-1, [1], None),
])  # fmt: skip
def test_a_low_score_is_told(recast, scripted_server, street, score, attempts, told):
    report = blob(json.dumps({"attempts": attempts}).encode())
    scripted_server.script = [
        {**answer(street, count=len(attempts)), "edit_score": np.array([[score]], np.float32), "report": report}
    ]
    code, _, err = recast("edit", street, SENTENCE, "--num-images", len(attempts))
    assert code == 0
    assert (told in err) if told else (err == "")


def test_the_bar_starts_anew_with_each_attempt():
    line, bars = Line("…"), []
    for stage, step, steps in (("mask", 1, 1), ("inpaint", 1, 2), ("inpaint", 2, 2), ("inpaint", 3, 4)):
        line.show(Progress(stage, step, steps))
        bars.append(line.bar)
    assert [bar.count("#") for bar in bars] == [0, 10, 20, 10]
    assert "object found" in bars[0]
    assert bars[2].endswith("] step 2 of 2  ")
    assert bars[3].endswith("] it went wrong, trying again: step 1 of 2  ")


def test_an_intent_that_only_the_server_knows_goes_by_its_name(recast, scripted_server, street):
    scripted_server.script = [{**answer(street), "intent": blob(b"blur"), "replacement": blob(b"")}]
    assert 'Understood: blur "car" (score' in recast("parse", "blur the {car}")[1]


def test_edit_sends_its_options_and_writes_every_file(recast, scripted_server, street, tmp_path):
    scripted_server.script = [answer(street, count=2)]
    out, mask, strip = tmp_path / "o.jpg", tmp_path / "m.png", tmp_path / "s.png"
    options = ["--seed", -5, "--steps", 9, "--guidance", 2.5, "--strength", 0.5]
    options += ["--negative-prompt", "rust", "--num-images", 2, "--max-attempts", 4]
    code, said, _ = recast(
        "edit", street, SENTENCE, "-o", out, *options, "--mask-out", mask, "--strip", strip, "--json"
    )
    inputs = {name: value.item() for name, value in scripted_server.calls[0][1].items()}
    assert inputs == {
        "image": street.read_bytes(),
        "prompt": SENTENCE.encode(),
        "seed": -5,
        "num_inference_steps": 9,
        "guidance_scale": 2.5,
        "strength": 0.5,
        "negative_prompt": b"rust",
        "num_images": 2,
        "max_attempts": 4,
    }
    document = json.loads(said)
    assert code == 0
    assert document["pictures"] == [str(tmp_path / "o-1.jpg"), str(tmp_path / "o-2.jpg")]
    assert document["seeds"] == [5, 6]
    assert document["report"]["milliseconds"]["mask"] == 220
    assert len(document["notes"]) == 2
    assert all(Image.open(path).size == (64, 48) for path in [*document["pictures"], document["mask"]])
    assert Image.open(document["strip"]).width == 4 * 160 + 3 * 8


def test_parse_mask_and_status(recast, scripted_server, street):
    scripted_server.script = [answer(street)]
    code, out, _ = recast("parse", SENTENCE)
    assert code == 0
    assert "Draws:      a bicycle" in out
    code, out, _ = recast("mask", street, "red car")
    assert code == 0
    assert "red car (score 0.91)" in out
    assert (street.parent / "street-mask.png").read_bytes() == street.read_bytes() + b"tight"
    assert recast("mask", street, "car", "--intent", "replace", "--force")[0] == 0
    assert (street.parent / "street-mask.png").read_bytes() == street.read_bytes()
    code, out, _ = recast("status")
    assert code == 0
    assert "mask:       ready, release 1, 2" in out
    scripted_server.models.pop("replace")
    code, out, _ = recast("status", "--json")
    assert code == 5
    assert json.loads(out)["ready"] is False


@pytest.mark.parametrize(
    ("status", "message", "name", "exit_code"),
    [
        ("INTERNAL", "internal: the step failed.", "internal", 1),
        ("CANCELLED", "cancelled: stopped.", "cancelled", 1),
        ("INVALID_ARGUMENT", "invalid_image: not a picture.", "invalid_image", 2),
        ("INVALID_ARGUMENT", "in ensemble 'replace', not_an_edit: nothing to replace.", "not_an_edit", 3),
        ("NOT_FOUND", "in ensemble 'replace', object_not_found: no car.", "object_not_found", 3),
        ("UNAVAILABLE", "overloaded: the queue is full.", "overloaded", 4),
        ("UNAVAILABLE", "This protocol is restricted", "access_denied", 6),
    ],
)
def test_every_error_has_its_exit_code(recast, scripted_server, fault, street, status, message, name, exit_code):
    scripted_server.script = [fault(grpc.StatusCode[status], message)]
    words = ("edit", street, SENTENCE, "--timeout", 0.3)
    code, out, err = recast(*words)
    assert (code, out) == (exit_code, "")
    assert err.startswith("recast: ")
    assert err.count("\n") == 1
    told = err
    code, out, err = recast(*words, "--json")
    document = json.loads(out)
    assert (code, err) == (exit_code, "")
    assert (document["error"], document["exit_code"]) == (name, exit_code)
    assert document["request_id"] == scripted_server.request_ids[-1]
    assert ("(request id " in told) == (name == "internal")  # only there does the server's log know more
    assert [path.name for path in street.parent.iterdir()] == ["street.png"]


def test_deadline_and_nobody_there(recast, scripted_server, street):
    scripted_server.script = [0.4]
    assert recast("parse", SENTENCE, "--timeout", 0.1)[0] == 4
    code, _, err = recast("status", "--url", "localhost:1")
    assert code == 5
    assert "make serve" in err
    assert "--url" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["edit"],
        ["edit", "{street}"],
        ["paint", "{street}"],
        ["edit", "{street}", SENTENCE, "--steps", "many"],
        ["edit", "{street}", SENTENCE, "--timeout", "0"],
        ["edit", "{street}", SENTENCE, "--seed", str(2**63)],
        ["edit", "{street}", "\udcff"],
        ["edit", "nowhere.png", SENTENCE],
        ["edit", ".", SENTENCE, "-o", "out.png"],
        ["edit", "{street}", SENTENCE, "-o", "{street}"],
        ["edit", "{street}", SENTENCE, "--mask-out", "{street}"],
        ["edit", "{street}", SENTENCE, "-o", "out.tiff"],
        ["edit", "{street}", SENTENCE, "-o", "no/such/folder/out.png"],
        ["mask", "{street}", "car", "-o", "{street}"],
    ],
)
def test_wrong_usage_is_told_before_any_call(recast, scripted_server, street, words):
    words = [word.format(street=street) for word in words]
    before = street.read_bytes()
    code, out, err = recast(*words)
    assert (code, out) == (2, "")
    assert err.startswith("recast: ")
    code, out, err = recast(*words, "--json")
    assert (code, err) == (2, "")
    assert json.loads(out)["exit_code"] == 2
    assert scripted_server.calls == []
    assert street.read_bytes() == before


def test_help_lists_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert "130  stopped with Ctrl-C" in capsys.readouterr().out


def on_a_terminal(words, shows, begun):
    """The command `words`, its stderr a terminal, interrupted when that shows a text and `begun` is true.

    Its exit code, stdout, screen.
    """
    terminal, end = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "recast", *words], stdout=subprocess.PIPE, stderr=end) as process:
        os.close(end)
        shown = b""
        while shows.encode() not in shown or not begun():
            shown += os.read(terminal, 1 << 16)  # the line moves on and on
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        assert process.stdout is not None
        said = process.stdout.read()
    shown += os.read(terminal, 1 << 16)
    os.close(terminal)
    return code, said, shown.decode()


def test_ctrl_c_stops_the_call_and_the_moving_line_is_cleared(scripted_server):
    scripted_server.script = [20.0]
    words = ["parse", SENTENCE, "--url", scripted_server.grpc_url]
    code, said, shown = on_a_terminal(words, f"s  {SENTENCE}", lambda: scripted_server.calls)
    assert (code, said) == (130, b"")
    assert shown.rstrip().endswith("\rrecast: stopped.")


def test_an_edit_shows_its_progress_and_ctrl_c_cancels_it_on_the_server(scripted_server, street):
    scripted_server.script = [answer(street)]
    scripted_server.held.clear()  # after the progress, before the edit
    words = ["edit", str(street), SENTENCE, "--url", scripted_server.grpc_url]
    code, said, shown = on_a_terminal(
        words, f"[{'#' * 20}] step 2 of 2  {SENTENCE}"[:70], lambda: scripted_server.streams
    )
    assert (code, said) == (130, b"")
    assert shown.rstrip().endswith("\rrecast: stopped.")
    assert scripted_server.cancelled.wait(5)
    scripted_server.held.set()
    assert [path.name for path in street.parent.iterdir()] == ["street.png"]


@pytest.mark.parametrize(
    "words",
    [
        "--url a:1 --json status",
        "status --json --url a:1",
        "releases --url a:1 --json list",
        "--json releases --url a:1",
    ],
)
def test_common_options_hold_wherever_they_stand(words):
    arguments = parser().parse_args(words.split())
    assert (arguments.url, arguments.json, arguments.timeout) == ("a:1", True, 120)


def test_the_last_of_two_holds():
    arguments = parser().parse_args("--url a:1 releases --model-repository here list --url b:2".split())
    assert (arguments.url, str(arguments.model_repository)) == ("b:2", "here")
