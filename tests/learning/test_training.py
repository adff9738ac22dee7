"""Mini-batches, evaluation, training: what the figures of every epoch rest on."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from colour.learning.augment import NAMES
from colour.learning.optimizers import OPTIMIZERS
from colour.learning.pictures import PictureSet, load_sets, minibatches
from colour.learning.task import Classification, Decoding, Regression
from colour.learning.training import Recipe, Tally, evaluate, train
from colour.metrics import Scores
from colour.palette import Palette
from colour.pixels import grey_of, to_rgb
from colour.system.cli import UserError
from colour.system.devices import pick_device
from colourization import CNN, UNet
from load_data import load_horses
from tests.helpers import generator, needs_gpu

TASK = Classification(Palette.load())
CPU = torch.device("cpu")


def new_network(kind=CNN, filters: int = 4, outputs: int = 24):
    torch.manual_seed(0)
    return kind(3, filters, outputs)


def trained(pictures: PictureSet, kind=CNN, state: dict | None = None, **hyperparameters):
    """Train a new network on some pictures and validate on them: returns it and the states after each epoch."""
    network = new_network(kind)
    recipe = Recipe(**{"epochs": 1, "batch_size": 50, "precision": "fp32", **hyperparameters})
    return network, list(train(network, pictures, pictures, recipe, TASK, state))


# Pictures


def test_the_validation_set_is_the_test_set_or_held_out():
    x_train, x_test = load_horses()
    train_set, valid_set = load_sets("horse", None, None, CPU, TASK)
    assert np.array_equal(train_set.images, x_train) and np.array_equal(valid_set.images, x_test)
    assert np.array_equal(valid_set.labels, TASK.palette.labels(x_test))
    train_set, valid_set = load_sets("horse", None, 4900, CPU, Regression())
    assert np.array_equal(train_set.images, x_train[:100]) and np.array_equal(valid_set.images, x_train[100:])
    assert train_set.labels is valid_set.labels is None
    with pytest.raises(UserError, match="--holdout 5000"):
        load_sets("horse", None, 5000, CPU, TASK)


@pytest.mark.parametrize("size", [1, 7, 50, 128, 1000])
def test_batches_hold_every_picture_once(few_horses, size):
    parts = list(minibatches(few_horses, size, generator()))
    assert len(parts) == math.ceil(150 / size)
    assert len(parts[-1][0]) == 150 - size * (len(parts) - 1)
    seen = torch.cat([(256 * rgb).byte() for rgb, _ in parts])
    assert sorted(map(bytes, seen.numpy())) == sorted(map(bytes, few_horses.images.numpy()))


def test_the_order_is_drawn_from_the_generator_and_labels_follow(few_horses):
    first, again, other = ([labels for _, labels in minibatches(few_horses, 40, generator(seed))] for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    for rgb, labels in minibatches(few_horses, 40, generator(), NAMES):
        assert torch.equal(TASK.labels((256 * rgb).byte().numpy()).long(), labels)


def test_each_batch_is_augmented_by_other_random_numbers():
    """Half of the pictures, whose left column is white, are flipped."""
    images = torch.zeros(400, 3, 4, 4, dtype=torch.uint8)
    images[..., 0] = 255
    one, other = (tuple(bool(picture[0, 0, 3]) for picture in rgb)
                  for rgb, _ in minibatches(PictureSet(images), 200, generator(), ("hflip",)))
    assert one != other and 70 < sum(one) < 130 and 70 < sum(other) < 130


def test_a_training_augments_its_pictures_and_normalises_by_batches(few_horses):
    """It does not matter that a network came in eval mode, as loaded ones do."""
    plain, flipped = (trained(few_horses, augment=names)[0] for names in ((), ("hflip",)))
    assert not torch.equal(plain.finalconv.weight, flipped.finalconv.weight)
    network = new_network().eval()
    list(train(network, few_horses, few_horses, Recipe(epochs=1, batch_size=50, precision="fp32"), TASK))
    assert torch.equal(network.finalconv.weight, plain.finalconv.weight)


def test_an_epoch_of_one_seed_is_none_of_another(few_horses):
    orders = {}
    for seed, epochs in (0, 2), (1, 1):
        orders[seed] = []
        recipe = Recipe(epochs=epochs, batch_size=50, precision="fp32", seed=seed)
        list(train(new_network(), few_horses, few_horses, recipe, TASK,
                   progress=lambda batches, total: (orders[seed].append(batch[0]) or batch for batch in batches)))  # noqa: B023
    assert not torch.equal(orders[0][3], orders[1][0])  # the first batch of the second epoch


def test_batches_without_labels_and_without_a_generator(few_horses):
    images = PictureSet(few_horses.images)
    parts = list(minibatches(images, 40))
    assert torch.equal(torch.cat([rgb for rgb, _ in parts]), to_rgb(few_horses.images))
    assert all(labels is None for _, labels in parts)
    for (rgb, _), (same, _) in zip(minibatches(images, 40, generator()), minibatches(few_horses, 40, generator())):
        assert torch.equal(rgb, same)
    moved = torch.cat([rgb for rgb, _ in minibatches(images, 40, generator(), NAMES)])
    assert len(moved) == 150 and not torch.equal(moved, torch.cat([rgb for rgb, _ in minibatches(images, 40)]))


# Evaluation


def test_a_tally_divides_once_and_comes_back_from_its_state():
    tally, labels = Tally(), torch.tensor([[0, 1], [1, 1]])
    tally.add(torch.tensor(1.0), 4, torch.tensor([[0, 1], [0, 0]]), labels)
    tally.add(torch.tensor(math.nan), 0, labels[:0], labels[:0])  # a process that has no picture of a batch
    again = Tally()
    again.load_state_dict(tally.state_dict())
    for each in tally, again:
        each.add(torch.tensor(7.0), 12, torch.zeros(12), torch.zeros(12))
        assert each.result() == {"loss": (1 * 4 + 7 * 12) / 16, "acc": 14 / 16}
        each.check("anywhere")
    tally.add(torch.tensor(math.inf), 4, labels, labels)
    with pytest.raises(FloatingPointError, match="no longer finite at batch 3"):
        tally.check("at batch 3")
    regression = Tally()
    regression.add(torch.tensor(0.5), 4, None, None)
    assert regression.result() == {"loss": 0.5}


def test_evaluation_does_not_depend_on_the_batch_size(few_horses):
    network = new_network()
    whole = evaluate(network, few_horses, TASK, 150)
    for size in (1, 7, 64, 100, 1000):
        part = evaluate(network, few_horses, TASK, size)
        assert part["acc"] == whole["acc"]
        assert part["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_evaluation_is_the_plain_mean_in_eval_mode_and_leaves_no_trace(few_horses):
    network = new_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    figures = evaluate(network, few_horses, TASK)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    with torch.no_grad():
        logits = network.eval()(grey_of(to_rgb(few_horses.images)))
    assert figures["acc"] == pytest.approx((logits.argmax(1) == few_horses.labels).float().mean().item(), abs=1e-6)
    assert figures["loss"] == pytest.approx(F.cross_entropy(logits, few_horses.labels.long()).item(), rel=1e-5)


@pytest.mark.parametrize("task", [TASK, Regression(Decoding(keep_grey=True))], ids=["classification", "regression"])
def test_evaluation_also_scores_the_pictures(few_horses, task):
    pictures = few_horses if task.palette else PictureSet(few_horses.images)
    network = new_network(outputs=task.num_outputs).eval()
    rgb, scores = to_rgb(few_horses.images), Scores()
    with torch.no_grad():
        output = network(grey_of(rgb))
    scores.add(task.colours(output, grey_of(rgb)), rgb, task.guess(output), pictures.labels)
    loss = task.loss(output, rgb, pictures.labels if task.palette is None else pictures.labels.long()).item()
    assert evaluate(network, pictures, task, 64) == pytest.approx({"loss": loss, **scores.result()}, rel=1e-5)
    assert ("acc" in scores.result()) == (task.palette is not None)


# Training


@pytest.mark.parametrize("size", [128, 7, 1])
def test_partial_and_single_batches_train(few_horses, size):
    _, (state,) = trained(few_horses[:17], batch_size=size)
    assert math.isfinite(state["history"][0]["loss"])


def test_training_lowers_the_loss_in_both_tasks(few_horses):
    recipe = Recipe(epochs=5, batch_size=10, learn_rate=0.02, precision="fp32")
    for pictures, task in (few_horses, TASK), (PictureSet(few_horses.images), Regression()):
        network = new_network(outputs=task.num_outputs)
        *_, state = train(network, pictures, pictures, recipe, task)
        losses = [epoch["loss"] for epoch in state["history"]]
        assert losses[-1] < 0.85 * losses[0]
        figures = {"loss", "val_loss", "val_colour", "seconds"} | ({"acc", "val_acc"} if task.palette else set())
        assert all(record.keys() == figures for record in state["history"])


def test_same_seed_same_numbers_other_seed_others(few_horses):
    figures = []
    for seed in (0, 0, 1):
        _, (state,) = trained(few_horses, seed=seed, augment=NAMES)
        figures.append(state["history"][0]["loss"])
    assert figures[0] == figures[1] != figures[2]


def test_label_smoothing_is_trained_with_and_not_scored(few_horses):
    """Weights are the same before the first step, which with a learning rate next to nothing is always."""
    (plain,), (smoothed,) = (trained(few_horses, epochs=1, learn_rate=1e-30, label_smoothing=share)[1][0]["history"]
                             for share in (0.0, 0.5))
    assert smoothed["val_loss"] == plain["val_loss"] and smoothed["loss"] != plain["loss"]


def test_the_order_changes_from_epoch_to_epoch(few_horses):
    """When the learning rate is next to nothing, two epochs differ only by the order of the batches."""
    _, states = trained(few_horses, epochs=2, learn_rate=1e-30, augment=("hshift",))
    first, second = states[-1]["history"]
    assert first["val_loss"] != 0 and first["loss"] != second["loss"]


@pytest.mark.parametrize("schedule, precision, optimizer", [
    ("constant", "bf16", "adam"), ("onecycle", "fp32", "adam"), ("onecycle", "fp32", "muon")])
def test_resumed_training_is_bit_identical(few_horses, schedule, precision, optimizer, tmp_path):
    options = {"epochs": 3, "schedule": schedule, "precision": precision, "augment": NAMES, "weight_decay": 0.01,
               "optimizer": optimizer}
    whole, _ = trained(few_horses, **options)
    states = train(new_network(), few_horses, few_horses, Recipe(batch_size=50, **options), TASK)
    torch.save(next(states), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed, rest = trained(few_horses, state=state, **options)
    assert len(rest) == 2 and len(rest[-1]["history"]) == 3
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("gpu", [False, pytest.param(True, marks=needs_gpu)])
def test_every_batch_is_a_place_to_stop(gpu, optimizer):
    """Stopped after each batch and resumed from what was saved, a training sees and learns the same."""
    images = torch.randint(256, (10, 3, 8, 8), dtype=torch.uint8).to(pick_device(gpu))
    pictures = PictureSet(images, images[:, 0] // 11)
    recipe = Recipe(epochs=2, batch_size=4, optimizer=optimizer, schedule="onecycle", augment=("hflip", "hshift"),
                    precision="bf16" if gpu else "fp32")
    *_, expected = train(new_network(filters=2), pictures, pictures, recipe, TASK)
    state, stops = None, 0
    while state is None or len(state["history"]) < 2:
        state = next(train(new_network(filters=2), pictures, pictures, recipe, TASK, state, stop=lambda: 1))
        stops += 1
    assert stops == 6
    for record in expected["history"] + state["history"]:
        del record["seconds"]
    assert state["history"] == expected["history"] and state["done"] == 0
    assert all(torch.equal(state["model"][name], expected["model"][name]) for name in expected["model"])


@pytest.mark.parametrize("batch_size, batches", [(17, 1), (9, 2)])
def test_a_request_in_the_last_batch_stops_after_the_epoch(few_horses, batch_size, batches):
    recipe = Recipe(epochs=5, batch_size=batch_size, precision="fp32")
    asked = itertools.count(1)
    states = list(train(new_network(), few_horses[:17], few_horses, recipe, TASK, stop=lambda: next(asked) >= batches))
    assert len(states) == 1 and len(states[0]["history"]) == 1 and states[0]["done"] == 0


def test_a_loss_that_is_not_finite_is_named(few_horses):
    with pytest.raises(FloatingPointError, match=r"at batch [2-4] of epoch 1"):
        trained(few_horses, learn_rate=1e30, batch_size=20)
    network = new_network()
    states = train(network, few_horses, few_horses, Recipe(batch_size=50, precision="fp32"), TASK)
    next(states)
    with torch.no_grad():
        network.downconv1[2].running_var.fill_(math.nan)  # which only validation reads
    with pytest.raises(FloatingPointError, match="validation loss .* after epoch 2"):
        next(states)


def test_adam_is_adam(few_horses):
    """The first steps equal those of torch.optim.Adam in a loop written out."""
    network, _ = trained(few_horses, batch_size=100)
    reference = new_network().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.001)
    order = torch.randperm(150, generator=generator(0))
    for index in order.split(100):
        optimizer.zero_grad()
        grey = few_horses.images[index].float().mean(1, keepdim=True) / 256
        F.cross_entropy(reference(grey), few_horses.labels[index].long()).backward()
        optimizer.step()
    # Outputs, not weights: biases before a norm have no gradient but rounding errors, which Adam enlarges.
    grey = grey_of(to_rgb(few_horses.images[:50]))
    with torch.no_grad():
        assert torch.allclose(network.train()(grey), reference(grey), atol=1e-3)
        assert not torch.allclose(new_network().train()(grey), reference(grey), atol=1e-2)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_weight_decay_shrinks_the_weights(optimizer):
    network = new_network()
    before = network.finalconv.weight.clone()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    OPTIMIZERS[optimizer](network, learn_rate=0.1, weight_decay=0.5).step()
    assert torch.allclose(network.finalconv.weight, 0.95 * before)


def test_bfloat16_learns_what_float32_learns(few_horses):
    """What it validates with and what it keeps are float32."""
    (network, states), (half_network, half_states) = (
        trained(few_horses, UNet, epochs=3, precision=precision) for precision in ("fp32", "bf16"))
    for record, half in zip(states[-1]["history"], half_states[-1]["history"], strict=True):
        assert half["loss"] != record["loss"]
        assert half["loss"] == pytest.approx(record["loss"], abs=0.01)
        assert half["val_loss"] == pytest.approx(record["val_loss"], abs=0.02)
    assert all(value.dtype == network.state_dict()[name].dtype for name, value in half_network.state_dict().items())


def test_progress_sees_every_batch(few_horses):
    totals = []

    def progress(batches, total):
        totals.append(total)
        return itertools.chain(batches)

    recipe = Recipe(epochs=2, batch_size=40)
    assert len(list(train(new_network(), few_horses, few_horses, recipe, TASK, progress=progress))) == 2
    assert totals == [4, 4]
