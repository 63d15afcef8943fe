"""Spark itself: the session, its JVM and workers, the crossing of rows to Python."""
