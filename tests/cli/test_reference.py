"""`recspark JOB --help` and `recspark conf` say all that a conf may say, and what they print is a conf."""

import re
import tomllib
from pathlib import Path

import pytest

from recspark.cli import main
from recspark.cli.main import _named_models, _parser
from recspark.cli.reference import WIDTH, keys, starter
from recspark.models.registry import KINDS
from recspark.pipeline.conf.sections import SECTIONS, validated
from recspark.pipeline.jobs import JOBS

PIPELINE = Path(__file__).parents[2] / "recspark/pipeline"


def test_the_help_of_a_job_lists_the_keys_that_it_reads(capsys):
    with pytest.raises(SystemExit) as done:
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert done.value.code == 0 and "--conf-file" in text
    assert "model.rank number of factors (a whole number, at least 1; default 10)" in text
    assert "split.kind" in text and "recommend.n" not in text


@pytest.mark.parametrize("job", JOBS)
def test_each_job_names_the_sections_that_its_code_reads(job):
    module = PIPELINE / f"{(JOBS[job].module or job).replace('.', '/')}.py"
    if JOBS[job].module != "stages" and job != "sync":
        assert set(re.findall(r"job\.sections\.(\w+)", module.read_text())) <= set(JOBS[job].reads)
    assert set(JOBS[job].reads) <= {section.name for section in SECTIONS}
    assert max(map(len, keys(job).splitlines())) <= WIDTH


@pytest.mark.parametrize("model", KINDS)
def test_a_conf_to_begin_with_is_valid_with_and_without_its_comments(model, capsys):
    assert main(["conf", "--model", model]) == 0
    text = capsys.readouterr().out
    assert text == starter(model)
    sections = validated(tomllib.loads(text))
    assert sections.model.kind == model
    defaults = re.sub(r"^# (\w+ = \S.*)$", r"\1", text, flags=re.MULTILINE)
    assert defaults.count("\n# ") < text.count("\n# ")
    whole = validated(tomllib.loads(defaults))
    for name in {section.name for section in SECTIONS} - {"model"}:
        assert getattr(whole, name).as_dict() == getattr(sections, name).as_dict()


def test_an_unknown_type_of_model_is_refused(capsys):
    with pytest.raises(SystemExit) as done:
        main(["conf", "--model", "tree"])
    assert done.value.code == 2 and "choose from als, mf" in capsys.readouterr().err.replace("'", "")


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["compare", "a", "b"], 'compare.models=["a", "b"]'),
        (["promote", "a"], 'promote.candidate="a"'),
        (["recommend", "a"], 'model.name="a"'),
        (["evaluate", "a"], 'model.name="a"'),
        (["update", "a"], 'model.name="a"'),
        (["curves", "a"], 'curves.models=["a"]'),
    ],
)
def test_models_are_named_alike_by_all_jobs(words, setting):
    assert _named_models(_parser().parse_args(words)) == [setting]
    assert _named_models(_parser().parse_args(words[:1])) == []
