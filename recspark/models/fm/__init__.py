"""Factorization machines: estimators and models on feature groups and on vectors."""
