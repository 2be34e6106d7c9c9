"""Encoders of Hugging Face's transformers, from local folders."""

from __future__ import annotations

import shutil

import pytest
import torch

from datamodules.tokenizing import train_tokenizer
from tests.conftest import trainer_for
from tests.tl_modules.test_text import TASK, TEXTS
from tl_modules import TransferModule
from tl_modules.backbones import build_backbone
from tl_modules.backbones.huggingface import described

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(train_tokenizer(TEXTS, 200))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    size = {"vocab_size": len(fast)}
    bert = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    t5 = {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8}
    made = {}
    for name, config in (
        ("bert", transformers.BertConfig(**size, **bert, max_position_embeddings=20)),
        ("t5", transformers.T5Config(**size, **t5)),
    ):
        made[name] = tmp_path_factory.mktemp(name)
        transformers.AutoModel.from_config(config).save_pretrained(made[name])
        fast.save_pretrained(made[name])
    return made


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_features_are_the_mean_of_the_whole_encoders_vectors(folders, name):
    folder = folders[name]
    ours = build_backbone({"name": "huggingface", "model": str(folder), "weights": "DEFAULT"}).eval()
    net = transformers.AutoModel.from_pretrained(folder).eval()
    net = net.get_encoder() if name == "t5" else net
    found = ours({"text": TEXTS[:3]}).pooled
    given = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[:3], return_tensors="pt", padding=True)
    there = given["attention_mask"]
    vectors = net(input_ids=given["input_ids"], attention_mask=there).last_hidden_state
    assert torch.equal(found, (vectors * there[..., None]).sum(1) / there.sum(1, keepdim=True))
    other = build_backbone({"name": "huggingface", "model": str(folder)}).eval()  # random weights
    assert not torch.allclose(other({"text": TEXTS[:3]}).pooled, found, atol=1e-3)
    assert all(parameter.requires_grad for parameter in ours.parameters())
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in net.parameters())


def test_its_checkpoint_needs_no_folder(folders, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(folders["bert"], folder)
    spec = {"name": "huggingface", "model": str(folder), "weights": "DEFAULT", "length": 500, **described(str(folder))}
    module = TransferModule(target=TASK, backbone=spec)
    trainer = trainer_for(1)
    batch = {"id": list("ab"), "text": TEXTS[:2], "label": torch.tensor([1, 0])}
    trainer.fit(module, torch.utils.data.DataLoader([batch], batch_size=None))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    shutil.rmtree(folder)
    again = TransferModule.load_from_checkpoint(tmp_path / "x.ckpt", map_location="cpu", weights_only=True).eval()
    texts = {"text": ["free " * 50, ""]}  # longer than its positions, and empty
    assert torch.equal(again(texts), module.eval()(texts)) and torch.isfinite(again(texts)).all()


def test_what_is_no_encoder_is_answered_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"^backbone.model=.*nothing"):
        build_backbone({"name": "huggingface", "model": str(tmp_path / "nothing")})
    with pytest.raises(ValueError, match="needs the name or the folder of an encoder"):
        build_backbone("huggingface")
