"""Comparison of models: compare, promote, roll back, and the versions that a lake keeps."""
