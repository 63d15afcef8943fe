"""Algorithms: numpy in and out behind one contract. No Spark, no files, no lake."""
