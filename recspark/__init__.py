"""A distributed batch recommender pipeline on Apache Spark."""

__version__ = "0.1.0"
