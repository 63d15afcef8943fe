"""A distributed batch recommender pipeline on Apache Spark."""

from recspark.engine.spark.workers import prepare_environment
from recspark.kernels.cache import choose_folder

__version__ = "0.2.0"

# before PySpark and numba are imported: both read the environment once
prepare_environment()
choose_folder()
