"""Mistakes and the lines that answer them: tested one by one, and shown in `docs/errors.md`.

`python -m tests.tl_run.mistakes` writes that page anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from tl_modules.cube import BY_NAME
from tl_run import options
from tl_run.cli import group_options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
ALL_BACKBONES = ", ".join([*group_options("backbone"), *options.NETWORKS])
MAPS = ", ".join([*(name for name in options.BACKBONES if name not in options.WITHOUT_MAPS), *options.NETWORKS])
INTRODUCTION = """\
Made by `python -m tests.tl_run.mistakes` from the cases that the tests run. Wrong options, paths and pairs are answered
before anything is downloaded or trained, and before torch is imported; a sweep's are all checked before its first run.
The traceback of what fails later is in the run's folder, in `error.log`; a run that failed has no `results.json`."""
CELL_OPTIONS = (
    "name, lr, weight_decay, clip, skip_nonfinite, schedule, normalisation, source_share, replay, gradient_cosine"
)
CELL_NAMES = ", ".join([*sorted([*BY_NAME, "scratch"]), "auto", "finetune", "probe"])
CONFIGURATION = {
    "cell=multitsk": f"cell=multitsk: did you mean multitask? allowed: {CELL_NAMES}",
    "": f"cell= is missing; choose one of {CELL_NAMES}",
    "cell=multitask batch_size=16": "batch_size=16: unknown option; did you mean datamodule.batch_size?",
    "cell=multitask cell.lrr=1": f"cell.lrr=1: unknown option; did you mean lr? allowed: {CELL_OPTIONS}",
    "cell=multitask +cell.foo=1": f"cell.foo=1: unknown; allowed: {CELL_OPTIONS}",
    "cell=multitask cell.lr=-1": "cell.lr=-1: must be greater than 0",
    "cell=multitask cell.lr=abc": "cell.lr=abc: must be a number",
    "cell=multitask cell.lr=inf": "cell.lr=inf: must be a finite number",
    "cell=multitask cell.clip=0": "cell.clip=0: must be greater than 0",
    "cell=multitask cell.schedule=cosin": (
        "cell.schedule=cosin: did you mean cosine? allowed: one_cycle, cosine, constant"
    ),
    "cell=multitask cell.normalisation=per_rolle": (
        "cell.normalisation=per_rolle: did you mean per_role? allowed: auto, shared, per_role"
    ),
    "cell=dataset_merging cell.normalisation=per_role": (
        "cell.normalisation=per_role: has no meaning with datamodule.mode=merged, where a batch holds both roles"
    ),
    "cell=scratch cell.normalisation=per_role": (
        "cell.normalisation=per_role: has no effect in scratch, where no part is shared"
    ),
    "cell=parallel_training cell.normalisation=shared": (
        "cell.normalisation=shared: has no effect in parallel_training, where no part is shared"
    ),
    "cell=multitask steps=x": "steps=x: must be a whole number",
    "cell=multitask steps=0": "steps=0: must be at least 1",
    "cell=multitask steps=true": "steps=true: must be a whole number",
    "cell=multitask steps=1.5": "steps=1.5: must be a whole number",
    "cell=multitask steps=9 epochs=2": "epochs=2: excludes steps=9; give one of the two",
    "cell=multitask steps=null": "steps=null: must be at least 1 where epochs is not given",
    "cell=task_finetuning steps=1": "steps=1: must be at least 2, one for each of the stages of task_finetuning",
    "cell=multitask seed=-1": "seed=-1: must be at least 0",
    "cell=multitask precision=fp16": "precision=fp16: did you mean bf16? allowed: auto, bf16, 32",
    "cell=multitask logger=tensorbord": "logger=tensorbord: "
    "did you mean tensorboard? allowed: csv, tensorboard, wandb, mlflow, or a mapping with _target_",
    "cell=multitask trainer.devices=0": "trainer.devices=0: must be at least 1",
    "cell=multitask trainer.patience=0": "trainer.patience=0: must be at least 1",
    "cell=scratch trainer.patience=3": (
        "trainer.patience=3: needs cell.schedule=constant; one_cycle is laid over all steps"
    ),
    "cell=scratch cell.schedule=constant trainer.patience=10": (
        "trainer.patience=10: must be less than trainer.validations=10, or it never ends a stage"
    ),
    "cell=scratch cell.schedule=constant steps=2 trainer.patience=3": (
        "trainer.patience=3: must be less than steps=2, or it never ends a stage"
    ),
    "cell=multitask datamodule.batch_size=0": "datamodule.batch_size=0: must be at least 1",
    "cell=multitask datamodule.mode=cycel": (
        "datamodule.mode=cycel: did you mean cycle? "
        "allowed: cycle, proportional, temperature, aligned, merged, sequential"
    ),
    "cell=multitask datamodule.mode=merged": (
        "datamodule.mode=merged: does not fit multitask; allowed: cycle, proportional, temperature, aligned"
    ),
    "cell=task_finetuning datamodule.mode=cycle": (
        "datamodule.mode=cycle: does not fit task_finetuning; allowed: sequential"
    ),
    "cell=multitask datamodule.temperature=3": (
        "datamodule.temperature=3: has no effect with datamodule.mode=cycle; it needs mode=temperature"
    ),
    "cell=multitask datamodule.mode=aligned source.image_size=64 target.image_size=48": (
        "source.image_size=64: must equal target.image_size=48 with datamodule.mode=aligned, where they share a batch"
    ),
    "cell=task_finetuning cell.source_share=1": "cell.source_share=1: must be less than 1",
    "cell=multitask cell.source_share=0.5": (
        "cell.source_share=0.5: has no effect in this run of multitask, which has no stage of the source"
    ),
    "cell=multitask cell.replay=0.2": (
        "cell.replay=0.2: has no effect in this run of multitask, which has no stage after a source's"
    ),
    "cell=task_finetuning cell.gradient_cosine=true": (
        "cell.gradient_cosine=true: has no effect in task_finetuning, which learns its roles one at a time"
    ),
    "cell=multitask objective=geometric_mean source.weight=2": (
        "source.weight=2: has no effect with objective=geometric_mean, which takes none"
    ),
    "cell=multitask objective=random datamodule.mode=proportional": (
        "objective=random: has no effect in multitask with datamodule.mode=proportional, where a step has one role"
    ),
    "cell=multitask datamodule.source_share=0.5": (
        "datamodule.source_share=0.5: has no effect with datamodule.mode=cycle; it needs mode=merged"
    ),
    "cell=multitask source.weight=0": "source.weight=0: must be greater than 0",
    "cell=task_finetuning target.weight=2": (
        "target.weight=2: has no effect in task_finetuning, which learns one role at a time"
    ),
    "cell=dataset_merging source.weight=0.5": (
        "source.weight=0.5: has no effect in dataset_merging, which learns both roles by one loss; "
        "datamodule.source_share says how much of a batch is whose"
    ),
    "cell=dataset_merging source.absent=no": "source.absent=no: allowed: unknown, negative",
    "cell=multitask target.absent=negative": (
        "target.absent=negative: has no effect in multitask, which merges no names; it is for dataset_merging"
    ),
    "cell=dataset_merging dataset@target=scenes/plain_count dataset@source=scenes/plain_count source.absent=negative": (
        "source.absent=negative: has no meaning with kind=regression, which has no names"
    ),
    "cell=multitask finetuning=full": (
        "finetuning=full: has no effect in multitask, which learns source and target at once; "
        "leave it out or set finetuning=null"
    ),
    "cell=scratch finetuning=full": (
        "finetuning=full: has no effect in scratch, which has no source; leave it out or set finetuning=null"
    ),
    "cell=task_adaptation finetuning.freeze=[stem,trnk]": (
        "finetuning.freeze.1=trnk: did you mean trunk? allowed: stem, trunk, head"
    ),
    "cell=task_adaptation finetuning=full finetuning.freeze=[stem,trunk,head]": (
        "finetuning.freeze=[stem,trunk,head]: must leave a kind of part that learns"
    ),
    "cell=domain_adaptation finetuning.lr.trunk=0": "finetuning.lr.trunk=0: must be greater than 0",
    "cell=domain_adaptation finetuning=wise_ft finetuning.point=3": (
        "finetuning.point=3: unknown option; did you mean points? allowed: name, points, probe_share, probe_lr, lr"
    ),
    "cell=domain_adaptation finetuning=l2_sp finetuning.alpha=-1": "finetuning.alpha=-1: must be at least 0",
    "cell=domain_adaptation finetuning=lora +finetuning.lr.stem=1": "finetuning.lr.stem: allowed: trunk, head",
    "cell=domain_adaptation finetuning=lp_ft objective=coral": (
        "objective=coral: has no effect in domain_adaptation with finetuning=lp_ft, "
        "which learns from labels of the target"
    ),
    "cell=task_adaptation +finetuning.lr.trunk=0.1": "finetuning.lr.trunk=0.1: has no effect, finetuning.freeze has it",
    "cell=task_finetuning dataset@source=scenes/plain_segment": (
        "cell=task_finetuning: source and target have different tasks digit-pixels (segmentation) and largest-digit "
        "(classification) and different domains scenes-plain and scenes-textured; "
        "the cell that fits is modality_transfer"
    ),
    "cell=multitask dataset@source=imagnet": (
        f"dataset@source=imagnet: did you mean imagenet? allowed: {', '.join(group_options('dataset'))}"
    ),
    "cell=multitask target.image_size=8": "target.image_size=8: must be at least 32",
    "cell=multitask target.train_size=0": "target.train_size=0: must be at least 1",
    "cell=multitask target.labelled=1": "target.labelled=1: must be at least 2",
    "cell=multitask target.labelled=50 target.val_size=20": (
        "target.labelled=50: excludes target.val_size=20; give one of the two"
    ),
    "cell=multitask datamodule.overlap=never": ("datamodule.overlap=never: allowed: refuse, drop, allow"),
    "cell=multitask target.augment.shift=1": "target.augment.shift=1: must be less than 1",
    "cell=multitask +target.augment.flp=true": (
        "target.augment.flp=true: unknown; did you mean flip? allowed: flip, shift, scale, brightness"
    ),
    "cell=multitask target.ground=plain": (
        "target.name=scenes/textured_classify: does not go with ground=plain, target=classify and kind=classification; "
        "choose the dataset with dataset@target="
    ),
    "cell=multitask backbone=resnet19": (f"backbone=resnet19: did you mean resnet18? allowed: {ALL_BACKBONES}"),
    "cell=multitask backbone.weights=DEFAULT": f"backbone.weights=DEFAULT: allowed: null, {options.FROM_FILES}",
    "cell=scratch backbone=resnet18 backbone.weights=IMAGENET1K_V2": (
        "backbone.weights=IMAGENET1K_V2: did you mean IMAGENET1K_V1? allowed: null, DEFAULT, IMAGENET1K_V1, "
        + options.FROM_FILES
    ),
    "cell=finetune backbone=fcos_resnet50_fpn backbone.weights=COCO_V2": (
        f"backbone.weights=COCO_V2: did you mean COCO_V1? allowed: null, DEFAULT, COCO_V1, {options.FROM_FILES}"
    ),
    "cell=scratch backbone=resnet18 backbone.weights=DEFAULT": (
        "backbone.weights=DEFAULT: cell=scratch starts from random weights; with these the baseline is cell=finetune "
        "(all parts learn) or cell=probe (the head alone)"
    ),
    "cell=finetune backbone=resnet18": (
        "backbone.weights=null: cell=finetune needs pretrained weights: a name of the library's, a file of weights or "
        "the folder of a run; from random ones it is scratch"
    ),
    "cell=probe backbone=document backbone.encoders.image={name:resnet18,weights:DEFAULT}": (
        "backbone.weights=null: cell=probe needs pretrained weights, which it keeps frozen: a name of the library's, "
        "a file of weights or the folder of a run; from random ones it is scratch"
    ),
    "cell=probe backbone=resnet18 backbone.weights=DEFAULT finetuning=full": (
        "finetuning.freeze=[]: cell=probe freezes stem and trunk; in cell=finetune all parts learn"
    ),
    "cell=finetune backbone=resnet18 backbone.weights=DEFAULT finetuning=linear_probe": (
        "finetuning.freeze=[stem,trunk]: in cell=finetune all parts learn; cell=probe freezes stem and trunk"
    ),
    "cell=prob": f"cell=prob: did you mean probe? allowed: {CELL_NAMES}",
    "cell=scratch source_checkpoint=x": "source_checkpoint=x: has no effect in scratch, which has no source stage",
    "cell=scratch dataset@target=scenes/plain_detect backbone=document": (
        f"backbone=document: has no feature maps, which target.task=digit-boxes (detection) needs; allowed: {MAPS}"
    ),
    "cell=scratch dataset@target=scenes/plain_segment backbone=bag": (
        f"backbone=bag: has no feature maps, which target.task=digit-pixels (segmentation) needs; allowed: {MAPS}"
    ),
    "cell=scratch backbone=bag": (
        f"backbone=bag: reads texts, but target=scenes/textured_classify has images; allowed: {MAPS}, document"
    ),
    "cell=multitask target.backbone=resnet18": (
        "target.backbone=resnet18: multitask has one trunk for both roles; set backbone= instead"
    ),
    "cell=parallel_training source.backbone=smal": (
        f"source.backbone=smal: did you mean small? allowed: {ALL_BACKBONES}"
    ),
    "cell=multitask source_checkpoint=x": "source_checkpoint=x: has no effect in multitask, which has no source stage",
    "cell=domain_adaptation source_checkpoint=nowhere.ckpt": (
        "source_checkpoint=nowhere.ckpt: must be a checkpoint file, or the folder of a run with a finished stage"
    ),
    "cell=scratch optimized_metric=test/target/accuracy": (
        "optimized_metric=test/target/accuracy: the test set is not for choosing; leave it out, or say "
        "optimize_on_test=true too"
    ),
    "cell=scratch optimize_on_test=true": (
        "optimize_on_test=true: has no effect with optimized_metric=null, which is not of the test set"
    ),
    "cell=scratch selection.metric=acuracy": (
        "selection.metric=acuracy: did you mean accuracy? "
        "allowed for classification: null, accuracy, macro_f1, auroc, f1"
    ),
    "cell=scratch selection.without_labels=importance_weight": (
        "selection.without_labels=importance_weight: did you mean importance_weighted? "
        "allowed: source, importance_weighted, information_maximisation, soft_neighbourhood_density"
    ),
    "cell=domain_adaptation selection.without_labels=importance_weighted": (
        "selection.without_labels=importance_weighted: has no effect with objective=sum here, which reads the target's "
        "labels"
    ),
    "cell=domain_adaptation objective=mcc selection.without_labels=importance_weighted selection.rule=last": (
        "selection.without_labels=importance_weighted: has no effect with selection.rule=last"
    ),
    "cell=domain_adaptation objective=mcc target.labelled=50": (
        "target.labelled=50: objective=mcc reads no label of the target; target.train_size says how many inputs it sees"
    ),
    "cell=weight_sharing objective=adabn": (
        "objective=adabn: has no effect in weight_sharing, which reads the target's labels"
    ),
    "cell=scratch selection.rule=lst": "selection.rule=lst: did you mean last? allowed: best, last",
    "cell=scratch selection=last": "selection=last: must be a mapping; write selection.rule=last",
    "cell=scratch optimized_metric=test/target/acuracy optimize_on_test=true": (
        "optimized_metric=test/target/acuracy: did you mean test/target/accuracy? allowed: val/target/accuracy, "
        "test/target/accuracy, test/target/macro_f1, test/target/auroc, test/target/f1"
    ),
    "cell=multitask data_root=nowhere": "data_root=nowhere: must be a folder that exists",
    "cell=scratch dataset@target=image_folder target.root=photos(2)": (
        "target.root=photos(2): cannot be read; quote a value that has such characters: target.root=\"'photos(2)'\""
    ),
    "cell=scratch dataset@target=image_folder target.root=": "target.root=: must not be empty",
    "cell=scratch dataset@taget=voc": (
        "dataset@taget=: no such group of options; did you mean dataset@source or dataset@target? allowed: backbone, "
        "callbacks, cell, experiment, finetuning, objective, trainer, dataset@source, dataset@target"
    ),
    "cell=multitask steps=[1": "steps=[1: cannot be read; expected option=value",
    "cell=multitask experiment=quik": (
        f"experiment=quik: did you mean quick? allowed: {', '.join(group_options('experiment'))}"
    ),
}

