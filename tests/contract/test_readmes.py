"""What the READMEs say beside their commands: links, tables, names, the file tree. `tests/served` runs the commands."""

import re
import sys
from itertools import dropwhile
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from recast.arguments import EXIT_CODES, parser
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from export.__main__ import arguments as export_arguments
from export.presets import PRESETS
from serving import environment, errors
from serving.diffusion import options
from serving.imaging import opening
from serving.launcher import cli as launcher
from serving.triton_errors import CODES
from tests.contract.required_inputs import may_be_left_out
from tests.readmes import READMES, ROOT, blocks, code, commands, run_by, runner_of, table, tables

LINKING = {**READMES, "docker/THREATS.md": (ROOT / "docker" / "THREATS.md").read_text()}
CONTRACT = "model_repository/README.md"
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
FLAG = re.compile(r"--[a-z][a-z-]+")


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", LINKING)
def test_every_link_leads_somewhere(name):
    prose = re.sub(r"^```.*?^```", "", LINKING[name], flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_the_first_readme_stays_short():
    assert len(READMES["README.md"].splitlines()) <= 150


def test_every_make_target_named_exists():
    named = re.findall(r"(?:`|^)make ([a-z][a-z-]*)", "\n".join(READMES.values()), re.MULTILINE)
    assert set(named) - TARGETS == set()


def test_the_file_tree_is_true():
    (tree,) = [block for name, block in blocks("") if name == "README.md"]
    folders = {0: ROOT}
    for line in tree.splitlines():
        entry = re.match(r"( *)([\w./]+)( {2,})(.*)", line)
        if entry and len(entry[1]) <= 2:
            depth = len(entry[1]) // 2
            path = folders[depth] / entry[2]
            assert path.exists(), entry[2]
            folders[depth + 1] = path if path.is_dir() else folders[depth]
        room = folders[depth + 1]
        for file in re.findall(r"\b\w+\.py\b", line):
            assert (room / file).exists(), f"{file} in {room.name}"


def test_the_file_tree_has_every_room():
    (tree,) = [block for name, block in blocks("") if name == "README.md"]
    named = set(re.findall(r"^ *(\w+)/ ", tree, re.MULTILINE))
    assert {path.parent.name for path in ROOT.glob("serving/*/__init__.py")} <= named
    assert {name.rpartition("/")[0] for name in READMES} - {""} <= named


def config(model: str) -> ModelConfig:
    return text_format.Parse((ROOT / "model_repository" / model / "config.pbtxt").read_text(), ModelConfig())


def ports(kind: str) -> dict[str, list[list[str]]]:
    """The documented inputs or outputs of each model."""
    return {heading: rows[1:] for heading, rows in tables(READMES[CONTRACT]) if rows[0][0] == kind}


def test_every_model_is_documented():
    models = {path.parent.name for path in ROOT.glob("model_repository/*/config.pbtxt")}
    assert set(ports("input")) == set(ports("output")) == models


@pytest.mark.parametrize("kind", ["input", "output"])
@pytest.mark.parametrize("model", ports("input"))
def test_the_tensor_tables_are_those_of_the_configs(model, kind):
    configured = config(model)
    documented = ports(kind)[model]
    tensors = configured.input if kind == "input" else configured.output
    assert [code(row[0]) for row in documented] == [[tensor.name] for tensor in tensors]
    for (name, datatype, shape, meaning), tensor in zip(documented, tensors, strict=True):
        assert datatype == DataType.Name(tensor.data_type).removeprefix("TYPE_").replace("STRING", "BYTES"), name
        batch, *axes = shape.strip("[]").split(", ")
        assert batch == ("1" if configured.max_batch_size == 1 else "n"), name
        assert [int(axis) if axis.isdecimal() else -1 for axis in axes] == list(tensor.dims), name
        if kind == "input":
            assert meaning.startswith("optional") == may_be_left_out(model, tensor), name


def test_the_table_of_errors_is_that_of_the_code():
    documented = {code(name)[0]: status for name, status, *_ in table(CONTRACT, "error")}
    assert set(documented) == errors.NAMES
    assert documented == {name: status.replace("INVALID_ARG", "INVALID_ARGUMENT") for name, status in CODES.items()}


def test_the_table_of_limits_is_that_of_the_code():
    documented = {what.replace("`", ""): limit for what, limit, _ in table(CONTRACT, "what")}
    admitted = {key: value.string_value for key, value in config("admit").parameters.items()}
    limits = {
        "shortest side of a picture": f"{opening.MIN_SIDE} px",
        "longest side of a picture": f"{opening.MAX_SIDE} px",
        "size of a picture's file": f"{opening.MAX_BYTES >> 20} MiB",
        "length of a caption, a target, a negative prompt": f"{options.MAX_PROMPT_CHARS} characters",
        "num_inference_steps": f"1 … {options.MAX_STEPS}",
        "num_images": f"1 … {options.MAX_IMAGES}",
        "max_attempts": f"1 … {options.MAX_ATTEMPTS}",
        "preview_side": "{} … {} px".format(*options.PREVIEW_SIDES),
    }
    assert {what: documented[what] for what in limits} == limits
    assert documented["guidance_scale"].startswith(f"0 … {options.MAX_GUIDANCE_SCALE:g}")
    assert documented["edits under way"].startswith(f"{admitted['least']} … {admitted['all']},")


def variables(*files: Path) -> set[str]:
    names = r"\b(?:RECAST|TRITON|PIP)_[A-Z0-9_]+|\bTRACEPARENT\b"
    return {name for file in files for name in re.findall(names, file.read_text())}


def test_one_table_has_every_variable():
    documented = {code(name)[0] for name, *_ in table("docker/README.md", "variable")}
    server = variables(Path(environment.__file__)) - {"RECAST_ARGUMENT_"}  # numbered, between the server's processes
    client = {"RECAST_TLS_CA", "RECAST_TLS_CERT", "RECAST_TLS_KEY"}  # put together in the code
    client |= variables(*(ROOT / "client" / "recast").glob("*.py")) - {"RECAST_TLS_"}
    operated = variables(ROOT / "docker" / "compose.yaml", ROOT / "docker" / "haproxy" / "haproxy.cfg")
    assert (server | client | operated) - documented == set()


def test_one_table_has_every_flag_of_the_launcher(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serving", "--help"])
    with pytest.raises(SystemExit):
        launcher.parse_arguments()
    known = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    documented = {flag for cell, _ in table("docker/README.md", "flag") for flag in code(cell)}
    assert documented == known


def test_each_alert_has_its_paragraph():
    (group,) = yaml.safe_load((ROOT / "docker" / "monitoring" / "alerts.yml").read_text())["groups"]
    explained = re.findall(r"^### (Recast\w+)", READMES["docker/README.md"], re.MULTILINE)
    assert explained == [rule["alert"] for rule in group["rules"]]


def test_the_table_of_exit_codes_is_the_commands_own():
    documented = {status: meaning.replace("`", "") for status, meaning in table("client/README.md", "exit code")}
    assert documented == dict(re.findall(r"^  (\d+) +(.*)", EXIT_CODES, re.MULTILINE))


def test_the_table_of_presets_has_them_all():
    assert [code(name)[0] for name, *_ in table("export/README.md", "preset")] == list(PRESETS)


def test_what_is_licensed_as_recast_has_a_licence():
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
    assert "Apache-2.0" in (ROOT / "pyproject.toml").read_text()


def test_every_block_of_commands_is_run_by_some_test():
    assert [block for _, block in blocks("sh") if runner_of(block) is None] == []
    languages = re.findall(r"^```(\w+)", "\n".join(READMES.values()), re.MULTILINE)
    assert set(languages) == {"sh", "python"}


def test_ci_runs_the_commands_for_make():
    """`make demo` is run by a slow test: here it would set up what is set up already."""
    named = {words[1] for _, block in run_by("make") for words in commands(block)}
    ci = set(re.findall(r"^make ([a-z-]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    assert named - ci == {"demo"}


def test_a_command_of_pytest_names_tests_that_exist():
    for _, block in run_by("pytest"):
        for _, *words in commands(block):
            assert words[:2] == ["-m", "pytest"]
            assert (ROOT / words[2]).exists()


# What needs an operator's machine is not run here: its options are read by the program's own parser.


PROGRAMS = {"recast", "python", ".venv/bin/python", "docker", "kubectl", "haproxy", "prometheus"}


def operated(program: str) -> list[list[str]]:
    """The words after `program` of each command, in blocks without a language, that begins with it."""
    start = program.split()
    lines = [words for _, block in blocks("") for words in operators_commands(block)]
    return [words[len(start) :] for words in lines if words[: len(start)] == start]


def operators_commands(block: str) -> list[list[str]]:
    """A block's commands, without the variables that are set before them; none where the block has none."""
    lines = [line for line in block.replace("\\\n", " ").splitlines() if set(line.split()) & PROGRAMS]
    return [[*dropwhile(re.compile(r"[A-Z_0-9]+=").match, words)] for words in commands("\n".join(lines))]


def test_an_operators_commands_of_recast_are_understood():
    found = operated("recast")
    assert {"releases", "status"} <= {words[0] for words in found}
    for words in found:
        parser().parse_args(words)


def test_an_operators_commands_of_the_launcher_are_understood(monkeypatch):
    found = operated("python -m serving") + operated(".venv/bin/python -m serving")
    assert len(found) >= 3
    for words in found:
        monkeypatch.setattr(sys, "argv", ["serving", *words])
        launcher.configured(launcher.parse_arguments())


def test_an_operators_exports_are_understood():
    found = operated(".venv/bin/python -m export")
    assert len(found) >= 2
    for words in found:
        assert export_arguments().parse_args(words).preset


def test_files_that_an_operators_commands_name_exist():
    kustomized = [words[words.index("-k") + 1] for words in operated("kubectl") if "-k" in words]
    proxied = [words[words.index("-f") + 1] for words in operated("haproxy")]
    scraped = [words[0].partition("=")[2] for words in operated("prometheus")]
    for named in (kustomized, proxied, scraped):
        assert named
        assert all((ROOT / path).exists() for path in named)
