"""The command line: ``recspark JOB --conf-file FILE --set section.key=value``."""

from recspark.cli.main import main

__all__ = ["main"]
