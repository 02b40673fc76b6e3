"""Where options come from: flags over a file over the workspace's last run over defaults."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from flows.cli.flags import app, listed, parsed
from flows.runs.settings import SECTIONS
from stego_core.errors import OptionError
from tasks.workspace.workspace import Workspace


@pytest.fixture(autouse=True, scope="module")
def commands() -> None:
    """Register them, as the command line does."""
    for module in main.COMMANDS:
        import_module(module)


def arguments(*given: str) -> dict[str, Any]:
    return dict(parsed([*given, "--workspace", "ws"])[1].arguments)


def run_options(*given: str) -> Any:
    return arguments("run", "--images", "there", *given)["options"]


class TestFlags:
    def test_one_of_several_sections_sets_all_of_them(self) -> None:
        options = run_options("--seed", "7")
        assert (options.head.seed, options.clusters.seed) == (7, 7)

    def test_the_last_of_two_wins(self) -> None:
        assert run_options("--steps", "3", "--steps", "4").head.steps == 4

    def test_an_option_may_have_a_better_name(self) -> None:
        assert run_options("--neighbors", "5").neighbors.k == 5

    def test_switches_have_two_sides(self) -> None:
        assert run_options("--no-overlays").masks.overlays is False
        assert run_options("--overlays").masks.overlays is True

    def test_what_nobody_gives_is_known_as_such(self) -> None:
        options = run_options("--crops", "whole")
        assert options.features.model_fields_set == {"crops"}
        assert options.head.model_fields_set == set()

    def test_a_list_is_given_by_repeating(self) -> None:
        found = arguments("explore", "--export-root", "a", "--export-root", "b")
        assert found["export_root"] == ["a", "b"]

    def test_values_that_begin_with_a_minus(self) -> None:
        assert run_options("--value-range", "-5,30").corpus.value_range == "-5,30"

    def test_names_with_commas(self) -> None:
        assert (listed("a, b"), listed(None)) == (["a", "b"], None)

    def test_every_command_takes_its_workspace(self) -> None:
        commands = [each for each in app if not each.startswith("-")]
        assert len(commands) == 24
        for name in commands:
            with pytest.raises(OptionError, match=r"requires an argument"):
                parsed([name])


class TestOptionalSections:
    def test_are_left_out_where_they_lack_a_flag(self) -> None:
        found = arguments("backfill", "--inbox", "in", "--fps", "3")
        assert found["inbox"].fps == 3
        assert "corpus" not in found
        found = arguments("backfill", "--images", "there", "--fps", "3")
        assert (found["corpus"].fps, found.get("inbox")) == (3, None)

    def test_a_flag_of_none_that_is_there_is_refused(self) -> None:
        with pytest.raises(OptionError, match="--taxonomy needs --images"):
            arguments("backfill", "--inbox", "in", "--taxonomy", "t.json")


class TestSources:
    @pytest.fixture
    def config(self, tmp_path: Path) -> str:
        text = "[head]\nsteps = 5\nseed = 1\n[clusters]\nclasses = 'auto'\nseed = 2\n"
        (tmp_path / "c.toml").write_text(text + "[storage]\nregion = 'north'\n")
        return str(tmp_path / "c.toml")

    def test_the_file_is_below_flags(self, config: str) -> None:
        options = run_options("--config", config, "--steps", "6")
        assert (options.head.steps, options.clusters.classes) == (6, "auto")
        assert (options.head.seed, options.clusters.seed) == (1, 2)
        assert run_options("--config", config, "--seed", "3").clusters.seed == 3

    def test_the_file_holds_for_storage_too(self, config: str) -> None:
        found = arguments("run", "--images", "there", "--config", config)
        assert found["common"].storage.region == found["options"].storage.region == "north"

    def test_the_file_may_say_what_is_required(self, config: str) -> None:
        Path(config).write_text('[corpus]\nimages = "there"')
        assert arguments("run", "--config", config)["options"].corpus.images == "there"

    def test_values_of_the_file_are_checked_like_those_of_flags(self, config: str) -> None:
        Path(config).write_text("[head]\nsteps = [1]")
        with pytest.raises(OptionError, match="--steps: input should be a valid integer"):
            run_options("--config", config)

    def test_stages_go_on_from_the_last_run(
        self, tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        place = Workspace.create("ws")
        last = {"head": {"steps": 70, "batch": 8, "seed": 9}, "features": {"layer": None}}
        place.storage.write("current.json", json.dumps({"options": last}).encode())
        head = arguments("head", "--config", config, "--batch", "4")["head"]
        assert (head.steps, head.batch, head.seed, head.grid) == (5, 4, 1, 11)
        assert arguments("features", "--crop-size", "64")["features"].layer is None
        assert run_options("--batch", "4").head.steps == 400  # a whole run starts anew


@pytest.fixture(scope="module")
def help() -> str:
    command = [sys.executable, "-m", "flows", "run", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class TestHelp:
    def test_flags_are_grouped_by_section(self, help: str) -> None:
        titles = [line.split()[1] for line in help.splitlines() if line.startswith("╭")]
        wanted = [name for name in SECTIONS if name not in ("inbox", "pretrain", "export")]
        assert titles == ["options", "workspace", *wanted]

    def test_choices_and_defaults_are_shown(self, help: str) -> None:
        words = " ".join(help.replace("│", " ").split())
        assert "[choices: five, whole] [default: five]" in words
        assert "--steps INT The optimiser takes this many steps. [default: 400]" in words

    def test_each_flag_of_one_section_is_listed_once(self, help: str) -> None:
        assert help.count("--endpoint") == 1
        assert help.count("--seed ") == 3  # of head, clusters and PiCIE

    def test_flags_of_picie_have_its_name(self, help: str) -> None:
        for option in ("network", "weights", "epochs", "size", "batch", "learning-rate"):
            assert help.count(f"--picie-{option} ") == 1
        assert run_options("--picie-batch", "8").picie.batch == 8
        assert run_options("--picie-batch", "8").head.batch == run_options().head.batch
        assert run_options("--seed", "3").picie.seed == 3


class TestCompletion:
    def test_bash_completes_commands_and_flags(self, tmp_path: Path) -> None:
        environment = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash"}
        command = [sys.executable, "-m", "flows", "--install-completion", "--shell", "bash"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (script,) = (tmp_path / ".local").rglob("stego")
        assert str(script) in (tmp_path / ".bashrc").read_text()
        assert completed(script, "stego exp") == ["export", "explore"]
        assert completed(script, "stego run --backb") == ["--backbone"]


def completed(script: Path, line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    words = line.split()
    code = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _stego; "
        "echo ${COMPREPLY[@]}"
    )
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True).stdout.split()
