"""The errors that users can cause, each with the exit code of the job."""

from recspark.redaction import redact


class RecsparkError(Exception):
    """An error that recspark reports in one clear sentence instead of a traceback.

    The sentence holds no password or token.
    """

    exit_code = 1
    #: the words of a log line before the message
    headline = ""

    def __init__(self, message: object = "") -> None:
        super().__init__(redact(str(message)))


class ConfigError(RecsparkError, ValueError):
    """A usage or configuration mistake: names the key, the value and what is allowed."""

    exit_code = 2


class DataRejected(RecsparkError):
    """The input data are not good enough to publish."""

    exit_code = 3


class GateNotPassed(RecsparkError):
    """A candidate model did not pass its gate."""

    exit_code = 4


class InputMissing(RecsparkError):
    """Input is not there (yet): the same command may succeed later."""

    exit_code = 5
    headline = "the input is not there (yet): "
