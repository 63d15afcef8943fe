"""spark-submit jobs/pipeline.py --conf-file FILE --set section.key=value ...: the same as
`recspark pipeline`.
"""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["pipeline", *sys.argv[1:]]))
