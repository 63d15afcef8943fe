# The commands of the README. They need make and a Python; the rest, Java too where there is none, they install.
# What is kept between runs: .venv (until setup.cfg changes), the Java, and the demo's lake.

BIN := .venv/bin
LAKE ?= lake/demo
DIST ?= dist
PORT ?= 5000
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c "$(SUPPORTED)" 2> /dev/null && echo $$python && exit; done; echo python3)
# Spark looks at JAVA_HOME only; `&&` because a failure to find or install a Java must end the recipe
WITH_JAVA = JAVA_HOME=$$($(BIN)/python -m recspark.engine.spark.java --install) && export JAVA_HOME &&
PYTEST = $(WITH_JAVA) $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo ui test test-slow test-long test-gpu-simulated test-all lint docs site bench-als bench-sgd bench-topn bench-implicit bench-fm bench-scale package dist airflow tables clean
.DELETE_ON_ERROR:

help:  ## this text
	@echo 'make TARGET [NAME=value ...]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

demo: .venv/installed-project  ## the pipeline on made-up data, DATASET=ml-1m (downloaded) or SOURCE=path/to/ml-1m.zip, into LAKE=lake/demo
	@$(WITH_JAVA) $(BIN)/recspark demo --set 'paths.lake=$(LAKE)' \
		$(if $(DATASET),--set 'data.dataset=$(DATASET)') $(if $(SOURCE),--set 'data.source=$(SOURCE)')
	@echo >&2 "recspark: in this checkout that server is: make ui$(if $(filter-out lake/demo,$(LAKE)), LAKE=$(LAKE))"

ui: .venv/installed-project  ## MLflow on the runs of LAKE=lake/demo, at http://127.0.0.1:5000 (PORT=5000)
	@test -f '$(LAKE)/mlflow.db' || { echo >&2 'recspark: $(LAKE) has no runs yet: type make demo first'; exit 1; }
	@echo 'recspark: the runs are at http://127.0.0.1:$(PORT)/#/experiments?workflowType=machine_learning'
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host 127.0.0.1 --port $(PORT) --workers 1 \
		--backend-store-uri 'sqlite:///$(LAKE)/mlflow.db' --artifacts-destination '$(LAKE)/mlartifacts'

test: .venv/installed-test  ## the tests without the slow ones, two files at a time (ARGS='-k als'); RECSPARK_DATA=folder for those on real MovieLens
	@$(PYTEST) -m 'not slow and not long' --numprocesses 2 --dist loadfile $(ARGS)

# in the order of names: the files with the fewest tests take the longest, and would all be last
test-slow: .venv/installed-test  ## the slow tests only, two files at a time
	@$(PYTEST) -m 'slow and not long' --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS) || test $$? -eq 5  # 5: there are none

test-long: .venv/installed-test  ## the tests that CI has no time for
	@$(PYTEST) -m long $(ARGS)

# numba chooses its simulator when it is imported, so these tests have a process of their own
test-gpu-simulated: .venv/installed-test  ## the tests of the kernels for CUDA cards, in numba's simulator
	@export NUMBA_ENABLE_CUDASIM=1 && $(PYTEST) -m 'not gpu' tests/gpu $(ARGS)

test-all: .venv/installed-test  ## all tests
	@$(PYTEST) $(ARGS)

lint: .venv/installed-lint  ## ruff and its format on everything, mypy on recspark
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && $(BIN)/mypy

docs: .venv/installed-project  ## docs/api.md and docs/api from the docstrings, docs/configuration.md from the options
	@$(BIN)/python docs/make_api.py && $(BIN)/python docs/make_configuration.py

site: .venv/installed-site  ## the site of docs into build/site; a warning or a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict && echo 'recspark: open build/site/index.html'

bench-als: .venv/installed-bench  ## recspark's ALS beside MLlib's and implicit's, into benchmarks/results
	@$(WITH_JAVA) $(BIN)/python benchmarks/bench_als.py $(ARGS)

LIBMF := -O3 -march=native -DUSEAVX -DUSEOMP -fopenmp
bench-sgd: .venv/installed-bench  ## recspark's SGD beside LIBMF's, into benchmarks/results; needs a C++ compiler
	@$(BIN)/python -c "import libmf" 2>/dev/null || CFLAGS="$(LIBMF)" CXXFLAGS="$(LIBMF)" LDFLAGS=-fopenmp \
		$(BIN)/python -m pip install --quiet --no-cache-dir 'libmf>=0.9.2'
	@$(WITH_JAVA) $(BIN)/python benchmarks/bench_sgd.py $(ARGS)

bench-topn: .venv/installed-bench  ## top-10 lists for all users beside MLlib's, into benchmarks/results
	@$(WITH_JAVA) $(BIN)/python benchmarks/bench_topn.py $(ARGS)

bench-implicit: .venv/installed-bench .venv-rectools/installed  ## models for lists beside implicit's and RecTools', into benchmarks/results; RECSPARK_DATA=folder
	@$(WITH_JAVA) $(BIN)/python benchmarks/bench_implicit.py $(ARGS)

