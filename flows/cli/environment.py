"""What must be set before Prefect and Dask are imported, so that the terminal stays readable."""

import os

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks",  # our lines, in the UI as well
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "DASK_LOGGING__DISTRIBUTED": "critical",  # what a worker raises arrives here anyway
    "PYTHONWARNINGS": "ignore",  # in worker processes; here they go to the log file
    "TOKENIZERS_PARALLELISM": "false",
}
"""Settings for the command line; what the user has set stays."""


def prepare() -> None:
    """Set what is not set yet; call before the first import of Prefect."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
