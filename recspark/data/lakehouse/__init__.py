"""Tables of Spark's catalogs as input and output: Delta, Iceberg, and formats without versions."""
