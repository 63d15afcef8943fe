"""Find a Java that can run Spark, or install one.

``python -m recspark.engine.spark.java [--install]`` prints its JAVA_HOME.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from recspark.errors import RecsparkError

#: the oldest Java that Spark 4 runs on
MIN_VERSION = 17
#: packages to try, in this order: no Debian or Ubuntu release has all of them
APT_PACKAGES = ("openjdk-17-jre-headless", "openjdk-21-jre-headless")
#: folders in which systems, IDEs and install-jdk put Java, absolute or under the home folder
WELL_KNOWN = (
    "~/.jdk/*",
    "~/.jre/*",
    "/usr/lib/jvm/*",
    "/Library/Java/JavaVirtualMachines/*",
    "/opt/homebrew/opt/openjdk*",
    "/usr/local/opt/openjdk*",
    "~/Library/Java/JavaVirtualMachines/*",
    "~/.sdkman/candidates/java/*",
)
HOW_TO = (
    f"Spark needs Java {MIN_VERSION} or newer and none was found: type `sudo apt-get install "
    "openjdk-17-jre-headless`"
    " (macOS: `brew install openjdk@17`), or set JAVA_HOME to the folder of one you have"
)


def find_java() -> Path | None:
    """The home folder of the first Java that can run Spark, or None.

    It looks at ``JAVA_HOME``, ``java`` on the PATH, then `WELL_KNOWN`; each candidate is started once (0.2 s)
    to ask for its version.
    """
    return next((home for java in _candidates() if (home := probe(java)) is not None), None)


def _candidates() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"], "bin", "java")
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)
    for pattern in WELL_KNOWN:
        pattern = os.path.expanduser(pattern)
        for folder in sorted(Path(pattern).parent.glob(Path(pattern).name)):
            yield folder / "bin" / "java"
            yield folder / "Contents" / "Home" / "bin" / "java"


def probe(java: Path) -> Path | None:
    """The real home folder of the executable `java` if Spark can run on it, else None.

    Java itself is asked where it lives, because ``java`` may be a link or a version manager's script. It is
    asked with the module that Spark always adds, because some cut-down Javas of the right version lack it.
    """
    command = [str(java), "-XshowSettings:properties", "--add-modules=jdk.incubator.vector", "-version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    home = re.search(r"^\s*java\.home = (.+)$", done.stderr, re.MULTILINE)
    if done.returncode != 0 or home is None or java_version(done.stderr) < MIN_VERSION:
        return None
    return Path(home[1].strip())


def java_version(text: str) -> int:
    """The major version in the output of ``java -version``, 0 if there is none.

    >>> java_version('openjdk version "17.0.15" 2025-04-15'), java_version('java version "1.8.0_372"')
    (17, 8)
    """
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else 0


def ensure_java(install: bool = False) -> str:
    """A JAVA_HOME that Spark can use.

    If there is none and `install` is true, Java is installed: by apt if we are root, else by install-jdk into
    ``~/.jdk``.

    Raises
    ------
    RecsparkError
        One sentence that says what to type.
    """
    home = find_java()
    for installer in (_install_by_apt, _install_by_jdk) if install else ():
        if home is None:
            installer()
            home = find_java()
    if home is None:
        raise RecsparkError(HOW_TO)
    return str(home)


def _install_by_apt() -> None:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return
    _run_apt(apt, "update")
    any(_run_apt(apt, "install", "--yes", "--no-install-recommends", package) for package in APT_PACKAGES)


def _run_apt(*command: str) -> bool:
    _say(" ".join(command))
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        [*command, "-qq"], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        _say((done.stderr.strip().splitlines() or ["failed"])[-1])
    return done.returncode == 0


def _install_by_jdk() -> None:
    import jdk  # only here: nobody who has a Java needs it

    # a JDK, not the smaller JRE, which lacks the module that Spark adds
    _say(f"downloading Java {MIN_VERSION} into ~/.jdk")
    try:
        jdk.install(str(MIN_VERSION))
    except (jdk.JdkError, OSError) as error:
        _say(f"the download failed: {error}")


def _say(text: str) -> None:
    print(f"recspark: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Print JAVA_HOME; ``--install`` installs a Java if there is none."""
    parser = argparse.ArgumentParser(prog="python -m recspark.engine.spark.java", description=main.__doc__)
    parser.add_argument("--install", action="store_true", help="install a Java where there is none")
    try:
        print(ensure_java(parser.parse_args(arguments).install))
    except RecsparkError as error:
        _say(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
