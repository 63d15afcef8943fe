"""Splits of the ratings into train, validation and test."""
