"""The errors that a user can cause, each with the exit code that a job ends with."""


class RecsparkError(Exception):
    """Anything that recspark reports in one clear sentence instead of a traceback."""

    exit_code = 1


class ConfigError(RecsparkError, ValueError):
    """A usage or configuration mistake: names the key, the value and what is allowed."""

    exit_code = 2


class DataRejected(RecsparkError):
    """The input data are not good enough to publish."""

    exit_code = 3


class GateNotPassed(RecsparkError):
    """A candidate model did not pass its gate."""

    exit_code = 4
