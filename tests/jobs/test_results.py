"""What a network makes of the pictures: scores, tables, comparison."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

import colourization
from colour.data.datasets import choose
from colour.jobs import checkpoints, results
from colour.learning import pictures
from colour.learning.task import Classification
from colour.palette import Palette
from colourization import CNN
from tests.helpers import contents_of, make_network, same, state

TASK = Classification(Palette.load())


@pytest.mark.parametrize("decode", ["argmax", "mean", "annealed"])
def test_scores_are_those_of_the_decoding_that_is_drawn(run, few_files, tmp_path, small_unet, decode):
    flags = ["--valid", "--checkpoint", small_unet, "--outdir", tmp_path, "--data", few_files, "--decode", decode]
    status, out, _ = run(colourization.main, *flags, "--metrics", tmp_path / "plain.json")
    assert status == 0 and out.startswith("Val Loss: ") and "all-grey picture" in out
    assert out.splitlines()[-4].startswith("palette ceiling ")  # then the true pictures, and where files are
    run(colourization.main, *flags, "--keep_grey", "--metrics", tmp_path / "kept.json")
    plain, kept = (json.loads((tmp_path / name).read_text()) for name in ("plain.json", "kept.json"))
    assert kept["small"]["psnr"] > plain["small"]["psnr"]  # the colours are random: knowing the grey must help
    assert kept["small"]["acc"] == plain["small"]["acc"]
    assert kept["palette ceiling"] == plain["palette ceiling"]


def test_the_comparison_takes_regression_too(run, few_files, tmp_path, small_unet):
    torch.manual_seed(0)
    torch.save(CNN(3, 4, 3).state_dict(), tmp_path / "regression.pkl")
    (tmp_path / "other").mkdir()
    shutil.copy(small_unet, tmp_path / "other")
    files = [small_unet, tmp_path / "regression.pkl", tmp_path / "other" / "small.pkl"]
    status, out, _ = run(colourization.main, "--compare", *files, "--outdir", tmp_path, "--data", few_files,
                         "--metrics", tmp_path / "m.json")
    assert status == 0
    rows = json.loads((tmp_path / "m.json").read_text())
    assert {str(small_unet), str(files[2]), "regression"} < rows.keys()
    assert "acc" not in rows["regression"] and "acc" in rows[str(small_unet)]
    assert (tmp_path / "compare.png").exists()


def test_weights_that_score_otherwise_than_their_sidecar_says(run, tmp_path, few_files):
    """A student's network may fit the weights and compute something else."""
    file, weights = tmp_path / "net.pkl", state("UNet")
    where = "--data", few_files, "--outdir", tmp_path
    sidecar = {"model": "UNet", "category": choose("horse", few_files).name, "holdout": None}
    checkpoints.save(file, weights, sidecar)
    assert run(colourization.main, "--valid", "--checkpoint", file, *where, "--metrics", tmp_path / "m.json")[0] == 0
    validation = json.loads((tmp_path / "m.json").read_text())["net"]
    for factor, change, warned in (1, {}, False), (1.1, {}, True), (1.1, {"holdout": 1}, False):
        stated = {**validation, "loss": factor * validation["loss"]}
        checkpoints.save(file, weights, {**sidecar, "validation": stated, **change})
        for job in ["--valid", "--checkpoint"], ["--compare"]:
            status, _, error = run(colourization.main, *job, file, *where)
            assert status == 0 and (error != "") == warned
            if warned:
                said, of_sidecar = re.split(", but .*.json says ", error)
                assert said == f"warning: {file} scores {TASK.summary(validation)}"
                assert of_sidecar.startswith(f"{TASK.summary(stated)}: ") and error.count("\n") == 1
    for validation in [], {"loss": "x"}, {"loss": 1}, {"loss": 10**400, "acc": 0}:  # from strangers
        checkpoints.save(file, weights, {**sidecar, "validation": validation})
        assert run(colourization.main, "--compare", file, *where)[2] == ""


def test_a_sidecar_of_other_weights_is_told_once(run, few_files, tmp_path, small_unet):
    checkpoints.sidecar_path(small_unet).write_text("{}")
    *_, error = run(colourization.main, "--valid", "--checkpoint", small_unet, "--data", few_files,
                    "--outdir", tmp_path)
    assert error.count("was written for other weights") == error.count("\n") == 1


def test_pictures_of_a_network_in_training_are_those_that_it_scores_with():
    network, rgb = make_network("CNN").train(), torch.rand(2, 3, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for both, alone in zip(results.colourings(network, TASK, rgb), results.colourings(network, TASK, rgb[:1])):
        assert torch.allclose(both[:1], alone, atol=1e-5)
    assert same(network.state_dict(), before)


def test_a_set_of_constant_pictures_is_scored_without_a_warning(run, tmp_path, monkeypatch):
    """There is no colourfulness to divide by."""
    flat = np.full((8, 3, 32, 32), 100, np.uint8)
    monkeypatch.setattr(pictures, "load_category", lambda *_: (flat, flat))
    torch.save(CNN(3, 4, 24).state_dict(), tmp_path / "x.pkl")
    status, _, error = run(colourization.main, "--valid", "--checkpoint", tmp_path / "x.pkl", "--outdir", tmp_path)
    assert status == 0 and error == ""


def test_scoring_changes_nothing_but_its_own_results(run, few_files, tmp_path, small_unet):
    before = contents_of(tmp_path)
    assert run(colourization.main, "--valid", "--checkpoint", small_unet, "--outdir", tmp_path / "out",
               "--data", few_files)[0] == 0
    after = contents_of(tmp_path)
    assert after.keys() - before.keys() == {f"out/eval_{tmp_path.name}_small.png"} and before.items() <= after.items()