FILES = {
    "dataset@target=image_folder": "target.root=null: must be the folder or file that holds the data",
    "dataset@target=image_folder target.root=nowhere": "target.root=nowhere: must be a folder that exists",
    "dataset@target=image_folder target.root=empty": (
        "target.root=empty: must hold a folder per class, but empty holds no class folders"
    ),
    "dataset@target=image_folder target.root=flat": (
        "target.root=flat: must hold a folder per class, but flat holds pictures outside of class folders"
    ),
    "dataset@target=image_folder target.root=lone": (
        "target.root=lone: must hold a folder per class, but lone holds insects alone"
    ),
    "dataset@target=image_folder target.root=hollow": "target.root=hollow: the class bee has no pictures in hollow",
    "dataset@target=image_folder target.root=novel": (
        "target.root=novel: novel/test/wasp is a class that novel/train has not"
    ),
    "dataset@target=image_folder target.root=insects target.image_size=[48]": (
        "target.image_size=[48]: must be a whole number of at least 8 pixels, or two: [height, width]"
    ),
    "dataset@target=image_folder target.root=insects target.labels=[ant]": (
        "target.labels=[ant]: must be a mapping of names, such as {name: new, other: null}"
    ),
    "dataset@target=image_folder target.root=insects target.splits={train:training}": (
        "target.root=insects: must hold the folder training; it holds ant, bee"
    ),
    "dataset@target=mnist target.download=false": "target.root=data: must be a folder that exists where download=false",
    "dataset@target=mnist target.only=[zero]": "target.only=[zero]: must name at least two, each once",
    "dataset@target=mnist target.only=[zero,one,zero]": (
        "target.only=[zero,one,zero]: must name at least two, each once"
    ),
    "dataset@target=mnist target.dowload=false": (
        "target.dowload=false: unknown option; did you mean download? allowed: "
        + ", ".join(options.names(options.TorchvisionSet))
    ),
    "cell=task_finetuning dataset@source=pretrained": (
        "source.weights= is missing; the dataset's file in conf/ says what it is"
    ),
    "cell=multitask dataset@source=pretrained source.weights=DEFAULT source.domain=scenes-textured": (
        "dataset@source=pretrained: has no data, and multitask learns source and target at once"
    ),
    "cell=task_adaptation dataset@source=pretrained source.weights=nowhere.pth source.domain=scenes-textured": (
        f"source.weights=nowhere.pth: allowed: null, {options.FROM_FILES}"
    ),
    "dataset@target=pretrained target.weights=x": (
        "dataset@target=pretrained: has no data to learn; it is for dataset@source="
    ),
    "experiment=article/dataset_merging datamodule.source_share=null data_root=nowhere": (
        "data_root=nowhere: must be a folder that exists"
    ),
    "experiment=article/parallel_training": "data_root=null: must be the folder that holds sms_spam/SMSSpamCollection",
    "dataset@target=npz target.root=nowhere.npz": "target.root=nowhere.npz: must be a file that exists",
    "dataset@target=voc": "target.root=null: must be the folder or file that holds the data",
    "dataset@target=texts target.root=texts.csv backbone=resnet18": (
        "backbone=resnet18: reads images, but target=texts has texts; allowed: bag, transformer, huggingface, document"
    ),
    "dataset@target=texts target.root=texts.csv backbone=transformer backbone.heads=3": (
        "backbone.heads=3: must divide backbone.width=128"
    ),
    "dataset@target=torchvision": "target.dataset= is missing; the dataset's file in conf/ says what it is",
    "dataset@target=image_folder target.root=insects backbone=bag": (
        f"backbone=bag: reads texts, but target=image_folder has images; allowed: {MAPS}, document"
    ),
    "dataset@target=page_table target.root=insects backbone=document": (
        "target.root=insects: must be the folder that holds index.csv"
    ),
    "cell=weight_sharing dataset@source=second_input": (
        "backbone=small: dataset@source=second_input needs backbone=document with two encoders"
    ),
    "cell=weight_sharing dataset@source=second_input backbone=document": (
        "dataset@source=second_input: needs samples with two inputs, and target=scenes/textured_classify has one"
    ),
    "cell=weight_sharing dataset@target=second_input": (
        "dataset@target=second_input: has no data to learn; it is for dataset@source="
    ),
    "backbone=document backbone.encoders={image:small,sound:bag}": (
        "backbone.encoders.sound: unknown option; allowed: image, text"
    ),
    "backbone=document backbone.modality_dropout=1": "backbone.modality_dropout=1: must be less than 1",
    "dataset@target=pages/content backbone=document target.missing={test:2}": (
        "target.missing.test=2: must be at most 1"
    ),
    "dataset@target=pages/content target.inputs=[text]": (
        "backbone=small: reads images, but target=pages/content has texts; allowed: bag, transformer, huggingface, "
        "document"
    ),
    "cell=multitask dataset@source=pages/content dataset@target=pages/starts backbone=document "
    "datamodule.mode=aligned source.inputs=[text]": (
        "source.inputs=[text]: must equal target.inputs=[image,text] with datamodule.mode=aligned, "
        "where they share a batch"
    ),
    "dataset@target=texts target.root=texts.csv backbone=huggingface": (
        "backbone.model= is missing; the backbone's file in conf/ says what it is"
    ),
    "dataset@target=texts target.root=texts.csv backbone=huggingface backbone.model=./nowhere": (
        "backbone.model=./nowhere: must be an encoder's name on the hub, or the folder that holds its config.json"
    ),
    "backbone=timm/no_such_network": "backbone=timm/no_such_network: timm has no such model",
    "cell=auto": "order=null: cell=auto needs one of sequential, simultaneous",
    "cell=multitask order=sequential": "order=sequential: is for cell=auto; cell=multitask has its own order",
    "cell=multitask dataset@source=mnist dataset@target=kmnist target.domain=digits-mnist datamodule.mode=aligned": (
        "datamodule.mode=aligned: needs samples that carry both targets: scenes/, pages/, multi_mnist, or label maps "
        "or COCO's JSON of one root"
    ),
    "cell=dataset_merging dataset@source=svhn dataset@target=mnist source.domain=digits-mnist": (
        "source.channels=3: must equal target.channels=1 with datamodule.mode=merged, where they share a batch"
    ),
}
FILES |= {
    "target.train_size=999999999": (
        "target.train_size=999999999: must be at most 100000, as these samples are made in memory"
    ),
    "max_invalid=2": "max_invalid=2: must be at most 1",
    "dataset@target=texts target.root=texts.csv backbone=bag target.unusable=0.5": (
        "target.unusable=0.5: is now max_invalid= of the run, for both roles"
    ),
    "dataset@target=texts target.root=texts.csv backbone=bag +target.unusable=0.5": (
        "target.unusable=0.5: is now max_invalid= of the run, for both roles"
    ),
    "dataset@target=image_folder target.root=insects target.bits=9": "target.bits=9: allowed: 8, 10, 12, 14, 16",
    "target.fold=1/5": "target.fold=1/5: must be null: only samples that are read from files are cut so",
    "dataset@target=image_folder target.root=insects target.fold=6/5": (
        "target.fold=6/5: must be i/k with k of at least 2 and i from 1 to k, such as 1/5"
    ),
    "check_data=true resume=auto": "check_data=true: excludes resume=auto; give one of the two",
}
PROBE = "cell=task_adaptation dataset@source=pretrained source.domain=scenes-textured"
RUNNING = {
    "selection.metric=f1": "selection.metric=f1: not measured for this target; allowed: accuracy, macro_f1, auroc",
    "hydra.run.dir=flat/1.png/run": "hydra.run.dir=flat/1.png/run: cannot be written (Not a directory)",
    "dataset@target=image_folder target.root=corrupt": (
        "target.root=corrupt: 1 of 12 pictures cannot be used: corrupt/bee/1.png: cannot be read as a picture; "
        "more than max_invalid=0.01 of all"
    ),
    "dataset@target=image_folder target.root=insects target.group_by=patient": (
        "target.group_by=patient: ImageFolder reads no table with such a column; give a regular expression with one "
        "group in parentheses, or a CSV file with the columns id and group"
    ),
    "dataset@target=image_folder target.root=insects target.group_by=patients.csv": (
        "target.group_by=patients.csv: there is no such file, also not as insects/patients.csv"
    ),
    "dataset@target=texts target.root=texts.csv backbone=bag target.group_by=thread": (
        "target.group_by=thread: texts.csv: has no column thread; it has text, label"
    ),
    "dataset@target=image_folder target.root=insects \"target.group_by='ant/(.)'\"": (
        "target.group_by=ant/(.): finds nothing for 6 of 12 samples (bee/0.png, bee/1.png, bee/2.png, ...); "
        "set ungrouped=alone to make each of them its own group"
    ),
    "dataset@target=image_folder target.root=insects target.fold=1/20": (
        "target.fold=1/20: 12 samples are too few for 20 folds"
    ),
    "dataset@target=image_folder target.root=deep target.bits=10": (
        "target.root=deep: 1 of 12 pictures cannot be used: deep/bee/1.png: cannot be read as a picture (it has the "
        "value 4095, more than 10 bits hold); more than max_invalid=0.01 of all"
    ),
    "dataset@target=voc target.root=voc": (
        "target.root=voc: 2 of 12 boxes cannot be used: p1: a box (1, 1, 6, 6) has no label; p2: cat (19, 19, 26, 26) "
        "is outside of its picture of 9x8; more than max_invalid=0.01 of all"
    ),
    "dataset@target=voc target.root=turned": (
        "target.root=turned: 1 of 12 pictures cannot be used: p1: is turned to be shown (EXIF orientation 6), and "
        "nothing tells whether its boxes are too; write the picture anew without that tag; "
        "more than max_invalid=0.01 of all"
    ),
    "dataset@target=coco target.root=voc target.annotations={train:coco.json} target.pictures=JPEGImages": (
        "target.root=voc: 1 of 12 boxes cannot be used: annotation 3 of picture 3 has the bbox '5555', not four "
        "numbers; more than max_invalid=0.01 of all"
    ),
    "dataset@target=coco_masks target.root=voc target.annotations={train:coco.json} target.pictures=JPEGImages": (
        "target.root=voc: 1 of 12 pictures cannot be used: annotation 4 of picture 4 has a polygon that is no list of "
        "pairs of numbers; more than max_invalid=0.01 of all"
    ),
    "dataset@target=npz target.root=labels.npz": (
        "target.root=labels.npz: 4 of 20 pictures cannot be used: train/0 has the label 0.7, no class index; train/1 "
        "has the label -1, no class index; train/2 has the label nan, no class index; train/3 has the label 1000000; "
        "without labels= there are at most 1000 classes, or as many as samples; more than max_invalid=0.01 of all"
    ),
    "dataset@target=texts target.root=unlabelled.csv backbone=bag": (
        "target.root=unlabelled.csv: 1 of 3 rows cannot be used: row 3 has no label; more than max_invalid=0.01 of all"
    ),
    "dataset@target=image_folder target.root=insects target.train_size=50": (
        "target.train_size=50: must be at most 8, the training samples beside val"
    ),
    "dataset@target=image_folder target.root=insects target.labelled=11": (
        "target.labelled=11: must be at most 10, the samples outside of test"
    ),
    "dataset@target=image_folder target.root=insects target.val_size=12": (
        "target.val_size=12: must be less than 10, the samples it is cut off"
    ),
    "dataset@target=image_folder target.root=insects target.image_size=null": (
        "target.image_size=null: the pictures differ in size (10x9, 13x12); give one"
    ),
    "dataset@target=texts target.root=texts.csv target.label=class backbone=bag": (
        "target.root=texts.csv: has no column class; it has text, label"
    ),
    "dataset@target=texts target.root=latin.csv backbone=bag": (
        "target.root=latin.csv: is not in utf-8 (byte 14); set encoding="
    ),
    "dataset@target=image_folder target.root=insects target.labels={ants:Ant}": (
        "target.labels.ants: is no name of this dataset; did you mean ant? it has ant, bee"
    ),
    "dataset@target=texts target.root=texts.csv backbone=bag target.labels={goood:Good}": (
        "target.labels.goood: is no label in texts.csv; did you mean good? it has bad, good"
    ),
    "dataset@target=texts target.root=blank.csv backbone=bag": (
        "target.root=blank.csv: 1 of 3 rows cannot be used: row 3 has no text; more than max_invalid=0.01 of all"
    ),
    "dataset@target=npz target.root=texts.csv": ("target.root=texts.csv: cannot be read as .npz; is the file whole?"),
    "dataset@target=voc target.root=insects": (
        "target.root=insects: must hold the folders JPEGImages and Annotations; JPEGImages is missing"
    ),
    f"{PROBE} source.weights=other.pth": (
        "other.pth: does not fit this backbone: stem.conv.weight is missing, trunk.norm.weight is missing, "
        "trunk.norm.bias is missing, trunk.norm.running_mean is missing, trunk.norm.running_var is missing, "
        "trunk.norm.num_batches_tracked is missing and 20 more"
    ),
    f"{PROBE} source.weights=list.pth": "list.pth: must hold a state dict, not a list",
    f"{PROBE} source.weights=cut.pth": "cut.pth: cannot be read as weights; is the file whole?",
    f"{PROBE} source.weights=texts.csv": "texts.csv: cannot be read as weights; is the file whole?",
    f"{PROBE} source.weights=code.pth": "code.pth: holds more than tensors and plain values, which could run code",
    "dataset@target=image_folder target.root=twice": (
        "target.duplicates=refuse: 2 of 2 test samples are in training or validation too, such as ant/1.png, which is "
        "ant/0.png; take them out or set duplicates=allow"
    ),
    "dataset@target=mnist target.root=empty target.download=false": "target.root=empty: MNIST is not there",
    "dataset@target=torchvision target.dataset=Mnist": "target.dataset='Mnist': torchvision.datasets has no such set",
    "dataset@target=torchvision target.dataset=SVHN": (
        "target.published=null: SVHN publishes splits by its option split; give {train: {split: train}, "
        "test: {split: test}} or as its documentation says"
    ),
    "target.train_size=32 backbone=maxvit_t": (
        "backbone=maxvit_t: does not take images of 48 pixels; the smallest size that it takes is 224 "
        "(Input size (12, 12) of block 0 is not divisible by partition size 7)"
    ),
}
# Both roles are looked at, and all that stands in the way is said.
CHECKED = {
    "check_data=true dataset@target=image_folder target.root=corrupt": (
        "target.root=corrupt: 1 of 12 pictures cannot be used: corrupt/bee/1.png: cannot be read as a picture; "
        "more than max_invalid=0.01 of all"
    ),
    "check_data=true max_invalid=0.2 dataset@target=image_folder target.root=corrupt target.train_size=50": (
        "target.train_size=50: must be at most 7, the training samples beside val"
    ),
}
# Made to happen by `benchmarks.reliability`, which tests what follows each of them.
GOING_ON = [
    "## Going on with a run",
    "",
    "Exit code 1 or 2; nothing is trained.",
    "",
    "```",
    "run: is being trained by process 1234 on host since 2026-11-25T14:15:25+00:00; wait for it, or stop it",
    "run: a checkpoint in it holds more than tensors and plain values, which could run code",
    "resume=run: run/journal.json: is damaged, and there is none before it",
    "resume=run: run/journal.json: schema 99 is of a later version, this one reads up to 2; update",
    "resume=run: uses evil.net, which is code that is not ours; trust=true imports it, or allow_targets=[evil.net] "
    "these alone",
    "the journal in run: cannot be read as a configuration",
    "```",
    "",
    "Said, and gone on with:",
    "",
    "```",
    "run/checkpoints/target/step-00000002.ckpt: differs from what was written (checksum): stage target goes on from "
    "step 1",
    "run/checkpoints/target/step-00000001.ckpt: differs from what was written (checksum): stage target begins anew",
    "run/checkpoints/source/best.ckpt: cannot be read (No such file or directory): stage source and target are trained "
    "again",
    "run/checkpoints/source/last.ckpt: differs from what was written (checksum): best.ckpt, which counts, is whole",
    "run/metrics.csv: differs from what was written: earlier rows are lost",
    "run/results.json: differs from what was written (checksum): the test is run again",
    "```",
]
PREDICTING = {
    "run=insects": "input= is missing; python predict.py --help shows the options",
    "run=insects input=insects": "run=insects: must be the folder of a finished run, but it has no results.json",
    "run=insects inptu=x": (
        "inptu=x: unknown option; did you mean input? allowed: run, input, out, role, cell, trust, draw, batch"
    ),
    "run=insects input=insects batch=0": "batch=0: must be a whole number, at least 1",
}


