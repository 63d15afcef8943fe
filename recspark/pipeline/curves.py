"""The job `curves`: the RMSE by epoch of several models of the lake in one figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pandas as pd

from recspark.config import Check, Option, Section
from recspark.errors import ConfigError
from recspark.evaluation.plots import RUN_COLOURS, plot_curves
from recspark.lake.lake import FILE_NAME
from recspark.lake.manifests import ModelManifest

if TYPE_CHECKING:
    from recspark.pipeline.context import Context


class CurveOptions(Section):
    """The models of the figure, and its name."""

    name = "curves"
    models = Option(
        list,
        None,
        "names of models in the lake; same as the words after `recspark curves`",
        Check(
            lambda names: (
                all(isinstance(name, str) for name in names)
                and 1 <= len(set(names)) == len(names) <= len(RUN_COLOURS)
            ),
            f'of different names, at most {len(RUN_COLOURS)}, such as ["als", "mf"]',
        ),
    )
    figure = Option(str, "curves", "the figure is kept as metrics/FIGURE.png", FILE_NAME)


def curves(job: Context) -> dict[str, object]:
    """Histories of models/NAME ... -> metrics/FIGURE.png."""
    options = job.sections.curves
    if options.models is None:
        raise ConfigError("curves.models is not set: name the models, as in `recspark curves als mf`")
    with job.running("curves", "curves") as run:
        histories = {
            name: job.lake.require(f"models/{name}", ModelManifest, "train").history
            for name in options.models
        }
        rows = pd.concat([pd.DataFrame(history).assign(run=name) for name, history in histories.items()])
        figure, place = (
            plot_curves(rows.rename(columns={"iteration": "epoch"})),
            f"metrics/{options.figure}.png",
        )
        image = io.BytesIO()
        figure.savefig(image, format="png")
        job.lake.write_bytes(place, image.getvalue())
        run.figure(figure, f"figures/{options.figure}.png")
        return {
            "models": options.models,
            "figure": job.lake.path(place),
            "epochs": {name: len(rows) for name, rows in histories.items()},
        }
