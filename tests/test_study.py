"""Question F's study: equal budgets, nothing trained twice, figures as they should be."""

import json
import math
from dataclasses import replace

import pytest
import torch

from colour.learning.pictures import PictureSet
from colour.system.cli import UserError
from writeup import augmentation


@pytest.fixture
def steps(monkeypatch):
    """The study on few small pictures; the steps of each training, and with which augmentation."""
    steps = []

    def small(count):
        images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8)
        return PictureSet(images, images[:, 0] // 11)

    def counting(network, train_set, held_out, recipe, *args, **kwargs):
        steps.append((recipe.epochs * len(train_set) // recipe.batch_size, recipe.augment))
        return real_train(network, train_set, held_out, recipe, *args, **kwargs)

    real_train = augmentation.train
    monkeypatch.setattr(augmentation, "train", counting)
    monkeypatch.setattr(augmentation, "load_sets", lambda *_: (small(20), small(5)))
    others = small(90)
    monkeypatch.setattr(augmentation, "load_cifar10",
                        lambda _: ((others.images.numpy(), torch.arange(90).numpy() % 9), None))
    monkeypatch.setattr(augmentation, "RECIPE", replace(augmentation.RECIPE, batch_size=5))
    return steps


def test_every_kind_gets_as_many_steps(steps, tmp_path, capsys):
    assert augmentation.main(["-e", "5", "--seeds", "2", "--outdir", str(tmp_path)]) == 0
    *alone, others, rest = steps[:7]
    assert [count for count, _ in alone] == [20] * 5
    assert [augment for _, augment in alone] == [(), ("hflip",), ("vflip",), ("hshift",), ("vshift",)]
    assert others[0] + rest[0] == 20 and others[0] == 8
    study = json.loads((tmp_path / "augmentation.json").read_text())
    assert len(study["runs"]) == 12 and {run["seed"] for run in study["runs"]} == {0, 1}
    assert (tmp_path / "augmentation.png").stat().st_size > 5000
    assert "pretrained" in capsys.readouterr().out
    del steps[:]
    assert augmentation.main(["-e", "5", "--seeds", "2", "--outdir", str(tmp_path)]) == 0
    assert steps == []  # all was there
    with pytest.raises(SystemExit):
        augmentation.main(["-e", "6", "--outdir", str(tmp_path)])
    assert "another study" in capsys.readouterr().err


def test_damaged_figures_are_refused(tmp_path):
    for content in b"", b"[]", b'{"settings": 1}', b"\xff":
        (tmp_path / "augmentation.json").write_bytes(content)
        with pytest.raises(UserError):
            augmentation.earlier_runs(tmp_path / "augmentation.json", {})


def test_mean_and_spread():
    runs = [{"name": "a", "loss": loss, "acc": 0.5} for loss in (1.0, 2.0, 3.0)]
    runs.append({"name": "b", "loss": 4.0, "acc": 1})
    figures = augmentation.summary(runs)
    assert figures["a"] == {"loss": (2.0, 1.0), "acc": (0.5, 0.0)}
    assert figures["b"]["loss"][0] == 4.0 and math.isnan(figures["b"]["loss"][1])
