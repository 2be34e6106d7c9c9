from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from datamodules.base import options_of
from datamodules.pair import MIXING
from datamodules.readers.coco import CocoBoxes
from datamodules.readers.image_folder import ImageFolder
from datamodules.readers.label_maps import LabelMaps
from datamodules.readers.npz import NpzImages
from datamodules.readers.picture_table import PictureTable
from datamodules.readers.pretrained import Pretrained
from datamodules.readers.second_input import SecondInput
from datamodules.readers.texts import TextTable
from datamodules.readers.torchvision_sets import TorchvisionSet
from datamodules.readers.voc import VocBoxes
from datamodules.synthetic.scenes import TARGETS, Scenes
from datamodules.tokenizing import train_tokenizer
from tests.tl_run.mistakes import CELL_OPTIONS
from tl_modules import augment, backbones
from tl_modules.backbones import build_backbone
from tl_modules.backbones.bag import bag
from tl_modules.backbones.document import document
from tl_modules.backbones.transformer import transformer
from tl_modules.cube import CELLS, SCRATCH_PATH
from tl_modules.discovery import timm_networks, torchvision_networks
from tl_modules.heads import HEADS, build_head
from tl_modules.normalisation import CHOICES
from tl_modules.optim import SCHEDULES
from tl_modules.stages import FINETUNINGS, PART_KINDS
from tl_modules.task import KINDS, Task
from tl_run import options
from tl_run.cli import EXTRAS, announced, checked, group_options, lines
from tl_run.paths import CONF
from tl_run.schema import check, model_of

ROOT = CONF.parent
ARTICLE = [name for name in group_options("experiment") if name.startswith("article/")]


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values: Any = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    return values


def says(*overrides: str) -> list[str]:
    """Return the lines that a command line is answered with."""
    try:
        check(composed(*overrides))
    except Exception as error:
        return lines(error)
    return []


