"""The transformer for texts and its tokenizer."""

from __future__ import annotations

import copy

import pytest
import torch

from datamodules.tokenizing import train_tokenizer
from tests.conftest import trainer_for
from tl_modules import TransferModule
from tl_modules.backbones import build_backbone

pytest.importorskip("tokenizers")
TEXTS = ["Win a free prize now", "free entry, win cash", "see you at lunch", "are you at home tonight?"] * 3
TASK = {"name": "spam", "kind": "classification", "labels": ["ham", "spam"], "domain": "messages"}


@pytest.fixture(scope="module")
def backbone():
    return {"name": "transformer", "tokenizer": train_tokenizer(TEXTS, 200), "width": 32, "heads": 2, "length": 6}


def test_the_same_texts_give_the_same_tokenizer_of_their_pieces():
    made = train_tokenizer(TEXTS, 200)
    assert made == train_tokenizer(TEXTS, 200)
    assert '"[PAD]"' in made and '"lunch"' in made and '"prize"' in made


def test_padding_and_company_change_nothing(backbone):
    net = build_backbone(backbone).eval()
    assert (net.dim, net.strides) == (32, [])
    with torch.no_grad():
        alone = net({"text": ["see you"]}).pooled
        among = net({"text": ["see you", "win a free prize now at home", ""]}).pooled
        cut = net({"text": ["win a free prize now at lunch", "win a free prize now at home"]}).pooled
    assert torch.allclose(alone[0], among[0], atol=1e-6)
    assert bool(torch.isfinite(among).all())
    assert torch.allclose(cut[0], cut[1])  # what differs stands beyond the six pieces
    assert not torch.allclose(among[0], among[1])


def test_it_learns_and_its_tokenizer_travels_in_the_checkpoint(backbone, tmp_path):
    module = TransferModule(TASK, backbone=backbone)
    batch = {"id": [str(i) for i in range(12)], "text": TEXTS, "label": torch.tensor([1, 1, 0, 0] * 3)}
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for _ in range(40):
        loss = module.loss("target", module.features(batch), dict(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.1
    trainer = trainer_for(1)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = TransferModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True).eval()
    twin = copy.deepcopy(module).eval()
    with torch.no_grad():
        wanted = module.eval()({"text": TEXTS})
        assert torch.equal(again({"text": TEXTS}), wanted) and torch.equal(twin({"text": TEXTS}), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": None}, "needs a tokenizer"),
        ({"heads": 3}, "backbone.heads=3: must divide backbone.width=32"),
        ({"depth": 3}, "backbone.depth is no option of transformer"),
    ],
)
def test_wrong_options_are_named(backbone, options, message):
    with pytest.raises(ValueError, match=message):
        build_backbone({**backbone, **options})
    with pytest.raises(ValueError, match="needs samples with a text"):
        build_backbone(backbone)({"image": torch.zeros(1, 3, 8, 8)})
