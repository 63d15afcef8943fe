"""Which versions of a model are kept, on folders of a lake alone."""

import pytest

from recspark.lake.lake import Lake
from recspark.lake.manifests import ModelManifest
from recspark.pipeline.gate.versions import keep_updated, keep_version


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path))


def publish(lake, stamp, fingerprint="made of this", **facts):
    with lake.publish("models/als", fingerprint) as publication:
        lake.write_json(f"{publication.product}/model.json", {"stamp": stamp})
        publication.manifest = ModelManifest(
            fingerprint=fingerprint, split="splits/default", history=[], **facts
        )
    return lake.manifest("models/als", ModelManifest)


def stamps(lake):
    return {name: lake.read_json(f"models/{name}/model.json")["stamp"] for name in lake.names("models")}


def test_only_what_updates_have_changed_is_kept_before_training(lake, caplog):
    assert keep_updated(lake, "als") is None
    publish(lake, "trained")
    assert keep_updated(lake, "als") is None and lake.names("models") == ["als"] and not caplog.records
    publish(lake, "updated", "with a batch", version=2, updates=("updates/1", "updates/2"))
    assert keep_updated(lake, "als") == "models/als-v2"
    assert caplog.messages == [
        "models/als is trained anew, without the updates that it had taken in (updates/1, updates/2): it is "
        "kept as models/als-v2"
    ]
    assert stamps(lake) == {"als": "updated", "als-v2": "updated"}
    assert lake.read_json("models/als-v2/manifest.json")["updates"] == ["updates/1", "updates/2"]


def test_a_model_is_kept_once(lake):
    manifest = publish(lake, "one")
    assert [keep_version(lake, "als", manifest) for _ in range(2)] == [1, 1]
    # made of the same by name, but made again: from another start, or to be sure
    manifest = publish(lake, "other")
    assert [keep_version(lake, "als", manifest) for _ in range(2)] == [2, 2]
    assert stamps(lake) == {"als": "other", "als-v1": "one", "als-v2": "other"}
    manifest = publish(lake, "one")
    assert keep_version(lake, "als", manifest) == 1
