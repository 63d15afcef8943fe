"""Finding and installing Java, with shell scripts in the place of Javas."""

import stat
import subprocess
import sys

import pytest

from recspark.engine.spark import java
from recspark.errors import RecsparkError

JAVA_17 = 'openjdk version "17.0.15" 2025-04-15'
JAVA_8 = 'java version "1.8.0_372"'


@pytest.fixture(autouse=True)
def no_java_here(monkeypatch, tmp_path):
    """A machine without Java, where we are not root."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty-path"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(java, "WELL_KNOWN", ("~/.jdk/*",))
    monkeypatch.setattr(java.os, "geteuid", lambda: 1000)


def make_java(home, version=JAVA_17, real_home=None, exit_code=0):
    """A java that answers with `version` and says that it lives in `real_home`."""
    return make_script(
        home / "bin" / "java",
        f"""case "$*" in *--add-modules=jdk.incubator.vector*) ;; *) exit 9 ;; esac
echo 'Property settings:\n    java.home = {real_home or home}\n{version}' >&2
exit {exit_code}""",
    )


def make_script(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (JAVA_8, 8),
        ('openjdk version "11.0.2" 2019-01-15', 11),
        (JAVA_17, 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ("command not found", 0),
    ],
)
def test_version_of_old_and_new_numbering(text, version):
    assert java.java_version(text) == version


def test_finds_none_where_there_is_none():
    assert java.find_java() is None


def test_java_home_comes_before_the_path(monkeypatch, tmp_path):
    make_java(tmp_path / "on-path")
    make_java(tmp_path / "named")
    monkeypatch.setenv("PATH", str(tmp_path / "on-path" / "bin"))
    assert java.find_java() == tmp_path / "on-path"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "named"))
    assert java.find_java() == tmp_path / "named"


def test_a_version_managers_script_is_asked_for_the_real_home(monkeypatch, tmp_path):
    make_java(tmp_path / "shims", real_home=tmp_path / "versions" / "17")
    monkeypatch.setenv("PATH", str(tmp_path / "shims" / "bin"))
    assert java.find_java() == tmp_path / "versions" / "17"


@pytest.mark.parametrize(
    "unfit", [{"version": JAVA_8}, {"version": 'openjdk version "16.0.2"'}, {"exit_code": 1}]
)
def test_an_unfit_java_home_falls_through_to_the_cache(monkeypatch, tmp_path, unfit):
    make_java(tmp_path / "unfit", **unfit)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "unfit"))
    assert java.find_java() is None
    make_java(tmp_path / ".jdk" / "jdk-17" / "Contents" / "Home")
    assert java.find_java() == tmp_path / ".jdk" / "jdk-17" / "Contents" / "Home"


def test_without_install_one_sentence_says_what_to_type():
    with pytest.raises(
        RecsparkError, match=r"^Spark needs Java 17 or newer .* type `sudo apt-get install .*JAVA_HOME[^.]*$"
    ):
        java.ensure_java(install=False)


def test_a_java_that_is_there_is_not_installed_again(monkeypatch, tmp_path):
    make_java(tmp_path / ".jdk" / "17")
    monkeypatch.setattr(java, "_install_by_apt", pytest.fail)
    monkeypatch.setattr(java, "_install_by_jdk", pytest.fail)
    assert java.ensure_java(install=True) == str(tmp_path / ".jdk" / "17")


def test_root_installs_by_apt_the_first_package_that_there_is(monkeypatch, tmp_path):
    log = tmp_path / "apt.log"
    prepared = make_java(tmp_path / "prepared", real_home=tmp_path / ".jdk" / "by-apt").parent.parent
    make_script(
        tmp_path / "bin" / "apt-get",
        f"""echo "$*" >> {log}
case "$*" in
  *openjdk-17*) echo 'E: Unable to locate package' >&2; exit 100 ;;
  *openjdk-21*) /bin/mkdir -p {tmp_path}/.jdk; /bin/cp -r {prepared} {tmp_path}/.jdk/by-apt ;;
esac""",
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(java.os, "geteuid", lambda: 0)
    monkeypatch.setattr(java, "_install_by_jdk", pytest.fail)
    assert java.ensure_java(install=True) == str(tmp_path / ".jdk" / "by-apt")
    assert [line.split()[-2] for line in log.read_text().splitlines()] == ["update", *java.APT_PACKAGES]


def test_others_install_into_their_cache(monkeypatch, tmp_path, capsys):
    import jdk

    monkeypatch.setattr(jdk, "install", lambda version: make_java(tmp_path / ".jdk" / f"jdk-{version}"))
    assert java.main(["--install"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path}/.jdk/jdk-17\n"
    assert "downloading Java 17" in printed.err


def test_a_failed_download_ends_in_the_sentence(monkeypatch, capsys):
    import jdk

    def fail(version):
        raise jdk.JdkError("no network")

    monkeypatch.setattr(jdk, "install", fail)
    assert java.main(["--install"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no network" in printed.err and printed.err.strip().endswith(java.HOW_TO)


def test_the_command_prints_nothing_but_java_home(monkeypatch, tmp_path):
    make_java(tmp_path / ".jdk" / "17")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / ".jdk" / "17"))
    done = subprocess.run(
        [sys.executable, "-m", "recspark.engine.spark.java"], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"{tmp_path}/.jdk/17\n", "", 0)
