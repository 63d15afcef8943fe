"""spark-submit jobs/compare.py NAME NAME ... --conf-file FILE --set section.key=value ...: the same as
`recspark compare`.
"""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
