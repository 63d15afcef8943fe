"""What the site needs beside mkdocs: files outside of docs that pages link to, and a watch on other hosts.

Pages are written for the forge, where ``../conf/a.toml`` and, in the README, ``docs/data.md`` are links. In
the site such files lie under ``repository/``; notebooks are pages there.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

log = logging.getLogger("mkdocs.hooks.site")

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = "repository"
#: the path of a link without its anchor; a link with a scheme leads to another host
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)[^)#\s]+")
OTHER_HOST = re.compile(
    r'<(?:script|img|iframe)\b[^>]*\bsrc="?(?:https?:)?//[^>]*|<link\b[^>]*stylesheet[^>]*//[^>]*'
)
MERMAID = re.compile(r"^```mermaid\n.*?^```$", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
#: the end of a paragraph that a list follows: Python-Markdown wants a blank line there, a forge does not
BEFORE_LIST = re.compile(r"^(?!\s|[-*+>|#]|\d+\. )(.+\n)(?=[-*+] |\d+\. )", re.MULTILINE)
JOBS = "![The jobs: each reads the lake, writes its product there and logs a run](docs/images/jobs.svg)"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of docs that pages link to, and those that these link to."""
    pages = [file for file in files if file.is_documentation_page()]
    while pages:
        page = pages.pop()
        for link in LINK.findall(page.content_string):
            source = in_repository(page.src_uri, link)
            if source.is_file() and not files.get_file_from_path(in_site(source)):
                made = list(copied(config, source))
                for file in made:
                    files.append(file)
                pages += [file for file in made if source.suffix == ".md"]
    return files


def copied(config: MkDocsConfig, source: Path) -> Iterator[File]:
    """The files of the site that a file outside of docs becomes: a notebook is a page and its pictures."""
    place = in_site(source)
    if source.suffix != ".ipynb":
        yield File.generated(config, place, content=source.read_bytes())
        return
    text, made = MarkdownExporter().from_notebook_node(nbformat.read(source, as_version=4))
    for name, picture in made["outputs"].items():
        text = text.replace(f"]({name})", f"]({source.stem}_{name})")
        yield File.generated(config, f"{posixpath.dirname(place)}/{source.stem}_{name}", content=picture)
    yield File.generated(config, place, content=text)


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links lead to where the site has their targets, and lists be lists; blocks of code stay."""
    here = page.file.src_uri

    def relative(link: re.Match[str]) -> str:
        return posixpath.relpath(in_site(in_repository(here, link[0])), posixpath.dirname(here) or ".")

    parts = FENCE.split(MERMAID.sub(JOBS, markdown))
    parts[::2] = [LINK.sub(relative, BEFORE_LIST.sub(r"\1\n", text)) for text in parts[::2]]
    return "".join(parts)


def on_post_page(output: str, page: Page, **_: object) -> None:
    """Warn of files that a page takes from other hosts."""
    for found in OTHER_HOST.findall(output):
        log.warning("%s takes a file from another host: %s", page.file.src_uri, found)


def in_repository(page: str, link: str) -> Path:
    """The file that a page of the site links to."""
    folder = ROOT / "docs" / page
    if page.startswith(f"{OUTSIDE}/"):
        folder = ROOT / page.removeprefix(f"{OUTSIDE}/")
    return Path(posixpath.normpath(folder.parent / link))


def in_site(path: Path) -> str:
    """The place of a file in the site.

    >>> in_site(ROOT / "docs/api/data.md"), in_site(ROOT / "conf/ml-1m-als.toml")
    ('api/data.md', 'repository/conf/ml-1m-als.toml')
    """
    if path.is_relative_to(ROOT / "docs"):
        return path.relative_to(ROOT / "docs").as_posix()
    place = posixpath.join(OUTSIDE, posixpath.relpath(path, ROOT))
    return place.removesuffix(".ipynb") + ".md" if path.suffix == ".ipynb" else place
