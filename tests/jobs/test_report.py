"""The report of a pipeline: its page, read as a browser would, and the job that writes it."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recspark.data.generated.synthetic import SyntheticOptions, generate, write_movielens
from recspark.pipeline.report import figures
from recspark.pipeline.report.page import Part, Side, Table, Text, Tiles, page, picture

PARTS = ["result", "data", "curve", "errors", "lists", "settings", "origin"]
#: elements that have no end
VOID = {"meta", "img"}


class Page(HTMLParser):
    """The elements, attributes and texts of a page; an element that is not closed is an error."""

    def __init__(self, html):
        super().__init__()
        self.open, self.sections, self.addresses, self.texts, self.tags = [], {}, [], [], set()
        self.section = None
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = found["id"]
            self.sections[self.section] = ""
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag == "img":
            assert found["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.section:
            self.sections[self.section] += data


def check(html):
    """A page of one file without scripts, under 1 MB; returns it parsed."""
    found = Page(html)
    assert len(html.encode()) < 1_000_000
    assert all(address.startswith("data:image/png;base64,") for address in found.addresses)
    assert not {"script", "link", "iframe", "object"} & found.tags
    assert "@import" not in html and "url(" not in html
    return found


def test_values_are_escaped_and_long_ones_cut():
    nasty = "<script>alert('x')</script> & \"quotes\" Ünïcode"
    blocks = [
        Text(nasty),
        Tiles([(nasty, nasty)]),
        Side([Table((nasty,), [[nasty], ["x" * 10_000]], nasty), Text(nasty, "code")]),
    ]
    found = check(page(nasty, [Part("a", nasty, blocks)]))
    assert "script" not in found.tags
    texts = [text.strip() for text in found.texts]
    assert texts.count(nasty) == 10
    assert "x" * 300 + " ..." in texts


def test_long_tails_and_their_heads():
    counts = pd.DataFrame({"count": [1, 2, 50], "n": [6, 2, 2]})
    assert figures.head_share(counts) == 100 / 110
    assert figures.head_share(pd.DataFrame({"count": [3], "n": [1]})) == 1
    figure = figures.plot_long_tail({"items": counts, "users": counts})
    line = figure.axes[0].get_lines()[0]
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 10] and list(line.get_ydata()) == [50, 50, 2, 2, 1, 1]
    assert picture(figure, "tail").png


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        (["train_rmse", "objective"], "RMSE by epoch"),
        (["validation_auc", "objective"], "AUC by iteration"),
        (["objective"], "objective by iteration"),
    ],
)
def test_the_curve_is_of_the_best_metric_there_is(columns, title):
    history = pd.DataFrame({"iteration": [1, 2], **{name: [0.9, 0.8] for name in columns}})
    assert figures.plot_history(history).axes[0].get_title(loc="left") == title
    assert figures.plot_history(history[["iteration"]]) is None


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported") / "ml-1m"
    write_movielens(generate(SyntheticOptions(users=60, items=40, ratings=1500)), folder)
    movies = folder / "movies.dat"
    numbers = [line.partition(b"::")[0] for line in movies.read_bytes().splitlines()]
    title = b"<script>\"Am\xe9lie\" & 'Co'</script> (2001)"
    movies.write_bytes(b"".join(number + b"::" + title + b"::Drama\n" for number in numbers))
    with (folder / "ratings.dat").open("ab") as ratings:
        ratings.write(b"1::1::9::978300760\n1::one::5::978300760\n")
    return folder


@pytest.mark.slow
def test_a_pipeline_leaves_a_report(command, source, tmp_path, monkeypatch):
    settings = [f"paths.lake={tmp_path}", f"data.source={source}", "model.maxIter=3", "model.rank=4"]
    settings += ["tracking.logModel=false"]
    words = ["/bin/recspark", "pipeline", "--set", "data.source=https://me:hunter2@host/a b.zip"]
    monkeypatch.setattr("sys.argv", words)
    code, summary, err = command("pipeline", *settings)
    assert code == 0, err
    place = tmp_path / "reports" / "als.html"
    assert summary["report"] == str(place) and err.splitlines()[-1].endswith(f"report: {place}")
    for number, stage in enumerate(("ingest", "index", "split", "train", "evaluate", "report"), start=1):
        assert f"stage {number} of 6, {stage}: done, " in err
    html = place.read_text("utf-8")
    found = check(html)
    assert list(found.sections) == PARTS
    sections = found.sections
    assert f"{summary['rmse']:.4f}" in sections["result"] and "mean rating" in sections["result"]
    assert "1,500" in sections["data"] and "1::1::9::978300760" in sections["data"]
    assert "rating_range" in sections["data"] and "unparsable" in sections["data"]
    assert "3 iterations" in sections["curve"] and "By training ratings of the user" in sections["errors"]
    assert sections["lists"].count("Recommended") == 3
    assert "<script>\"Amélie\" & 'Co'</script> (2001)" in sections["lists"]
    assert "model.rank" in sections["settings"] and summary["run_id"] in sections["origin"]
    assert "recspark pipeline --set 'data.source=https://***@host/a b.zip'" in sections["origin"]
    assert "hunter2" not in html
    artifacts = list((tmp_path / "mlartifacts").rglob("report.html"))
    assert [file.read_text("utf-8") for file in artifacts] == [html]


@pytest.mark.slow
def test_a_model_without_lists_on_data_without_titles(command, tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": "u" * 100, "item_id": [f"{'i' * 100}{n}" for n in range(60)]})
    rows.assign(rating=rng.normal(0, 2, 60).round(3)).to_csv(tmp_path / "ratings.csv", index=False)
    settings = [
        f"paths.lake={tmp_path / 'lake'}",
        f"data.source={tmp_path / 'ratings.csv'}",
        "data.dataset=csv",
    ]
    settings += ["tracking.enabled=false", "model.maxIter=3", "split.testFraction=0.3"]
    code, summary, err = command("pipeline", *settings, "model.rank=2")
    assert code == 0 and "is not written" not in err, err
    sections = check(Path(summary["report"]).read_text("utf-8")).sections
    assert "Quarantine: no row." in sections["data"] and "not tracked" in sections["origin"]
    assert sections["lists"].count("Recommended") == 1

    fm = ["model.type=fm", "model.solver=sgd", "model.order=3", 'features.groups=["user", "item"]']
    code, summary, err = command("pipeline", *settings, *fm)
    assert code == 0 and "is not written" not in err, err
    sections = check(Path(summary["report"]).read_text("utf-8")).sections
    assert "No lists: " in sections["lists"]


@pytest.mark.slow
def test_a_report_that_fails_does_not_fail_the_job_and_can_be_left_out(
    command, source, tmp_path, monkeypatch
):
    def fail(*_):
        raise ValueError("no such page")

    monkeypatch.setattr("recspark.pipeline.report.report.page", fail)
    settings = [f"paths.lake={tmp_path}", f"data.source={source}", "model.type=popularity"]
    code, summary, err = command("pipeline", *settings, "tracking.enabled=false")
    assert code == 0 and summary["report"] is None
    assert "reports/popularity.html is not written: no such page" in err
    code, summary, err = command("pipeline", *settings, "tracking.enabled=false", "tracking.report=false")
    assert code == 0 and "report" not in summary and "is not written" not in err
    assert "stage 1 of 5, ingest: unchanged, " in err and "; about " in err
    assert not (tmp_path / "reports" / "popularity.html").exists()
