"""Predictions from arrays: no Spark is imported here."""