def test_several_mistakes_are_answered_at_once():
    found = says("cell=multitask", "cell.lr=-1", "steps=x", "target.train_size=0", "+foo=1")
    assert len(found) == 4
    assert sorted(line.split("=")[0] for line in found) == ["cell.lr", "foo", "steps", "target.train_size"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "group",
    [path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("arm", "cell", "dataset", "hydra")],
)
def test_every_option_of_a_group_composes(group):
    for option in [option for option in group_options(group) if option not in ARTICLE]:
        cells = {"finetuning": ["task_finetuning"], "objective": ["multitask", "domain_adaptation"]}
        answers = [says(f"cell={cell}", f"{group}={option}") for cell in cells.get(group, ["scratch"])]
        found = min(answers, key=len)  # an objective that adapts has no place where the target's labels are read
        # A text backbone is in order by itself; scenes have no text.
        assert found == [] or (option in options.READ_TEXTS and "reads text" in found[0])


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [name for name in group_options("experiment") if name not in ARTICLE])
@pytest.mark.parametrize("cell", group_options("cell"))
def test_every_cell_fits_the_cube_by_default_and_under_every_experiment(cell, experiment):
    assert says(f"cell={cell}") == []
    assert says(f"cell={cell}", f"experiment={experiment}") == []
    values = composed(f"cell={cell}")
    assert values["cell"]["name"] == cell
    assert values["source"]["train_size"] is values["target"]["train_size"] is None
    assert (values["finetuning"] is None) == (values["datamodule"]["mode"] != "sequential" or cell == "scratch")
    assert get_class(values["cell"]["_target_"]).__module__.startswith("tl_modules.")


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ARTICLE)
def test_every_example_of_the_article_composes(experiment, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mobilenet_v2_tf2ptq-bd4cb33c.pth").touch()
    values = composed(f"experiment={experiment}", f"data_root={tmp_path}")
    cells = {"pages": "multitask", "hymenoptera": "task_finetuning"}
    name = experiment.removeprefix("article/")
    assert values["cell"]["name"] == cells.get(name, name)
    problems = says(f"experiment={experiment}", f"data_root={tmp_path}")
    assert all(".root=" in line for line in problems), "only the data are missing"


@pytest.mark.slow
@pytest.mark.parametrize("dataset", group_options("dataset"))
def test_every_dataset_instantiates_and_says_what_its_yaml_says(dataset, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        (tmp_path / "classes" / name / "1.png").touch()
    (tmp_path / "texts.csv").write_text("text,label\none,x\ntwo,y\n")
    voc = tmp_path / "voc"
    for name in ("JPEGImages", "Annotations"):
        (voc / name).mkdir(parents=True)
    (voc / "JPEGImages" / "1.png").touch()
    box = "<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    (voc / "Annotations" / "1.xml").write_text(f"<annotation>{box}</annotation>")
    needs = {"torchvision": "dataset=SEMEION", "pretrained": "weights=x"}
    for path in ("maps/train/1.png", "maps/trainannot/1.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    (tmp_path / "pictures.csv").write_text("picture,label\ntexts.csv,a\nclasses/a/1.png,b\n")
    roots = {
        "texts": "texts.csv",
        "npz": "texts.csv",
        "picture_table": "pictures.csv",
        "voc": "voc",
        "image_folder": "classes",
    }
    roots |= {"label_maps": "maps", "label_map_boxes": "maps", "page_table": "pages"}
    for folder, suffix in (("pages/texts", "txt"), ("sroie/box", "csv")):
        (tmp_path / folder).mkdir(parents=True)
        for page in "ab":
            (tmp_path / folder / f"{page}.{suffix}").write_text("0,0,0,0,0,0,0,0,word\n")
    (tmp_path / "pages" / "index.csv").write_text("id,label\na,x\nb,y\n")
    (tmp_path / "sroie" / "index.csv").write_text("id,company\na,x\nb,y\n")
    needs |= {name: f"root={tmp_path / place}" for name, place in roots.items()}
    named = [f"target.{needs[dataset]}"] if dataset in needs else []
    if dataset in ("coco", "coco_masks"):
        item = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "segmentation": [[0, 0, 9, 0, 9, 9]]}
        parts = {"images": [{"id": 1, "file_name": "1.png"}], "categories": [{"id": 1, "name": "a"}]}
        (voc / "a.json").write_text(json.dumps({**parts, "annotations": [item]}))
        named = [f"target.root={voc}", "target.annotations={train:a.json}", "target.pictures=JPEGImages"]
    named += ["target.labels=[a,b]"] if "label_map" in dataset else []
    named += ["target.boxes=[b]"] if dataset == "label_map_boxes" else []
    role = "source" if dataset == "second_input" else "target"
    node = composed("cell=weight_sharing", f"dataset@{role}={dataset}", f"data_root={tmp_path}", *named)[role]
    assert model_of("target", node) is not options.OwnDataset
    given = {key: value for key, value in node.items() if key not in options.Dataset.FOR_THE_RUN}
    if dataset in ("pretrained", "second_input"):
        marker = Pretrained if dataset == "pretrained" else SecondInput
        assert set(given) - {"_target_", "_convert_", "train_size", "val_size", "labelled", *options.CUT} == names(
            marker
        )
        return
    takes = options_of(get_class(given["_target_"]))
    given = {key: value for key, value in given.items() if key in takes or key not in options.CUT}
    data = instantiate({**given, "seed": 0, **({"role": "target"} if "role" in takes else {})})
    assert (data.domain, node["name"]) == (node["domain"], dataset)
    if data.task is not None:
        assert (data.task.name, data.task.kind) == (node["task"], node["kind"])
    if isinstance(data, Scenes):  # its YAML holds the defaults of its constructor
        plain = Scenes(ground=node["ground"], target=node["target"])
        assert (plain.task, plain.image_size) == (data.task, data.image_size)
    if isinstance(data, TorchvisionSet):
        for chosen in data.published_as.values():
            inspect.signature(data.made).bind("root", **chosen)


@pytest.mark.parametrize("name", group_options("backbone"))
def test_every_backbone_is_built_from_its_yaml(name):
    node = composed("cell=scratch", f"backbone={name}")["backbone"]
    if name == "huggingface":
        pytest.importorskip("transformers")
        plain = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
        node |= {"weights": None, "config": json.dumps({**plain, "vocab_size": 50, "pad_token_id": 0})}
        node |= {"tokenizer": train_tokenizer(["some text"])}
    if name == "transformer":
        node["tokenizer"] = train_tokenizer(["some text"])
    assert build_backbone(node).trunk.dim > 0


def test_command_line_wins_over_cell_and_experiment():
    values = composed(
        "cell=domain_adaptation",
        "experiment=quick",
        "dataset@source=scenes/plain_count",
        "target.train_size=7",
        "steps=9",
    )
    assert (values["source"]["name"], values["target"]["train_size"], values["steps"]) == ("scenes/plain_count", 7, 9)


def test_epochs_alone_replace_the_default_steps():
    values = composed("cell=scratch", "epochs=3")
    assert (values["steps"], values["epochs"]) == (None, 3)
    assert composed("cell=scratch")["steps"] > 0


def test_numbers_for_precision_are_taken_as_names():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert checked(compose("train", ["cell=scratch", "precision=32"]))["precision"] == "32"


def names(function: Any) -> set[str]:
    return {name for name in inspect.signature(function).parameters if name != "self"}


def fields(model: type[options.Group]) -> set[str]:
    return {name for name, field in model.model_fields.items() if field.alias is None}


@pytest.mark.parametrize("path", [SCRATCH_PATH, *(cell.path for cell in CELLS)])
def test_cell_options_are_the_constructors(path):
    from_elsewhere = {"target", "source", "backbone", "source_backbone", "finetuning", "augment", "seed"}
    from_elsewhere |= {"selection_metric", "without_labels", "weights", "objective"}
    assert fields(options.Cell) - {"name"} == names(get_class(path).__init__) - from_elsewhere
    defaults = {name: p.default for name, p in inspect.signature(get_class(path).__init__).parameters.items()}
    cell = composed("cell=scratch")["cell"]
    assert {name: cell[name] for name in fields(options.Cell) - {"name"}}.items() <= defaults.items()


def test_other_options_are_the_constructors():
    of_its_own = {"role", "seed", "batch_size", "num_workers", "max_invalid"}
    for model, made in (
        (options.Scenes, Scenes),
        (options.TorchvisionSet, TorchvisionSet),
        (options.ImageFolder, ImageFolder),
        (options.NpzImages, NpzImages),
        (options.VocBoxes, VocBoxes),
        (options.TextTable, TextTable),
        (options.LabelMaps, LabelMaps),
        (options.CocoBoxes, CocoBoxes),
        (options.PictureTable, PictureTable),
    ):
        of_readers = set() if made is not Scenes else set(options.CUT)
        assert fields(model) - set(options.Dataset.FOR_THE_RUN) - of_readers == options_of(made) - of_its_own
    assert fields(options.AugmentOptions) == names(augment.Augment.__init__)
    for made in (bag, transformer, document):  # derived from their sources
        model = options.BACKBONES[made.__name__]
        assert fields(model) - {"name", "weights"} == names(made) - {"channels"}
        defaults = {name: one.default for name, one in inspect.signature(made).parameters.items() if name != "channels"}
        assert {name: model.model_fields[name].default for name in defaults} == defaults
    assert set(options.SCENES_KINDS.items()) == {(target, kind) for target, (_, kind, _) in TARGETS.items()}


def test_choices_are_those_of_the_code():
    def choices(model: type[options.Group], field: str) -> set[Any]:
        return set(model.model_fields[field].annotation.__args__)

    assert set(options.BACKBONES) == set(group_options("backbone"))
    assert {*options.BACKBONES, *torchvision_networks()} == set(backbones.BACKBONES)
    assert choices(options.Cell, "schedule") == set(SCHEDULES)
    assert choices(options.Cell, "normalisation") == set(CHOICES)
    assert choices(options.DataModule, "mode") == {*MIXING, "merged", "sequential"}
    assert options.MIXING == MIXING
    assert set(KINDS) == set(options.METRICS) == set(HEADS)
    assert options.Finetuning.model_fields["freeze"].annotation.__args__[0].__args__ == PART_KINDS
    assert set(group_options("finetuning")) == {*FINETUNINGS, *options.FINETUNINGS, "fitted"}
    for name, given in FINETUNINGS.items():
        node = composed("cell=task_finetuning", f"finetuning={name}")["finetuning"]
        assert tuple(node["freeze"]) == tuple(given["freeze"])
        assert {part: factor for part, factor in node["lr"].items() if factor != 1} == given["lr"]


def test_networks_read_from_sources_are_those_that_the_libraries_register():
    import timm
    import torchvision
    from torchvision.models import get_model_weights, list_models

    known = torchvision_networks()
    assert set(known) == set(list_models(torchvision.models))
    for name, weights in known.items():
        assert set(weights) == set(get_model_weights(name).__members__) - {"DEFAULT"}
    assert set(timm_networks() or ()) == set(timm.list_models())


@pytest.mark.parametrize("kind", KINDS)
def test_metric_names_are_the_heads(kind):
    assert HEADS[kind].monitor == options.METRICS[kind][0]
    assert set(HEADS[kind].directions) == set(options.METRICS[kind])
    for name, mode in HEADS[kind].directions.items():
        assert (mode == "min") == (name in options.LOWER_IS_BETTER)
    assert HEADS[kind].directions[HEADS[kind].monitor] == HEADS[kind].mode
    assert HEADS[kind].needs_maps == (kind in options.NEED_MAPS)
    labels = () if kind == "regression" else ("background", "x")
    task = Task("t", kind, labels, positive="x" if kind == "classification" else None)
    head = build_head(task, 8, [8, 8], [4, 8])
    assert head.reported(labels) == HEADS[kind].directions
    metrics = head.metrics(list(labels))
    if hasattr(metrics, "keys"):
        assert set(metrics.keys()) == set(options.METRICS[kind])


TRAIN = [sys.executable, str(ROOT / "train.py")]
PAIR = ["dataset@source=mnist", "dataset@target=usps"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "mistake",
    [
        ["train.py", "cell=multitsk"],
        ["train.py", "cell=multitask", "cell.lr=-1"],
        ["train.py", "-m", "cell=scratch,multitask", "cell.lr=0.1,-1"],
        ["train.py", "-m", "cell=scratch,multitsk"],
        ["train.py", "cell=scratch,multitask"],
        ["train.py", "cell=multitask", "resume=nowhere"],
        ["compare.py", *PAIR, "steps=0"],
        ["compare.py", *PAIR, "compare.arms=[scrach]"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_answered_with_one_line_without_torch_and_nothing_is_written(mistake, tmp_path):
    timed = [sys.executable, "-X", "importtime", str(ROOT / mistake[0]), *mistake[1:]]
    done = subprocess.run(timed, cwd=tmp_path, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode == 2, done.stderr[-2000:]
    assert len(said) == 1, said
    assert done.stdout == ""
    assert "pydantic" in imported
    assert not {"torch", "lightning", "torchvision", "sklearn"} & imported
    assert list(tmp_path.iterdir()) == []


def test_train_reports_a_misspelt_option_as_it_was_given(tmp_path):
    done = subprocess.run([*TRAIN, "cell=multitask", "cell.lrr=1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == f"cell.lrr=1: unknown option; did you mean lr? allowed: {CELL_OPTIONS}\n"
    done = subprocess.run([*TRAIN, "cell=multitask", "dataset=x"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.startswith("dataset=: no such group of options; did you mean dataset@source or dataset@target?")


def shown(page: str, language: str, what: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.S)
    return next(block for block in blocks if what in block)


GRAIN = [f"{role}.augment={{name:my_parts.Grain}}" for role in ("source", "target")]
EXTENDED = (
    ["cell=head_start", "backbone=flat", "backbone.width=8"],
    ["cell=multitask", "dataset@source=ranks", "dataset@target=stripes", "objective=confusion"],
    ["cell=dataset_merging", "dataset@source=ranks", "dataset@target=ranks", *GRAIN],
)


@pytest.mark.slow
@pytest.mark.parametrize("given", EXTENDED, ids=lambda given: given[0])
def test_parts_of_ones_own_run_from_a_folder_of_ones_own(given, tmp_path):
    """A cell, dataset, backbone, head, objective and augmentation, none of them in the package."""
    folder = tmp_path / "mine"
    shutil.copytree(ROOT / "examples" / "extending", folder, ignore=shutil.ignore_patterns("__pycache__"))
    call = [sys.executable, "-m", "tl_run.train", "--config-dir", "conf"]
    run = [*call, *given, "hydra.run.dir=run", "steps=12", "datamodule.batch_size=16"]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "run" / "results.json").read_text())
    assert "target/accuracy" in results["test"]
    if given[0] == "cell=head_start":
        assert [stage["name"] for stage in results["stages"]] == ["source", "head", "target"]
        assert results["backbone"] == "my_parts.flat"
    pictures = [folder / "run" / f"{name}.png" for name in ("samples", "predictions", "curves")]
    assert all(path.stat().st_size > 1000 for path in pictures)
    if given[0] != "cell=head_start":
        return
    small = [*call, *given, "source.image_size=3", "target.image_size=3"]
    wrong = subprocess.run(small, cwd=folder, capture_output=True, text=True)
    assert wrong.returncode == 2 and "source.image_size=3: must be at least 8" in wrong.stderr.splitlines()
    predict = [sys.executable, "-m", "tl_run.predict_cli", "run=run", "input=run/samples.png"]
    cell = ["cell=my_parts.HeadStart"]
    untrusted = subprocess.run([*predict, *cell], cwd=folder, capture_output=True, text=True)
    assert untrusted.returncode == 1 and "my_parts." in untrusted.stderr and "trust=true" in untrusted.stderr
    trusted = subprocess.run([*predict, *cell, "trust=true"], cwd=folder, capture_output=True, text=True)
    assert trusted.returncode == 0, trusted.stderr


def test_readme_import_example_trains(monkeypatch):
    import torch
    from lightning.pytorch import Trainer
    from torch.utils.data import DataLoader

    def loader(**targets: torch.Tensor) -> DataLoader[Any]:
        image = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
        samples = [{"image": image[i], **{key: value[i] for key, value in targets.items()}} for i in range(4)]
        return DataLoader(samples, batch_size=2)  # type: ignore[arg-type]

    code = shown("README.md", "python", "MultiTask(").replace('"resnet18"', '"small"').replace("1000", "2")
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    monkeypatch.setattr("lightning.pytorch.Trainer", lambda **given: Trainer(**given, **options))
    scope: dict[str, Any] = {
        "source_loader": loader(mask=torch.zeros(4, 32, 32, dtype=torch.long)),
        "target_loader": loader(label=torch.tensor([0, 1, 0, 1])),
    }
    exec(textwrap.dedent(code), scope)
    trained: Any = scope["module"]
    assert trained.trainer.global_step == 2
    assert {role: head.kind for role in ("source", "target") for head in [trained.head(role)]} == {
        "source": "segmentation",
        "target": "classification",
    }


@pytest.mark.slow
@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
@pytest.mark.parametrize("source", ["textured_classify", "plain_classify", "textured_count", "plain_count"])
def test_auto_finds_the_cell_of_the_pair_and_keeps_it(source, order, capsys):
    asked = ["cell=auto", f"order={order}", f"dataset@source=scenes/{source}", "steps=40", "cell.lr=0.01"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = checked(announced(compose("train", asked), asked))
    ground, target = source.split("_")
    found = next(c for c in CELLS if c[1:4] == (target == "classify", ground == "textured", order == "sequential"))
    assert (values["cell"]["name"], values["cell"]["_target_"]) == (found.name, found.path)
    assert values["source"]["name"] == f"scenes/{source}" and values["steps"] == 40 and values["cell"]["lr"] == 0.01
    assert capsys.readouterr().out.endswith(f"this is cell={found.name}\n")


def test_a_sweep_over_all_cells_is_the_eight_and_scratch():
    everyone = sorted([cell.name for cell in CELLS] + ["scratch"])
    assert group_options("cell") == everyone
    with initialize_config_dir(str(CONF), version_base="1.3"):
        from hydra.core.global_hydra import GlobalHydra

        assert sorted(GlobalHydra.instance().config_loader().get_group_options("cell")) == everyone


@pytest.mark.parametrize(("cell", "finetuning"), [("finetune", "full"), ("probe", "linear_probe")])
def test_baselines_on_pretrained_weights_compose_with_their_finetuning(cell, finetuning):
    given = [f"cell={cell}", "backbone=resnet18", "backbone.weights=DEFAULT"]
    assert says(*given) == says(*given, "finetuning.lr.head=3.0") == []
    values = composed(*given)
    assert (values["cell"]["name"], values["cell"]["_target_"]) == (cell, SCRATCH_PATH)
    assert (values["finetuning"]["name"], values["datamodule"]["mode"]) == (finetuning, "sequential")


def test_an_option_for_shared_parts_needs_two_roles(tmp_path):
    weights = tmp_path / "x.pth"
    weights.touch()
    given = ["cell=domain_adaptation", "dataset@source=pretrained", f"source.weights={weights}"]
    assert says(*given) == says("cell=domain_adaptation", "cell.normalisation=per_role") == []
    said = "has no effect in domain_adaptation with dataset@source=pretrained, where no part is shared"
    assert says(*given, "cell.normalisation=shared") == [f"cell.normalisation=shared: {said}"]


def test_every_network_has_a_config_and_sweeps():
    for name in ("resnet18", "vit_b_16", "timm/resnet10t"):
        assert composed("cell=scratch", f"backbone={name}")["backbone"] == {
            "name": name,
            "weights": None,
            "image_size": None,
        }
    with initialize_config_dir(str(CONF), version_base="1.3"):
        from hydra.core.global_hydra import GlobalHydra

        assert set(torchvision_networks()) < set(GlobalHydra.instance().config_loader().get_group_options("backbone"))


def test_a_mapping_of_labels_stands_in_for_a_list_of_names():
    given = ("cell=scratch", "dataset@target=mnist")
    assert composed(*given)["target"]["labels"] == [str(digit) for digit in range(10)]
    assert composed(*given, "target.labels={0: even, 2: even, 1: null}")["target"]["labels"] == {
        0: "even",
        2: "even",
        1: None,
    }


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("Could not find 'hydra/launcher/joblib'", 'joblib: is not installed; pip install "tl-modules[joblib]"'),
        ("In 'x': Could not load 'hydra/launcher/submitit_slurm'", 'pip install "tl-modules[slurm]"'),
        ("Could not find 'hydra/launcher/jobli'", "hydra/launcher=jobli: did you mean joblib?"),
    ],
)
def test_a_launcher_that_is_not_installed_says_how_to(found, said):
    (line,) = lines(HydraException(found))
    assert said in line and line.startswith("hydra/launcher=")


def test_every_extra_of_a_plugin_is_one_of_the_project():
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in project for extra in EXTRAS.values())
