"""spark-submit jobs/train.py --conf-file FILE --set section.key=value ...: the same as `recspark train`."""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
