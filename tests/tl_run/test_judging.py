import csv

import pytest

from tests.conftest import module_for, pair_for, trainer_for
from tl_run.callbacks.judging import SampleTables


def test_the_tests_table_holds_each_sample_once_and_agrees_with_the_metric(tmp_path):
    data = pair_for("multitask")
    data.prepare_data()
    data.setup()
    module = module_for("multitask", data)
    tables = SampleTables(tmp_path)
    loaders = data.whole("test", ["target", "source"])

    metrics = trainer_for(1, callbacks=[tables]).test(module, loaders, verbose=False)

    merged = {key: value for part in metrics for key, value in part.items()}
    rows = list(csv.DictReader((tmp_path / "test.csv").open()))
    assert len({row["id"] for row in rows}) == len(rows) == len(data.split("target", "test"))
    assert sum(float(row["right"]) for row in rows) / len(rows) == pytest.approx(
        merged["test/target/accuracy"], abs=1e-6
    )
    assert {row["truth"] == row["prediction"] for row in rows if row["right"] == "1.0"} == {True}
    assert (tmp_path / "test_source.csv").exists()