class Case(NamedTuple):
    """A command line in the folder that `make_files` makes, the line that answers it, and the exit code."""

    program: str
    command: str
    line: str
    code: int


def cases() -> dict[str, list[Case]]:
    """Return the cases by what they are about."""

    def made(program: str, lines: dict[str, str], code: int) -> list[Case]:
        scratch = {command: program == "train.py" and command and "cell=" not in command for command in lines}
        return [Case(program, f"cell=scratch {c}" if scratch[c] else c, line, code) for c, line in lines.items()]

    return {
        "Options": made("train.py", CONFIGURATION, 2),
        "Files, networks and pairs, before the run": made("train.py", FILES, 2),
        "What only the files, the network or the disk tell": made("train.py", RUNNING, 1),
        "What check_data=true finds": made("train.py", CHECKED, 2),
        "predict.py": made("predict.py", PREDICTING, 2),
    }


class Told:
    """What runs code where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Return what would be called."""
        return print, ("this must not be run",)


NOVEL = ("train/ant", "train/bee", "test/wasp")


def make_files(folder: Path) -> None:
    """Make the folders that the commands name."""

    def picture(path: str, size: int = 8) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size + 1, size), (size * 9 % 255, 90, 30)).save(folder / path)

    for i in range(6):
        for label in ("ant", "bee"):
            picture(f"insects/{label}/{i}.png", 8 + i)
            picture(f"corrupt/{label}/{i}.png")
    for path in ("flat/1.png", "hollow/ant/1.png", "lone/insects/1.png", *(f"novel/{p}/1.png" for p in NOVEL)):
        picture(path)
    (folder / "corrupt" / "bee" / "1.png").write_bytes(b"no picture")
    (folder / "hollow" / "bee").mkdir()
    (folder / "hollow" / "bee" / "notes.txt").touch()
    (folder / "empty").mkdir()
    (folder / "texts.csv").write_text("text,label\nyes,good\nno,bad\n")
    for i in range(6):
        for label, number in (("ant", 1), ("bee", 2)):
            picture(f"twice/{label}/{i}.png", 8 + number)
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(2, 512)}, folder / "other.pth")
    torch.save([1, 2], folder / "list.pth")
    torch.save({"weight": Told()}, folder / "code.pth")
    whole = (folder / "other.pth").read_bytes()
    (folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
    for i in range(6):
        for label in ("ant", "bee"):
            values = np.full((8, 9), 900 + i + 10 * (label == "bee"), np.uint16)
            (folder / "deep" / label).mkdir(parents=True, exist_ok=True)
            values[0, 0] = 4095 if (label, i) == ("bee", 1) else 0
            Image.fromarray(values).save(folder / "deep" / label / f"{i}.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation
    notes = []
    for i in range(12):
        picture(f"voc/JPEGImages/p{i}.png")
        picture(f"turned/JPEGImages/p{i}.png")
        name = "" if i == 1 else "<name>cat</name>"
        for root, label, low, high in (
            ("voc", name, *((20, 26) if i == 2 else (2, 6))),
            ("turned", "<name>cat</name>", 2, 6),
        ):
            (folder / root / "Annotations").mkdir(exist_ok=True)
            box = f"<xmin>{low}</xmin><ymin>{low}</ymin><xmax>{high}</xmax><ymax>{high}</ymax>"
            text = f"<annotation><object>{label}<bndbox>{box}</bndbox></object></annotation>"
            (folder / root / "Annotations" / f"p{i}.xml").write_text(text)
        outline = [[2, 2, 6, 2, float("nan") if i == 4 else 6, 6]]
        bbox = "5555" if i == 3 else [2, 2, 4, 4]
        notes.append({"id": i, "image_id": i, "category_id": 1, "bbox": bbox, "segmentation": outline})
    Image.new("RGB", (9, 8)).save(folder / "turned" / "JPEGImages" / "p1.png", exif=exif)
    images = [{"id": i, "file_name": f"p{i}.png"} for i in range(12)]
    coco = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "cat"}]}
    (folder / "voc" / "coco.json").write_text(json.dumps(coco))
    labels = np.array([0.7, -1, np.nan, 1e6, *([0, 1] * 8)])[:, None]
    np.savez(folder / "labels.npz", train_images=np.zeros((20, 8, 8), np.uint8), train_labels=labels)
    (folder / "unlabelled.csv").write_text("text,label\nyes,good\nno,\nperhaps,bad\n")
    (folder / "blank.csv").write_text("text,label\nyes,good\n,bad\nno,bad\n")
    (folder / "latin.csv").write_bytes("text,label\ncaf\u00e9,good\n".encode("latin-1"))


def page() -> str:
    """Return the page of all cases as Markdown."""
    text = ["# Mistakes and how they are answered", "", INTRODUCTION, ""]
    for title, some in cases().items():
        text += [f"## {title}", "", f"Exit code {some[0].code}.", ""]
        for case in some:
            command = " ".join(["python", case.program, case.command]).strip()
            text += ["```", f"$ {command}", case.line, "```", ""]
    return "\n".join([*text, *GOING_ON, ""])


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
