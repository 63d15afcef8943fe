"""spark-submit jobs/blend.py --conf-file FILE --set section.key=value ...: the same as `recspark blend`."""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["blend", *sys.argv[1:]]))
