import torch

from tests.conftest import module_for, pair_for, trainer_for
from tests.tl_run.report import made_up
from tl_modules import Task
from tl_run.callbacks.crossing import UnionTables
from tl_run.report import crossing
from tl_run.report.crossing import NOTHING, Crossed

TASKS = {"source": Task("t", "detection", ("cat",)), "target": Task("t", "detection", ("dog",))}


def counts(rows):
    return torch.tensor(rows)


def test_the_table_says_what_was_predicted_on_whose_samples_and_can_be_read_again(tmp_path):
    tables = crossing.crossed(
        {"source": counts([[7, 2, 1], [0, 0, 0], [0, 3, 0]]), "target": counts([[0, 0, 0], [0, 4, 0], [0, 0, 0]])},
        TASKS,
        ["cat", "dog"],
    )
    assert tables["source"] == Crossed(["cat", NOTHING], ["cat", "dog", NOTHING], [[7, 2, 1], [0, 3, 0]])
    assert tables["target"] == Crossed(["dog"], ["cat", "dog", NOTHING], [[0, 4, 0]])
    assert tables["source"].shares() == [[0.7, 0.2, 0.1], [0, 1, 0]]
    path = tmp_path / crossing.TABLE
    path.write_text(crossing.as_csv(tables))
    assert path.read_text().splitlines()[1] == "source,cat,7,2,1"
    assert crossing.read(path) == tables and crossing.read(tmp_path / "other.csv") == {}


def test_tables_of_several_runs_are_added_by_name():
    one = {"source": Crossed(["cat"], ["cat", "dog"], [[3, 1]])}
    other = {"source": Crossed(["cat", NOTHING], ["cat", "dog", NOTHING], [[1, 0, 5], [0, 2, 0]])}
    assert crossing.added([one, other])["source"] == Crossed(
        ["cat", NOTHING], ["cat", "dog", NOTHING], [[4, 1, 5], [0, 2, 0]]
    )


def test_a_test_writes_table_and_picture_of_merged_datasets_alone(tmp_path):
    for cell in ("dataset_merging", "multitask"):
        data = pair_for(cell)
        folder = tmp_path / cell
        folder.mkdir()
        trainer_for(1, callbacks=[UnionTables(folder)]).test(module_for(cell, data), datamodule=data, verbose=False)
    assert sorted(path.name for path in (tmp_path / "dataset_merging").iterdir()) == sorted(
        [crossing.TABLE, crossing.PICTURE]
    )
    assert not list((tmp_path / "multitask").iterdir())


def test_the_report_draws_the_confusion_across_datasets(tmp_path):
    from tl_run.report_cli import main

    for seed in (0, 1):
        folder = made_up.run(tmp_path / f"m{seed}", "dataset_merging", seed, mode="merged", source={"dataset": "other"})
        table = {
            "source": Crossed(["cat"], ["cat", "dog"], [[1, 1]]),
            "target": Crossed(["dog"], ["cat", "dog"], [[0, 2]]),
        }
        (folder / crossing.TABLE).write_text(crossing.as_csv(table))
        made_up.run(tmp_path / f"s{seed}", "scratch", seed)
    main([str(tmp_path), "draw=false"])
    page = (tmp_path / "report.html").read_text()
    assert "Confusion across datasets" in page and "dataset_merging: samples of the source" in page
