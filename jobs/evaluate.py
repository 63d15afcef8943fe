"""spark-submit jobs/evaluate.py --conf-file FILE --set section.key=value ...: the same as
`recspark evaluate`.
"""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
