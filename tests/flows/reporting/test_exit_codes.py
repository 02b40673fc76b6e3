"""Exit codes: 2 to mend one's input, 75 to try later, 130 interrupted, 70 a defect."""

import errno
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import httpx
import pytest
from cyclopts import App

from flows.cli import flags, version
from flows.cli.main import COMMANDS, main
from flows.reporting.exit_codes import ending
from stego_core import errors
from stego_core.errors import BusyError, InputError, OutageError, StegoError, StoppedError

LATER = (OutageError, BusyError, StoppedError)


def every_error(base: type[StegoError] = StegoError) -> list[type[StegoError]]:
    return [base, *(found for each in base.__subclasses__() for found in every_error(each))]


class TestCodes:
    @pytest.mark.parametrize("kind", every_error())
    def test_of_ours(self, kind: type[StegoError]) -> None:
        assert ending(kind("a sentence")) == ((75 if issubclass(kind, LATER) else 2), "a sentence")

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (KeyboardInterrupt(), 130),
            (PermissionError(errno.EACCES, "denied", "/x"), 2),
            (OSError(errno.ENOSPC, "no space", "/x"), 2),
            (OSError(errno.EIO, "I/O error", "/x"), 70),
            (ZeroDivisionError("division by zero"), 70),
            (SystemExit(3), 3),
        ],
    )
    def test_of_others(self, error: BaseException, code: int) -> None:
        assert ending(error).code == code

    @pytest.mark.parametrize(
        "error",
        [
            httpx.ConnectError("refused"),
            httpx.ReadTimeout("too late"),
            RuntimeError("Failed to reach API at http://127.0.0.1:9/api/"),
            httpx.HTTPStatusError(
                "503", request=httpx.Request("GET", "http://x"), response=httpx.Response(503)
            ),
        ],
    )
    def test_a_server_that_is_away(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        code, sentence = ending(error)
        assert code == 75
        assert "the Prefect server at http://127.0.0.1:9/api does not answer" in sentence

    def test_a_request_that_is_wrong_is_a_defect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        request, response = httpx.Request("GET", "http://x"), httpx.Response(422)
        error = httpx.HTTPStatusError("422", request=request, response=response)
        assert ending(error).code == 70


class TestCommands:
    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
        def fail(error: BaseException) -> tuple[int, Path]:
            def attempt(*, common: flags.Common) -> flags.Shown:
                raise error

            for module in COMMANDS:  # they register with the real one, once in a process
                import_module(module)
            monkeypatch.setattr(flags, "app", App("stego", config=flags.fill))
            flags.command("try", makes=True, parent=flags.app)(attempt)
            with pytest.raises(SystemExit) as ended:
                main(["try", "--workspace", str(tmp_path / "ws")])
            return int(ended.value.code or 0), tmp_path / "ws" / "stego.log"

        return fail

    @pytest.mark.parametrize(
        ("error", "code"),
        [(InputError("x"), 2), (OutageError("x"), 75), (KeyboardInterrupt(), 130)],
    )
    def test_no_traceback_for_what_is_known(
        self, failing: object, error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ended, log = failing(error)  # type: ignore[operator]
        assert ended == code
        assert "Traceback" not in capsys.readouterr().err + log.read_text()
        assert "run failed command=try" in log.read_text()
        assert f"exit_code={code}" in log.read_text()

    def test_the_traceback_of_a_defect_is_in_the_log(
        self, failing: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ended, log = failing(ZeroDivisionError("division by zero"))  # type: ignore[operator]
        said = capsys.readouterr().err
        assert ended == 70
        assert "Traceback" not in said
        assert str(log) in said.replace("\n", "")
        assert "ZeroDivisionError: division by zero" in log.read_text()

    def test_unknown_flags_and_commands(self) -> None:
        for arguments in (["nonsense"], ["status"], ["status", "--workspace", "x", "--nonsense"]):
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert ended.value.code == errors.MEND


class TestVersion:
    def test_is_told_without_the_libraries(self) -> None:
        root = Path(__file__).parents[3]
        code = (
            "import sys; sys.argv[1:] = ['--version']; from flows.cli.main import main; main(); "
            "assert not {'torch', 'prefect', 'numpy', 's3fs'} & set(sys.modules)"
        )
        environment = {**os.environ, "PYTHONPATH": str(root), "STEGO_REVISION": "abc1234"}
        told = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        first, second = told.splitlines()
        assert first.endswith(" (revision abc1234)")
        assert first.startswith(f"stego {version._version('stego-flows')}")
        assert second.startswith("Python 3.")
        assert "torch 2." in second
        assert "prefect 3." in second

    def test_of_a_place_without_git(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(version, "ROOT", tmp_path)
        monkeypatch.delenv("STEGO_REVISION", raising=False)
        assert version.revision() == version._of_installation()

    def test_with_other_flags_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["--version", "status"])
        assert capsys.readouterr().out.startswith("stego ")
