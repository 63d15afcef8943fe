"""The job `curves`: the RMSE by epoch of several models of the lake in one figure."""

from __future__ import annotations

import io

import pandas as pd

from recspark.errors import ConfigError
from recspark.evaluation.plots import plot_curves
from recspark.lake.manifests import ModelManifest
from recspark.pipeline.context import Context


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
