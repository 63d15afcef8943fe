"""Metrics of ratings, rankings and labels, comparisons with their uncertainty, figures."""
