"""The file of the deployment: what it stands for, and how mistakes in it are told."""

from pathlib import Path

import pytest

from flows.runs import deployment_file
from flows.runs.backfill import backfill
from flows.runs.pipeline import pipeline
from flows.runs.settings import SECTIONS
from stego_core.errors import OptionError

GOOD = 'workspace = "w"\n[corpus]\nimages = "i"\n[inbox]\ninbox = "n"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "deployment.toml"
    file.write_text(text)
    return file


def refused(folder: Path, text: str) -> str:
    with pytest.raises(OptionError) as caught:
        deployment_file.load(written(folder, text))
    said = str(caught.value)
    assert "\n" not in said
    assert str(folder) in said or "cannot be read" in said
    return said


class TestFile:
    def test_the_one_that_comes_with_the_project(self) -> None:
        found = deployment_file.load(deployment_file.FILE).places()
        assert found["workspace"] == "demo/workspace"
        assert found["images"] == "demo/workspace-corpus/images"
        assert found["options"] == {}
        assert found["inbox"]["inbox"] == "demo/inbox"
        assert Path(found["code"]) == deployment_file.ROOT

    def test_options_arrive_as_parameters_that_the_flows_take(self, tmp_path: Path) -> None:
        more = '[features]\nbackbone = "b"\nlayer = 8\n[compute]\ncluster = "tcp://h:8786"\n'
        found = deployment_file.load(written(tmp_path, GOOD + more)).places()
        pipeline.validate_parameters({"workspace": "w", "options": found["options"]})
        assert found["options"]["features"] == {"backbone": "b", "layer": 8}
        assert found["options"]["compute"]["cluster"] == "tcp://h:8786"
        assert "inbox" not in found["options"]
        given = {"inbox": found["inbox"], "compute_options": found["compute"]}
        backfill.validate_parameters({"workspace": "w", **given})

    def test_the_variable_names_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(deployment_file.VARIABLE, str(written(tmp_path, GOOD)))
        assert deployment_file.read()["workspace"] == "w"
        monkeypatch.setenv(deployment_file.VARIABLE, "")
        assert deployment_file.read()["workspace"] == "demo/workspace"

    @pytest.mark.parametrize("name", [name for name in SECTIONS if name != "export"])
    def test_an_unknown_option_of_any_table(self, tmp_path: Path, name: str) -> None:
        table = f"[{name}]\n"
        text = (
            GOOD.replace(table, f"{table}nope = 1\n") if table in GOOD else f"{GOOD}{table}nope=1"
        )
        assert f"{name}.nope is not known; expected " in refused(tmp_path, text)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("wrkspace = 1\n" + GOOD, "wrkspace is not known; expected workspace, "),
            ("options = {}\n" + GOOD, "options is not known"),
            ("head = 3\n" + GOOD, "head: "),
            (GOOD + "[export]\nformat = 1", "export is not known"),
            (GOOD + "[schedule]\ncron = '0 99 * * *'", "schedule.cron: expected five cron fields"),
            (GOOD + "[schedule]\ncron = '@never'", "schedule.cron: expected five cron fields"),
            (GOOD + "[schedule]\ntimezone = 'Mars/X'", "schedule.timezone: expected the name"),
            (GOOD + "[schedule]\ntimezone = '/etc'", "schedule.timezone: expected the name"),
            (GOOD + "[retries]\ntimes = -1", "retries.times: "),
            (GOOD + "[retries]\nlost_seconds = 5", "retries.lost_seconds: "),
            (GOOD + "[notify]\nblock = 'https://hooks/secret'", "notify.block: "),
            (GOOD + "[head]\nsteps = 0", "head.steps: "),
            (GOOD + "[features]\nlayer = 'last'", "features.layer: "),
            (GOOD.replace('workspace = "w"', ""), "workspace is missing"),
            (GOOD.replace('images = "i"', ""), "corpus.images is missing"),
            (GOOD.replace('inbox = "n"', ""), "inbox.inbox is missing"),
            (GOOD.replace('"w"', '""'), "workspace: "),
            ("workspace =", "is not TOML"),
        ],
    )
    def test_mistakes_are_one_sentence(self, tmp_path: Path, text: str, said: str) -> None:
        assert said in refused(tmp_path, text)

    @pytest.mark.parametrize(
        "text",
        [
            GOOD.replace('"w"', '"s3://me:hidden@host/bucket"'),
            GOOD.replace('"i"', '"https://me:hidden@host/images"'),
            GOOD.replace('"n"', '"s3://b/inbox?X-Amz-Signature=hidden"'),
            GOOD + '[notify]\nblock = "https://hooks/hidden"',
            GOOD + '[storage]\nendpoint = "http://me:hidden@host:1"',
            GOOD + '[compute]\ncluster = "tcp://me:hidden@host:1"',
        ],
    )
    def test_secrets_are_refused_and_not_repeated(self, tmp_path: Path, text: str) -> None:
        assert "hidden" not in refused(tmp_path, text)

    def test_there_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match="cannot be read: No such file"):
            deployment_file.load(tmp_path / "none.toml")
