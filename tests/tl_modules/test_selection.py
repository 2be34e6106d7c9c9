"""Rules that choose without labels: their formulas, and that none of them reads a label of the target."""

from typing import get_args, get_type_hints

import pytest
import torch
from lightning.pytorch import seed_everything

from datamodules.pair import SequentialData
from datamodules.synthetic.scenes import Scenes
from tl_modules import DomainAdaptation, Task, TransferModule, fit
from tl_modules.selection import RULES, Unlabelled, density, importance_weighted, information, log_odds, spread
from tl_run import options

QUIET = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu", "enable_model_summary": False}


def test_information_is_the_entropy_of_the_mean_minus_the_mean_entropy():
    one_hot = torch.eye(4)
    assert information(one_hot) == pytest.approx(torch.log(torch.tensor(4.0)).item(), rel=1e-5)
    assert information(torch.full((5, 4), 0.25)) == pytest.approx(0, abs=1e-6)
    assert information(one_hot[:1].expand(6, 4)) == pytest.approx(0, abs=1e-6)


def test_density_is_the_papers_mean_entropy_of_similarities():
    torch.manual_seed(0)
    p = torch.randn(5, 3).softmax(1)
    total = 0.0
    for i in range(5):
        similar = torch.tensor([float(p[i] @ p[j] / p[i].norm() / p[j].norm()) / 0.05 for j in range(5) if j != i])
        q = similar.softmax(0)
        total += float(-(q * q.log()).sum())
    assert density(p) == pytest.approx(total / 5, rel=1e-4)
    assert density(torch.eye(2).repeat_interleave(50, 0)) > density(torch.eye(50).repeat_interleave(2, 0)) + 2
    assert density(p[:1]) == 0


def shifted(count=400):
    """Return source features, target features and whether the source is right: wrong where the target is."""
    noise = torch.Generator().manual_seed(0)
    source, target = torch.randn(count, 3, generator=noise), torch.randn(count, 3, generator=noise)
    target[:, 0] += 1.5
    return source, target, (source[:, 0] < 1.0).float(), (target[:, 0] < 1.0).float()


def test_the_weighted_source_tells_the_accuracy_on_the_target():
    source, target, right, truth = shifted()
    told = importance_weighted(source, target, right)
    assert float(right.mean()) > 0.8 and float(truth.mean()) < 0.4
    assert told == pytest.approx(float(truth.mean()), abs=0.15)
    assert importance_weighted(source, target, torch.ones(len(source))) == pytest.approx(1.0)


def test_the_domain_classifier_is_the_best_of_its_loss():
    source, target, _, _ = shifted(50)
    both = torch.cat([source, target]).double()
    x = torch.cat([(both - both.mean(0)) / both.std(0, correction=0), torch.ones(100, 1).double()], 1)
    y = torch.cat([torch.zeros(50), torch.ones(50)]).double()
    odds = log_odds(source, target, torch.cat([source, target]))
    w = torch.linalg.lstsq(x, odds).solution
    assert torch.allclose(x.T @ (y - odds.sigmoid()), w, atol=1e-5)  # the gradient of the loss with its ridge


def test_more_features_than_samples_are_told_apart_too():
    noise = torch.Generator().manual_seed(0)
    source, target = torch.randn(20, 90, generator=noise), torch.randn(20, 90, generator=noise) + 1
    assert float((log_odds(source, target, target) > log_odds(source, target, source)).float().mean()) == 1.0


def test_samples_that_are_compared_are_spread_over_all():
    assert spread(3).tolist() == [0, 1, 2]
    kept = spread(5000)
    assert len(kept) == 1000 and (kept[0], kept[-1]) == (0, 4999) and len(kept.unique()) == 1000


def test_rules_need_the_samples_that_they_need():
    seen = Unlabelled()
    seen.add("source", torch.zeros(2, 3), torch.eye(2), torch.tensor([0, 1]))
    assert seen.scores() == {}
    seen.add("target", torch.zeros(2, 3), torch.eye(2), None)
    assert set(seen.scores()) == {"information_maximisation", "soft_neighbourhood_density"}


def test_the_names_are_the_same_everywhere():
    hints = get_type_hints(TransferModule.__init__, vars(__import__("tl_modules.module", fromlist=["x"])))
    assert get_args(hints["without_labels"]) == get_args(options.Rule) == RULES


def adapted(folder, noise, rule):
    seed_everything(0)
    source = Scenes("plain", "classify", role="source", train_size=32, val_size=16, image_size=32)
    target = Scenes("textured", "classify", train_size=32, val_size=16, image_size=32)
    data = SequentialData(target, source, batch_size=8)
    data.setup()
    if noise:
        for dataset in (target.train_dataset, target.val_dataset):
            labels = dataset.fields["label"]
            dataset.fields["label"] = torch.randint(0, 10, labels.shape, generator=torch.Generator().manual_seed(9))
    module = DomainAdaptation(
        target=target.task, source=source.task, objective="mcc", without_labels=rule, schedule="constant"
    )
    seen = []
    module.on_validation_end = lambda: seen.append({k: float(v) for k, v in module.trainer.callback_metrics.items()})
    options = {**QUIET, "default_root_dir": folder, "val_check_interval": 1, "num_sanity_val_steps": 0}
    records = fit(module, data, options, steps=8)
    assert records[-1].monitor == (f"val/target/{rule}" if rule != "source" else "val/source/accuracy")
    adapting = [one for one in seen if "oracle/target/accuracy" in one]
    return records[-1].checkpoint.name, module.state_dict(), adapting


@pytest.mark.parametrize("rule", ["source", "importance_weighted"])
def test_nothing_but_the_oracle_moves_with_the_labels_of_the_target(rule, tmp_path):
    (name, state, seen), (other, noisy, again) = (
        adapted(tmp_path / str(noise), noise, rule) for noise in (False, True)
    )
    assert name == other and all(torch.equal(value, noisy[key]) for key, value in state.items())
    assert len(seen) == len(again) == 3

    def apart(kept):
        return [{key: value for key, value in one.items() if key.startswith("oracle/") == kept} for one in seen], [
            {key: value for key, value in one.items() if key.startswith("oracle/") == kept} for one in again
        ]

    rules, noisy_rules = apart(False)
    oracle, noisy_oracle = apart(True)
    assert rules == noisy_rules and {f"val/target/{one}" for one in RULES[1:]} <= set(rules[0])
    assert oracle != noisy_oracle


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"without_labels": "best"}, "is unknown; allowed: source, importance_weighted"),
        ({"without_labels": "importance_weighted"}, "has no effect in DomainAdaptation, which reads the target's"),
    ],
)
def test_rules_without_effect_are_refused(given, said):
    task = Task("a", "classification", ("x", "y"))
    with pytest.raises(ValueError, match=said):
        DomainAdaptation(target=task, source=task, **given)


def test_rules_are_for_classification():
    task = Task("a", "segmentation", ("x", "y"))
    with pytest.raises(ValueError, match="for segmentation it must be source"):
        DomainAdaptation(target=task, source=task, objective="coral", without_labels="information_maximisation")
