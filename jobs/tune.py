"""spark-submit jobs/tune.py --conf-file FILE --set section.key=value ...: the same as `recspark tune`."""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
