"""The benchmark of cards measures, at a size that the simulator can do."""

from benchmarks.bench_gpu import Work, measure, side


def test_a_line_of_the_benchmark():
    line = measure(Work("tiny", 8, 6, 40, 3), 1)
    assert line["row_error"] < 1e-4
    assert line["iteration_ms"] > 0 and line["rank"] == 3


def test_numbers_of_ratings_are_about_those_asked_for():
    entries = side(1000, 1.2, 500, 1.9, 20_000, 1)
    assert 15_000 < len(entries.values) <= 21_000
    assert entries.indptr[-1] == len(entries.values) == len(entries.indices)
    assert entries.indices.min() >= 0 and entries.indices.max() < 500
