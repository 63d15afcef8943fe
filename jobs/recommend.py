"""spark-submit jobs/recommend.py --conf-file FILE --set section.key=value ...: the same as
`recspark recommend`.
"""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["recommend", *sys.argv[1:]]))
