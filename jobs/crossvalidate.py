"""spark-submit jobs/crossvalidate.py --conf-file FILE --set section.key=value ...: the same as
`recspark crossvalidate`.
"""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["crossvalidate", *sys.argv[1:]]))
