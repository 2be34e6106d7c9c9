"""Folders of runs with known answers, which nobody trained."""

import json


def run(folder, cell="scratch", seed=0, test=0.5, val=None, metric="target/accuracy", **changes):
    """Write a run's folder and return it."""
    stages = changes.pop("stages", None) or [stage("joint" if cell in ("multitask", "parallel_training") else "target")]
    results = {
        "schema": 1,
        "status": "complete",
        "cell": cell,
        "seed": seed,
        "mode": "cycle" if cell in ("multitask", "parallel_training") else "sequential",
        "finetuning": None,
        "objective": "sum",
        "loss_weights": {"target": 1.0},
        "source": None if cell == "scratch" else {"dataset": "other"},
        "target": {"dataset": "own", "labels": ["a", "b"], "labelled": {"train": 40, "val": 10}, "train_size": 40},
        "weights": None,
        "backbone": "small",
        "lr": 0.003,
        "baseline_key": "key",
        "selection": "val/target/accuracy max",
        "val": {metric: test if val is None else val},
        "test": {metric: test},
        "stages": stages,
        "parameters": 1000,
        "flops": 10**9,
        "seconds": 10.0,
        "steps": 20,
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "metrics.csv").write_text("stage,step,metric,value\ntarget,9,val/target/accuracy,0.4\n")
    (folder / ".hydra").mkdir(exist_ok=True)
    (folder / ".hydra" / "overrides.yaml").write_text(f"- cell={cell}\n- seed={seed}\n- steps=20\n")
    return folder


def stage(name, ended="all steps", steps=20, **changes):
    samples = {"target": 320} if name == "target" else {"source": 320, "target": 320}
    return {
        "name": name,
        "steps": steps,
        "ended": ended,
        "samples": samples,
        "flops": 10**9,
        "seconds": 9.0,
        "monitor": "val/target/accuracy",
        "selection": "val/target/accuracy max",
        "score": 0.5,
        **changes,
    }


def sweep(folder, **arms):
    """Write runs by arm: the values of its seeds."""
    for cell, values in arms.items():
        for seed, value in enumerate(values):
            run(folder / f"{cell}_{seed}", cell, seed, value)
    return folder


def table(folder, rows):
    """Write a run's `test.csv`: rows of id, truth, prediction, score, right."""
    lines = ["id,truth,prediction,score,right", *(",".join(map(str, row)) for row in rows)]
    (folder / "test.csv").write_text("\n".join(lines) + "\n")
