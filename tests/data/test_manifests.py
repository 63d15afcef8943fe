"""Manifests are read as earlier commits wrote them; a damaged one is named with its file and field."""

import json

import msgspec
import pytest

from recspark.errors import RecsparkError
from recspark.lake.lake import Lake
from recspark.lake.manifests import (
    BatchManifest,
    IndexManifest,
    ListsManifest,
    Manifest,
    ModelManifest,
    PredictionsManifest,
    SplitManifest,
    TablesManifest,
    content,
)

STAMP = {"fingerprint": "f00d", "created": "2026-01-31T08:00:00Z"}
COUNTED = {"read": 3, "kept": 2, "quarantined": 1, "reasons": {"rating is no number": 1}}
RATINGS = {"rows": 2, "digest": "00ff", "schema": "user_id bigint", **COUNTED}
DERIVED = {"rows": 2, "digest": "0a0b", "schema": "user_id bigint"}
ROW = {"iteration": 1, "train_rmse": 0.9, "objective": float("inf"), "seconds": 0.01}
MODEL = {
    "split": "splits/default",
    "split_fingerprint": "beef",
    "params": {"type": "als", "name": "als", "positiveFrom": 4.0},
    "features": {"groups": None, "leak": False},
    "history": [ROW],
    "best_iteration": 1,
    "fit_seconds": 0.5,
}
#: as they were written before they had types: the product, its class, its fields
WRITTEN = {
    "tables": (
        TablesManifest,
        {
            "source": "r.csv",
            "users": "u.csv",
            "dataset": "csv",
            "digest": "d1",
            "options": {"header": True, "nullValues": ["NA"], "ratingMin": None},
            "files": ["r.csv"],
            "tables": {
                "ratings": RATINGS | {"merged": 0},
                "users": DERIVED | {"added": 1},
                "links": COUNTED | {"reasons": {}},
            },
        },
    ),
    "updates/1": (
        BatchManifest,
        {"source": "r.csv", "digest": "d2", "tables": {"ratings": RATINGS, "quarantine": DERIVED}},
    ),
    "index": (IndexManifest, {"source": "cafe", "ratings": 3, "users": 2, "items": 2}),
    "grown": (
        IndexManifest,
        {"source": "cafe", "ratings": 3, "users": 2, "items": 2, "updates": ["updates/1"]},
    ),
    "splits/default": (
        SplitManifest,
        {
            "source": "cafe",
            "options": {"kind": "random", "fold": None, "name": "default"},
            "counts": {"train": 8, "validation": 0, "test": 2},
            "cold": {"rows": 2, "user": 1, "item": 0, "both": 0, "share": 0.5},
        },
    ),
    "models/als": (ModelManifest, MODEL),
    "models/als-v1": (ModelManifest, MODEL | {"version": 1}),
    "models/updated": (
        ModelManifest,
        MODEL
        | {
            "version": 2,
            "previous": "models/als-v1",
            "updates": ["updates/1"],
            "update": {"ratings": 3, "new_users": 1, "solve_seconds": 0.25},
        },
    ),
    "models/recspark-champion": (
        ModelManifest,
        MODEL | {"registered": {"name": "recspark", "version": 3, "candidate": "als"}},
    ),
    "models/blend": (
        ModelManifest,
        {
            "split": "splits/default-full",
            "history": [],
            "blend": {
                "models": ["als-full", "mf-full"],
                "weights": [0.5, 0.5],
                "intercept": 0.0,
                "penalty": 0.1,
                "rmse": 0.9,
            },
        },
    ),
    "predictions/als": (
        PredictionsManifest,
        {"model": "f00d", "split": "splits/default", "split_fingerprint": "beef"},
    ),
    "recommendations/als": (
        ListsManifest,
        {"model": "als", "options": {"n": 10, "users": "all"}, "counts": {"rows": 20, "users": 2}},
    ),
    "metrics/als": (Manifest, {}),
}


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path))


@pytest.mark.parametrize("product", WRITTEN)
def test_what_was_written_is_read_and_written_again_as_it_was(lake, product):
    kind, fields = WRITTEN[product]
    lake.write_json(f"{product}/manifest.json", STAMP | fields)
    before = lake.read_json(f"{product}/manifest.json")
    found = lake.manifest(product, kind)
    with lake.publish("copy", "f00d") as publication:
        publication.manifest = found
    after = lake.read_json("copy/manifest.json")
    assert json.dumps(after | {"created": STAMP["created"]}, sort_keys=True) == json.dumps(
        before, sort_keys=True
    )


def test_the_fields_are_attributes(lake):
    for product, (_, fields) in WRITTEN.items():
        lake.write_json(f"{product}/manifest.json", STAMP | fields)
    tables = lake.require("tables", TablesManifest, "ingest")
    assert (tables.tables["ratings"].rows, tables.tables["ratings"].merged, tables.items) == (2, 0, None)
    model = lake.require("models/als", ModelManifest, "train")
    assert (model.positive_from, model.version, model.updates, model.blend) == (4.0, None, (), None)
    # a whole number stays one: the axis of a figure has its epochs
    assert [type(value) for value in model.history[0].values()].count(int) == 1
    assert lake.require("splits/default", SplitManifest, "split").cold.share == 0.5
    assert lake.require("models/blend", ModelManifest, "train").blend.models == ("als-full", "mf-full")


@pytest.mark.parametrize(
    ("product", "change", "error"),
    [
        ("index", {"ratings": None}, "Expected `int`, got `null` - at `$.ratings`"),
        ("index", {"fingerprint": ...}, "Object missing required field `fingerprint`"),
        ("splits/default", {"counts": ...}, "Object missing required field `counts`"),
        ("splits/default", {"counts": {"train": "8"}}, "Expected `int`, got `str` - at `$.counts[...]`"),
        ("models/als", {"history": {}}, "Expected `array`, got `object` - at `$.history`"),
        (
            "tables",
            {"tables": {"ratings": COUNTED}},
            "table `ratings` is missing the required field `rows`",
        ),
    ],
)
def test_a_damaged_manifest_is_named_with_its_field(lake, product, change, error):
    kind, fields = WRITTEN[product]
    whole = STAMP | fields | change
    lake.write_json(
        f"{product}/manifest.json", {key: value for key, value in whole.items() if value is not ...}
    )
    with pytest.raises(RecsparkError) as raised:
        lake.require(product, kind, "ingest")
    assert str(raised.value) == f"{lake.root}/{product}/manifest.json is damaged: {error}"


def test_a_manifest_that_is_not_an_object_is_damaged(lake):
    lake.write_json("index/manifest.json", [])
    with pytest.raises(RecsparkError, match=r"index/manifest.json is damaged: Expected `object`, got `arr"):
        lake.is_current("index", "f00d")


def test_every_kind_is_frozen_and_leaves_out_what_is_not_set():
    for kind, fields in WRITTEN.values():
        manifest = msgspec.convert(STAMP | fields, kind)
        assert set(content(manifest)) == {*STAMP, *fields}
        with pytest.raises(AttributeError):
            manifest.fingerprint = "other"
