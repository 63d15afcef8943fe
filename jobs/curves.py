"""spark-submit jobs/curves.py --conf-file FILE --set section.key=value ...: the same as `recspark curves`."""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["curves", *sys.argv[1:]]))
