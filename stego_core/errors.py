"""The one tree of errors; each message says what was found, what was expected, what to do.

Each class has the exit code of a command that it ends: 2 where the user has to change something,
75 where the same command may succeed later.

StegoError
├── OptionError
├── InputError
│   └── ImageError
├── WeightsError
├── WorkspaceError
│   ├── BusyError
│   └── DamageError
├── OutageError
├── StoppedError
├── TrainingError
└── CapacityError
"""

MEND = 2
"""Exit code: the user has to change an option or a file."""
LATER = 75
"""Exit code: the same command may succeed later (EX_TEMPFAIL)."""
DEFECT = 70
"""Exit code: a defect of this program (EX_SOFTWARE)."""
INTERRUPTED = 130
"""Exit code: somebody stopped the command."""


class StegoError(Exception):
    """Base of every error that the user can act on; a command shows it as one sentence."""

    exit_code = MEND


class OptionError(StegoError):
    """An option, preset or backbone that does not exist or contradicts another."""


class InputError(StegoError):
    """Images, labels or a taxonomy that cannot be used."""


class ImageError(InputError):
    """One image that cannot be used: the run quarantines it, with this reason, and goes on."""


class WeightsError(StegoError):
    """Backbone weights that cannot be downloaded, read or matched to the model."""


class WorkspaceError(StegoError):
    """A workspace that lacks a stage, is frozen with other contents, or is of another version."""


class BusyError(WorkspaceError):
    """A workspace that another run is writing."""

    exit_code = LATER


class DamageError(WorkspaceError):
    """Stored bytes whose checksum is not the one on record."""


class StoppedError(StegoError):
    """A run that somebody stopped; the same command continues it."""

    exit_code = LATER


class TrainingError(StegoError):
    """Training that diverged: its loss or its features are not numbers."""


class CapacityError(StegoError):
    """More was requested than the data, the memory or the disk can give."""


class OutageError(StegoError):
    """An object store, a scheduler or its workers that went away; trying again may help."""

    exit_code = LATER
