"""spark-submit jobs/rollback.py --conf-file FILE --set section.key=value ...: the same as
`recspark rollback`.
"""

import sys

from recspark.cli import main

if __name__ == "__main__":
    sys.exit(main(["rollback", *sys.argv[1:]]))
