"""Run the notebooks and keep their outputs in them: ``python examples/notebooks/run.py [NAME.ipynb ...]``."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """A notebook with the outputs of a run in `folder`; a cell that fails raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=900, resources=resources)
    client.record_timing, client.coalesce_streams = False, True  # so that another run stores the same
    return client.execute()


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or sorted(FOLDER.glob("*.ipynb"))):
        nbformat.write(executed(path, FOLDER), path)
