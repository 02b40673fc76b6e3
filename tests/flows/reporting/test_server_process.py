"""The temporary server's process: it is not needed beside another server, and outlives nobody."""

import os
import subprocess
import sys

import pytest

from flows.reporting import server_process

COMMAND = (sys.executable, "-m", server_process.__name__, "0")


@pytest.mark.timeout(120)
def test_it_ends_at_once_where_prefect_s_settings_name_another() -> None:
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, env=environment)
    assert process.wait(100) == 0
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.timeout(120)
def test_it_ends_with_its_input() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(100) != 0
