"""Every error that phi3flow raises on purpose, and the exit code that each one means.

    Phi3flowError
    ├── ConfigError              2   usage, settings, connections, names
    │   ├── ColumnMappingError       a mapping names a column that is not there
    │   ├── ResumeMismatchError      a run folder was made by another flow, data, mapping or variant
    │   └── RulerMismatchError       two runs were measured by different rulers
    ├── DatasetError             2   a data file breaks its format
    ├── FlowError                2   a flow folder does not load or does not compute what it promises
    ├── MissingExtraError        2   an optional dependency is not installed
    ├── StorageError             2   the disk refuses a file
    └── BackendError             3   what runs elsewhere failed
        ├── AzureError               Azure refused a request, or could not be reached
        │   ├── ForbiddenError           the caller has no role that allows it
        │   └── PreflightError           what is asked for cannot work, and why
        ├── EndpointError            an endpoint refused, broke or could not be reached
        └── DeploymentError          a deployment did not start, or died

Only ``phi3flow.cli.main`` catches them: it prints the message without a traceback (``--debug`` shows it).
"""

from __future__ import annotations


class Phi3flowError(Exception):
    """The base of all: its message is one paragraph that names what failed, the value, and the way out."""

    exit_code = 2


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or a signal that ends the command as that does: a closed terminal's, a cancelled CI job's."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class ConfigError(Phi3flowError):
    """A setting, flag, connection or name is wrong."""


class ColumnMappingError(ConfigError):
    """A column mapping refers to a column that the data does not have."""


class ResumeMismatchError(ConfigError):
    """A run folder exists, but the flow, data, mapping or variant has changed since."""


class RulerMismatchError(ConfigError):
    """Two runs were measured differently, so that their scores are not compared; the message says how to mend it."""


class DatasetError(Phi3flowError):
    """A data file breaks its format; the message gives file:line, the reason and the value cut short."""


class LeakageError(DatasetError):
    """A question or a conversation stands in two splits."""


class FlowError(Phi3flowError):
    """A flow folder cannot be loaded or executed as a whole (a failed line is a record, not this)."""


class StorageError(Phi3flowError):
    """The disk refuses a file (full, read-only, a quota); what stood there before is unchanged."""


class MissingExtraError(Phi3flowError):
    """An optional dependency is not installed."""

    def __init__(self, extra: str, reason: object) -> None:
        super().__init__(f"this needs the extra '{extra}' ({reason}): pip install 'phi3flow[{extra}]'")
        self.extra, self.reason = extra, reason

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.extra, str(self.reason))


class BackendError(Phi3flowError):
    """Something that runs elsewhere (a service, a server, a job) failed."""

    exit_code = 3


class AzureError(BackendError):
    """Azure refused, or could not be reached; ``status`` and ``code`` are the service's, where it answered."""

    def __init__(self, message: str, *, status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class ForbiddenError(AzureError):
    """The caller has no role that allows it."""


class PreflightError(AzureError):
    """What was asked for cannot work in this subscription; nothing was begun."""


class EndpointError(BackendError):
    """An endpoint refused a request, broke, or could not be reached."""


class DeploymentError(BackendError):
    """A deployment did not start, or is no longer alive."""
