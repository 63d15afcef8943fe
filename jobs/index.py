"""spark-submit jobs/index.py --conf-file FILE --set section.key=value ...: the same as `recspark index`."""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["index", *sys.argv[1:]]))