bench-fm: .venv/installed-bench  ## factorization machines beside myFM's and MLlib's, into benchmarks/results; RECSPARK_DATA=folder
	@$(WITH_JAVA) $(BIN)/python benchmarks/bench_fm.py $(ARGS)

bench-scale: .venv/installed-bench  ## seconds and memory a rating from 1 M to 10 M generated ratings (ARGS='100' for up to 100 M)
	@$(WITH_JAVA) $(BIN)/python benchmarks/bench_scale.py $(ARGS)

package: .venv/installed-package  ## sdist and wheel into DIST=dist, the wheel tried as a newcomer would: demo and README example
	@$(BIN)/python -m recspark.engine.spark.java --install > /dev/null
	@.ci/package '$(DIST)'

# Spark brings its own pyspark to the driver and to every worker, and wants no other
dist: .venv/installed-dist  ## for a cluster, into DIST=dist: environment.tar.gz (a Python with all packages) and recspark.zip (recspark and jobs)
	@rm -rf build/environment build/zip && mkdir -p build/zip $(DIST) && rm -f $(DIST)/environment.tar.gz $(DIST)/recspark.zip
	@$(BIN)/python -m venv build/environment && build/environment/bin/python -m pip install --quiet --disable-pip-version-check .
	@$(BIN)/venv-pack --quiet --prefix build/environment --output $(DIST)/environment.tar.gz --exclude '*/site-packages/pyspark/*' \
		$(if $(PYTHON_PREFIX),--python-prefix $(PYTHON_PREFIX))
	@cp -R recspark jobs build/zip && find build/zip -name __pycache__ -type d -prune -exec rm -rf {} +
	@$(BIN)/python -m zipfile -c $(DIST)/recspark.zip build/zip/recspark build/zip/jobs
	@rm -rf build && chmod a+r $(DIST)/environment.tar.gz && ls -l $(DIST)/environment.tar.gz $(DIST)/recspark.zip

airflow: .venv/installed-project .venv-airflow/installed  ## the DAG of examples/airflow, run once for real; RECSPARK_DATA=folder for ML-100K
	@$(WITH_JAVA) examples/airflow/try.sh

tables: .venv/installed-test  ## the tests on tables of Delta and Iceberg, in an environment with a Spark that both have jars for; needs Maven
	@if command -v mvn > /dev/null; then \
		$(MAKE) --no-print-directory .venv-tables/installed && $(WITH_JAVA) RECSPARK_TABLE_JARS=.venv-tables/jars \
		.venv-tables/bin/python -m pytest -W ignore::ResourceWarning tests/lakehouse $(ARGS); \
	elif [ '$(CI)' = true ]; then echo >&2 'recspark: make tables needs Maven (mvn)'; exit 1; \
	else echo 'recspark: skipped: Maven'; fi

clean:  ## remove what make made: .venv, the demo's lake, caches
	rm -rf .venv .venv-airflow .venv-tables .venv-rectools dist lake/demo build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache spark-warehouse
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c "$(SUPPORTED)" || { echo >&2 \
		"recspark needs Python 3.11 to 3.13 and $(PYTHON) is $$($(PYTHON) --version 2>&1): type make PYTHON=/path/to/another"; exit 1; }
	@echo "recspark: making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# installed-test is the project with its extra "test": the project is there too, so both stamps count
.venv/installed-%: setup.cfg pyproject.toml conf/spark/find-spark-home | .venv/bin/python
	@echo 'recspark: installing into .venv; the first time takes about two minutes'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(if $(filter-out project,$*),[$*])'
	@cp conf/spark/find-spark-home $(BIN)/find-spark-home
	@touch .venv/installed-project $@

# Airflow keeps to itself: what it needs and what recspark needs don't go together
.venv-airflow/installed: examples/airflow/requirements.txt | .venv/bin/python
	@echo 'recspark: installing Airflow into .venv-airflow; the first time takes about two minutes'
	@$(BIN)/python -m venv --clear .venv-airflow
	@.venv-airflow/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# its own packages, and behind them those of .venv; Spark and Hadoop have the other jars that the formats need
SITE := import sysconfig; print(sysconfig.get_path('purelib'))
# RecTools needs numpy 1
.venv-rectools/installed: | .venv/bin/python
	@$(BIN)/python -m venv --clear .venv-rectools
	@.venv-rectools/bin/python -m pip install --quiet --disable-pip-version-check 'rectools>=0.14'
	@touch $@

.venv-tables/installed: tests/lakehouse/requirements.txt tests/lakehouse/pom.xml | .venv/installed-test
	@echo 'recspark: installing another Spark, with Delta and Iceberg, into .venv-tables; the first time takes about three minutes'
	@$(BIN)/python -m venv --clear .venv-tables
	@echo "import site; site.addsitedir('$$($(BIN)/python -c "$(SITE)")')" \
		> "$$(.venv-tables/bin/python -c "$(SITE)")/project.pth"
	@.venv-tables/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@$(WITH_JAVA) mvn -q -B -f tests/lakehouse/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
		-DincludeGroupIds=io.delta,io.unitycatalog,org.apache.iceberg,org.xerial -DoutputDirectory=$(CURDIR)/.venv-tables/jars
	@touch $@
