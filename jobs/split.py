"""spark-submit jobs/split.py --conf-file FILE --set section.key=value ...: the same as `recspark split`."""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["split", *sys.argv[1:]]))
