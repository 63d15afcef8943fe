"""spark-submit jobs/ingest.py --conf-file FILE --set section.key=value ...: the same as `recspark ingest`."""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["ingest", *sys.argv[1:]]))
