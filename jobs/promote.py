"""spark-submit jobs/promote.py --conf-file FILE --set section.key=value ...: the same as
`recspark promote`.
"""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["promote", *sys.argv[1:]]))
