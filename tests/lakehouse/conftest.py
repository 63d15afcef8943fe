"""A Spark with the jars of Delta and Iceberg, and catalogs of both; ``make tables`` gets the jars."""

import os
from pathlib import Path

import pytest

#: the catalog of Iceberg, which pyiceberg writes to as well
CATALOG = "lake"


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory):
    return tmp_path_factory.mktemp("warehouse")


@pytest.fixture(scope="session")
def settings(warehouse):
    """The settings of Spark that a user of both formats has."""
    folder = os.environ.get("RECSPARK_TABLE_JARS")
    if not folder:
        pytest.skip("Maven")
    return {
        "spark.jars": ",".join(map(str, sorted(Path(folder).absolute().glob("*.jar")))),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        f"spark.sql.catalog.{CATALOG}": "org.apache.iceberg.spark.SparkCatalog",
        f"spark.sql.catalog.{CATALOG}.type": "jdbc",
        f"spark.sql.catalog.{CATALOG}.uri": f"jdbc:sqlite:{warehouse}/catalog.db",
        f"spark.sql.catalog.{CATALOG}.warehouse": f"file://{warehouse}/iceberg",
    }


@pytest.fixture(scope="session")
def spark(settings, warehouse):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("recspark-tables")
    small = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": f"{warehouse}/spark",
        "spark.databricks.delta.snapshotPartitions": "2",
    }
    for key, value in (settings | small).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
