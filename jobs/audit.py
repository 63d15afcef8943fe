"""spark-submit jobs/audit.py --conf-file FILE --set section.key=value ...: the same as `recspark audit`."""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["audit", *sys.argv[1:]]))
