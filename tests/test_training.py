"""Batches, augmentation, evaluation, training: what every epoch's figures rest on."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from colour.augment import MAX_SHIFT, NAMES, augmented
from colour.palette import Palette
from colourization import CNN, Data, UNet, batches, evaluate, grey_of, pixel_loss, start_from_grey, train
from load_data import load_horses


@pytest.fixture(scope="module")
def horses():
    """The first 150 training horses with their labels."""
    images = load_horses()[0][:150]
    return Data(torch.from_numpy(images), torch.from_numpy(Palette.load().labels(images)))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0, kind=CNN, filters=4):
    torch.manual_seed(seed)
    return kind(3, filters, 24)


def run(data, valid=None, kind=CNN, state=None, **options):
    model = network(kind=kind)
    options = {"epochs": 1, "batch_size": 50, **options}
    states = list(train(model, data, data if valid is None else valid, state=state, **options))
    return model, states


# Data


def test_grey_is_the_mean_of_bytes_over_256(horses):
    (rgb, _), = batches(horses, 1000)
    by_hand = horses.images.numpy().astype(np.float64).mean(axis=1, keepdims=True) / 256
    assert np.allclose(grey_of(rgb).numpy(), by_hand, atol=1e-6)
    assert rgb.max() <= 255 / 256


@pytest.mark.parametrize("size", [1, 7, 50, 128, 1000])
def test_batches_hold_every_picture_once(horses, size):
    parts = list(batches(horses, size, generator()))
    assert len(parts) == math.ceil(150 / size)
    assert len(parts[-1][0]) == 150 - size * (len(parts) - 1)
    seen = torch.cat([(256 * rgb).byte() for rgb, _ in parts])
    assert sorted(map(bytes, seen.numpy())) == sorted(map(bytes, horses.images.numpy()))


def test_order_is_drawn_from_the_generator_and_labels_follow(horses):
    first, again, other = ([target for _, target in batches(horses, 40, generator(seed))] for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    palette = Palette.load()
    for rgb, target in batches(horses, 40, generator(), NAMES):
        assert torch.equal(torch.from_numpy(palette.labels((256 * rgb).byte().numpy())).long(), target)


@pytest.mark.parametrize("names", [("hflip",), ("vflip",), ("hshift",), ("vshift",), NAMES])
def test_augmentation_moves_pictures_as_numpy_would(names):
    images = torch.arange(200 * 2 * 16 * 12).view(200, 2, 16, 12)  # every value tells where it came from
    moved = augmented(images, names, generator())
    shifts_y = range(-MAX_SHIFT, MAX_SHIFT + 1) if "vshift" in names else [0]
    shifts_x = range(-MAX_SHIFT, MAX_SHIFT + 1) if "hshift" in names else [0]
    flips_y, flips_x = ([1, -1] if name in names else [1] for name in ("vflip", "hflip"))
    seen = set()
    for before, after in zip(images.numpy(), moved.numpy()):
        padded = np.pad(before, [(0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT)], mode="reflect")
        found = [(fy, fx, y, x) for fy in flips_y for fx in flips_x for y in shifts_y for x in shifts_x
                 if np.array_equal(padded[:, ::fy, ::fx][:, MAX_SHIFT + y:MAX_SHIFT + y + 16,
                                                         MAX_SHIFT + x:MAX_SHIFT + x + 12], after)]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) >= min(100, 0.9 * len(flips_y) * len(flips_x) * len(shifts_y) * len(shifts_x))


# Loss and evaluation


def test_loss_is_the_librarys(horses):
    output, labels = torch.randn(3, 24, 8, 8), torch.randint(24, (3, 8, 8))
    assert torch.isclose(pixel_loss(output, labels), F.cross_entropy(output, labels))
    rgb = torch.rand(3, 3, 8, 8)
    assert torch.isclose(pixel_loss(output[:, :3], rgb), ((output[:, :3] - rgb) ** 2).mean())


def test_evaluation_does_not_depend_on_the_batch_size(horses):
    model = network()
    whole = evaluate(model, horses, 150)
    for size in (1, 7, 64, 100, 1000):
        part = evaluate(model, horses, size)
        assert part["acc"] == whole["acc"]
        assert part["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_evaluation_is_the_plain_mean_in_eval_mode_and_leaves_no_trace(horses):
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    figures = evaluate(model, horses)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        logits = model.eval()(grey_of(horses.images.float() / 256))
    assert figures["acc"] == pytest.approx((logits.argmax(1) == horses.labels).float().mean().item(), abs=1e-6)
    assert figures["loss"] == pytest.approx(F.cross_entropy(logits, horses.labels.long()).item(), rel=1e-5)


# Training


@pytest.mark.parametrize("size", [128, 7, 1])
def test_partial_and_single_batches_train(horses, size):
    few = Data(horses.images[:17], horses.labels[:17])
    _, (state,) = run(few, batch_size=size)
    assert math.isfinite(state["history"][0]["loss"])


def test_training_lowers_the_loss_in_both_tasks(horses):
    for data in horses, Data(horses.images):
        model = network(filters=8) if data.labels is not None else CNN(3, 8, 3)
        *_, state = train(model, data, data, epochs=6, batch_size=10, learn_rate=0.005)
        losses = [epoch["loss"] for epoch in state["history"]]
        assert losses[-1] < 0.85 * losses[0]
        assert ("val_acc" in state["history"][0]) == (data.labels is not None)


def test_same_seed_same_numbers_other_seed_others(horses):
    figures = []
    for seed in (0, 0, 1):
        model, (state,) = run(horses, seed=seed, augment=NAMES)
        figures.append(state["history"][0]["loss"])
    assert figures[0] == figures[1] != figures[2]


def test_the_order_changes_from_epoch_to_epoch(horses):
    """With a learning rate of nothing, only the order of the batches tells two epochs apart."""
    _, states = run(horses, epochs=2, learn_rate=1e-30, augment=("hshift",))
    first, second = states[-1]["history"]
    assert first["val_loss"] != 0 and first["loss"] != second["loss"]


@pytest.mark.parametrize("schedule, bf16", [("constant", False), ("onecycle", False), ("onecycle", True)])
def test_resumed_training_is_bit_identical(horses, schedule, bf16, tmp_path):
    options = {"epochs": 3, "schedule": schedule, "bf16": bf16, "augment": NAMES, "weight_decay": 0.01}
    whole, _ = run(horses, **options)
    states = train(network(), horses, horses, batch_size=50, **options)
    torch.save(next(states), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed, rest = run(horses, state=state, **options)
    assert len(rest) == 2 and len(rest[-1]["history"]) == 3
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_adam_is_adam(horses):
    """The first steps equal those of torch.optim.Adam in a loop written out."""
    model, _ = run(horses, batch_size=100)
    reference = network().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.001)
    order = torch.randperm(150, generator=generator(0))
    for index in order.split(100):
        optimizer.zero_grad()
        grey = horses.images[index].float().mean(1, keepdim=True) / 256
        F.cross_entropy(reference(grey), horses.labels[index].long()).backward()
        optimizer.step()
    # Outputs, not weights: biases before a norm have no gradient but rounding, which Adam blows up.
    grey = grey_of(horses.images[:50].float() / 256)
    with torch.no_grad():
        assert torch.allclose(model.train()(grey), reference(grey), atol=1e-3)
        assert not torch.allclose(network().train()(grey), reference(grey), atol=1e-2)


@pytest.mark.parametrize("kind", [CNN, UNet])
def test_bfloat16_learns_what_float32_learns(horses, kind):
    """And what it validates with and keeps are float32."""
    (model, states), (half_model, half_states) = (run(horses, kind=kind, epochs=3, bf16=bf16) for bf16 in (False, True))
    for record, half in zip(states[-1]["history"], half_states[-1]["history"], strict=True):
        assert half["loss"] != record["loss"]
        assert half["loss"] == pytest.approx(record["loss"], abs=0.01)
        assert half["val_loss"] == pytest.approx(record["val_loss"], abs=0.02)
    assert all(value.dtype == model.state_dict()[name].dtype for name, value in half_model.state_dict().items())


def test_grey_start_is_the_best_guess_by_grey_alone(horses):
    model = network(kind=UNet)
    start_from_grey(model, horses)
    with torch.no_grad():
        model.finalconv.weight[:, :-1] = 0  # leaves what grey alone says
    figures = evaluate(model, horses)
    # A table of the commonest colour at each of the 766 greys can follow the data more closely still.
    pairs = (horses.images.sum(dim=1) * 24 + horses.labels).flatten().bincount(minlength=766 * 24).view(766, 24)
    table = pairs.max(dim=1).values.sum().item() / pairs.sum().item()
    assert table - 0.05 < figures["acc"] <= table
    assert figures["loss"] < 1.1 < evaluate(network(kind=UNet), horses)["loss"]
