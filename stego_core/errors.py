"""The one tree of errors; each message says what was found, what was expected, what to do.

Each class has the exit code of a command that it ends: 2 where the user has to mend something, 75
where the same command may succeed later.

StegoError
├── OptionError      an option, a preset or a backbone that does not exist or does not fit
├── InputError       the user's images, labels or taxonomy cannot be used
│   └── ImageError   one image cannot be used: it is quarantined and the run goes on
├── WeightsError     backbone weights cannot be had, read or matched to the model
├── WorkspaceError   the workspace lacks a stage, is frozen otherwise, or is of another version
│   ├── BusyError    another run writes it
│   └── DamageError  stored bytes are not the bytes that were written
├── OutageError      a service that the run stands on went away for too long; trying again may help
├── StoppedError     somebody stopped the run
├── TrainingError    training went astray: its loss is not a number any more
└── CapacityError    too few rows or images, too little memory, a full disk
"""

MEND, LATER, DEFECT, INTERRUPTED = 2, 75, 70, 130
"""Exit codes: mend your input; try again later (EX_TEMPFAIL); a defect of ours (EX_SOFTWARE);
somebody stopped the command.
"""


class StegoError(Exception):
    """Base of every error that is the user's to mend; shown as one sentence.

    Attributes:
        exit_code: of a command that it ends.
    """

    exit_code = MEND


class OptionError(StegoError):
    """An option, preset or backbone that does not exist or contradicts another."""


class InputError(StegoError):
    """Images, labels or a taxonomy that cannot be used."""


class ImageError(InputError):
    """One image that cannot be used; it is quarantined with this message as its reason."""


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
    """A run that somebody stopped; the same command goes on with it."""

    exit_code = LATER


class TrainingError(StegoError):
    """Training that went astray; going on would not mend it."""


class CapacityError(StegoError):
    """More was asked than the data, the memory or the disk can give."""


class OutageError(StegoError):
    """An object store, a scheduler or its workers that went away; trying again may help."""

    exit_code = LATER
