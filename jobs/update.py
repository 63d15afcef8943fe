"""spark-submit jobs/update.py --conf-file FILE --set section.key=value ...: the same as `recspark update`."""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["update", *sys.argv[1:]]))
