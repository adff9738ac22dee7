"""Colour grey 32x32 horses by classifying each pixel into one of K colours.

    python colourization.py --model UNet --checkpoint weights/unet_k3_f32.pkl --valid

Programming assignment 2 of CSC321 (University of Toronto, 2018), parts B, C, D and G: our own
convolutions, the networks built on them, and their training.
"""

import functools
import itertools
import json
import math
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from colour import checkpoints, flags, photos, plots, torchrun
from colour.augment import augmented
from colour.cli import Parser, UserError, command, folder_for
from colour.decode import Colouring, most_probable
from colour.devices import pick_device, suits_bf16
from colour.files import ROOT, atomic_write, display_path, sha256
from colour.interrupt import requests_to_stop
from colour.metrics import Scores, baselines, table
from colour.palette import Palette
from load_data import category_name, load_category

# ------------------------------------------------------------------------------------------------
# Convolutions


class MyConv2d(nn.Module):
    """Our own simplified ``nn.Conv2d``: stride 1, an odd square kernel, and "same" zero padding.

    Maps (N, in_channels, H, W) to (N, out_channels, H, W). Weights and biases start uniform within
    1/sqrt(fan-in), as the library's do. Raises ``ValueError`` for an even kernel, which has no middle.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"the kernel size must be odd, not {kernel_size}")
        bound = 1 / math.sqrt(in_channels * kernel_size**2)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class MyDilatedConv2d(MyConv2d):
    """A convolution whose filter is spread out: ``dilation`` empty pixels between neighbouring taps.

    Dilation counts the gaps (Yu and Koltun 2015, Figure 1, there counted from 1): 0 is ``MyConv2d``,
    1 lets the nine weights of a 3x3 filter see 5x5 pixels. No library dilates anything here: the
    taps are written into a larger filter of zeros, and the gradient flows back through that.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1):
        super().__init__(in_channels, out_channels, kernel_size)
        if dilation < 0:
            raise ValueError(f"the dilation counts the gaps between taps: at least 0, not {dilation}")
        self.dilation = dilation

    def dilated_weight(self) -> torch.Tensor:
        """The filter with its gaps, (out_channels, in_channels, S, S) where S = k + (k - 1) dilation."""
        out_channels, in_channels, k, _ = self.weight.shape
        size = k + (k - 1) * self.dilation
        spread = self.weight.new_zeros(out_channels, in_channels, size, size)
        step = self.dilation + 1
        spread[:, :, ::step, ::step] = self.weight
        return spread

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.dilated_weight()
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)


# ------------------------------------------------------------------------------------------------
# Networks. The names of the blocks and the order within them are the file format of the weights.


class UpBlock(nn.Sequential):
    """Convolution, upsampling, normalisation, ReLU.

    Upsampling to the nearest only repeats values, so norm and ReLU give the same before it, at a
    quarter of the work.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv, upsample, norm, relu = self
        return upsample(relu(norm(conv(x))))


def down_block(conv: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.MaxPool2d(2), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def same_block(conv: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def up_block(conv: nn.Module, channels: int) -> UpBlock:
    return UpBlock(conv, nn.Upsample(scale_factor=2), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class CNN(nn.Module):
    """Part B: grey (N, 1, H, W) to logits (N, num_colours, H, W); H and W are multiples of 4."""

    def __init__(self, kernel: int, num_filters: int, num_colours: int, conv=MyConv2d):
        super().__init__()
        f = num_filters
        self.downconv1 = down_block(conv(1, f, kernel), f)
        self.downconv2 = down_block(conv(f, 2 * f, kernel), 2 * f)
        self.rfconv = same_block(conv(2 * f, 2 * f, kernel), 2 * f)
        self.upconv1 = up_block(conv(2 * f, f, kernel), f)
        self.upconv2 = up_block(conv(f, num_colours, kernel), num_colours)
        self.finalconv = MyConv2d(num_colours, num_colours, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down1 = self.downconv1(x)
        down2 = self.downconv2(down1)
        middle = self.rfconv(down2)
        up1 = self.upconv1(middle)
        up2 = self.upconv2(up1)
        return self.finalconv(up2)


class UNet(nn.Module):
    """Part C: the CNN with skip connections, each decoder block seeing the encoder's of its size."""

    def __init__(self, kernel: int, num_filters: int, num_colours: int):
        super().__init__()
        f = num_filters
        self.downconv1 = down_block(MyConv2d(1, f, kernel), f)
        self.downconv2 = down_block(MyConv2d(f, 2 * f, kernel), 2 * f)
        self.rfconv = same_block(MyConv2d(2 * f, 2 * f, kernel), 2 * f)
        self.upconv1 = up_block(MyConv2d(2 * f + 2 * f, f, kernel), f)
        self.upconv2 = up_block(MyConv2d(f + f, num_colours, kernel), num_colours)
        self.finalconv = MyConv2d(num_colours + 1, num_colours, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down1 = self.downconv1(x)
        down2 = self.downconv2(down1)
        middle = self.rfconv(down2)
        up1 = self.upconv1(torch.cat([middle, down2], dim=1))
        up2 = self.upconv2(torch.cat([up1, down1], dim=1))
        return self.finalconv(torch.cat([up2, x], dim=1))


class DilatedUNet(UNet):
    """Parts D and G: the UNet with its middle convolution dilated."""

    def __init__(self, kernel: int, num_filters: int, num_colours: int, dilation: int = 1):
        super().__init__(kernel, num_filters, num_colours)
        self.rfconv[0] = MyDilatedConv2d(2 * num_filters, 2 * num_filters, kernel, dilation)


MODELS = {"CNN": CNN, "UNet": UNet, "DUNet": DilatedUNet}


# ------------------------------------------------------------------------------------------------
# Data, loss, training, evaluation: the same for classification and for regression


class Data(NamedTuple):
    """Pictures as they stay on the device: bytes, which become floats a batch at a time."""

    images: torch.Tensor  # uint8 (N, 3, H, W)
    labels: torch.Tensor | None = None  # uint8 (N, H, W); None when the target is RGB (regression)


def grey_of(rgb: torch.Tensor) -> torch.Tensor:
    """The grey input (N, 1, H, W) of RGB (N, 3, H, W): the mean of the channels, as the assignment has it."""
    return rgb.mean(dim=1)[..., None].permute(0, 3, 1, 2)  # its strides are of channels last, which torch.cat looks at


def batches(data: Data, size: int, shuffle: torch.Generator | None = None,
            augment: tuple[str, ...] = ()) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Cut ``data`` into batches of RGB (B, 3, H, W) in [0, 1) and targets.

    The target is int64 labels (B, H, W), or the RGB itself where there are no labels. ``shuffle``
    draws the order and the augmentations; without it the pictures come in their own order. The last
    batch holds what is left. Where several processes train together, each gets its share of a batch.
    """
    share = torchrun.share()
    n = len(data.images)
    device = data.images.device
    order = torch.arange(n, device=device) if shuffle is None else torch.randperm(n, generator=shuffle, device=device)
    for index in order.split(size):
        images = data.images[index]
        labels = None if data.labels is None else data.labels[index]
        if augment:
            # Labels ride along as a fourth channel, so nothing can move one without the other.
            pixels = images if labels is None else torch.cat([images, labels[:, None]], dim=1)
            pixels = augmented(pixels, augment, shuffle)
            images, labels = pixels[:, :3], None if labels is None else pixels[:, 3]
        rgb = images[share].float() / 256
        yield rgb, rgb if labels is None else labels[share].long()


def pixel_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over pixels: cross-entropy against labels (N, H, W), squared error against RGB (N, 3, H, W)."""
    if target.is_floating_point():
        return F.mse_loss(output.float(), target)
    # With channels last, as the convolutions leave it, this view costs nothing and is the fast layout.
    return F.cross_entropy(output.permute(0, 2, 3, 1).flatten(0, 2).float(), target.flatten())


class Tally:
    """Sums of loss and hits on the device, divided once, by the pixels seen."""

    def __init__(self):
        self.loss = self.correct = self.pixels = self.classified = 0

    @torch.no_grad()
    def add(self, loss: torch.Tensor, output: torch.Tensor, target: torch.Tensor) -> None:
        pixels = output[:, 0].numel()
        if not pixels:  # the mean over nothing is not a number
            return
        self.loss = self.loss + loss.detach() * pixels
        self.pixels += pixels
        if not target.is_floating_point():
            self.correct = self.correct + (most_probable(output) == target).sum()
            self.classified += pixels

    def check(self, where: str) -> None:
        """``FloatingPointError``, which says ``where``, once the loss is not finite."""
        if not math.isfinite(self.loss):
            raise FloatingPointError(f"the loss is no longer finite {where}")

    def result(self) -> dict[str, float]:
        """``loss``, and ``acc`` in [0, 1] where pixels were classified, over the pixels of all processes."""
        loss, correct, pixels, classified = torchrun.total(vars(self).values())
        return {"loss": loss / pixels, **({"acc": correct / classified} if classified else {})}


@torch.no_grad()
def evaluate(model: nn.Module, data: Data, batch_size: int = 100,
             colouring: Colouring | None = None) -> dict[str, float]:
    """Mean loss per pixel over all of ``data`` and, for labels, accuracy in [0, 1], in eval mode.

    With ``colouring``, also what ``Scores`` says of the pictures it makes. Always in float32, so that
    weights score the same wherever they are scored.
    """
    training = model.training
    model.eval()
    tally, scores = Tally(), Scores()
    for rgb, target in batches(data, batch_size):
        grey = grey_of(rgb)
        output = model(grey)
        tally.add(pixel_loss(output, target), output, target)
        if colouring is not None:
            scores.add(colouring(output, grey), rgb)
    model.train(training)
    return tally.result() | ({} if colouring is None else scores.result())


def start_from_grey(network: UNet, data: Data) -> None:
    """Start the last layer as the best classifier of each pixel that sees nothing but the pixel's own grey.

    Grey enters the UNets' last layer linearly, and to tell two dozen brightnesses apart takes weights in
    the thousands, which training from small random ones does not reach. This classifier is found at
    once: multinomial logistic regression on the training pixels, 1.00 nats and 61 % for the horses.
    Training goes on from there, and has only what the surroundings say left to learn.
    """
    from sklearn.linear_model import LogisticRegression

    num_colours, _, kernel, _ = network.finalconv.weight.shape
    levels = 3 * 255 + 1  # of the sum of three bytes
    counts = sum((images.sum(dim=1) * num_colours + labels).flatten().bincount(minlength=levels * num_colours)
                 for images, labels in zip(data.images.split(1000), data.labels.split(1000)))
    counts = counts.view(levels, num_colours).cpu()
    grey, label = counts.nonzero(as_tuple=True)
    colours = label.unique()
    mean, spread = 0.5, 0.25  # brings grey near to what the solver expects: mean 0, deviation 1
    x = ((grey.double() / 768 - mean) / spread).numpy()
    fit = LogisticRegression(C=100, solver="newton-cholesky")
    fit.fit(x[:, None], label.numpy(), sample_weight=counts[grey, label].numpy())
    slope = torch.from_numpy(fit.coef_[:, 0] / spread)
    with torch.no_grad():
        network.finalconv.weight[:, -1] = 0
        network.finalconv.weight[colours, -1, kernel // 2, kernel // 2] = slope.float()
        network.finalconv.bias[colours] = (torch.from_numpy(fit.intercept_) - slope * mean).float()


def train(model: nn.Module, data: Data, valid: Data, *, epochs: int = 25, batch_size: int = 100,
          learn_rate: float = 0.001, schedule: str = "constant", weight_decay: float = 0.0,
          augment: tuple[str, ...] = (), seed: int = 0, bf16: bool = False, state: dict | None = None,
          stop: Callable[[], int] = lambda: 0, progress: Callable = lambda batches, total: batches) -> Iterator[dict]:
    """Train ``model`` in place with Adam and yield the training state after every epoch.

    The state holds what is needed to go on from there as if nothing had happened (pass it as
    ``state``): the state dict of ``model``, the moments of ``optimizer``, and ``history``, one dict an epoch: loss,
    acc, val_loss, val_acc (accuracies in [0, 1], absent in regression), seconds. Order and
    augmentations are drawn afresh each epoch from ``seed``. ``schedule`` is "constant", or
    "onecycle" with its peak at ``learn_rate`` (Smith and Topin 2017); ``progress`` may wrap the
    batches of an epoch in a bar. Once ``stop()`` is true, the batch is finished and the last state is that
    of an unfinished epoch: ``done`` batches, and their ``tally``. Raises ``FloatingPointError`` at a loss that is
    not finite.
    """
    device = data.images.device
    steps = math.ceil(len(data.images) / batch_size)
    model.to(device, memory_format=torch.channels_last)
    # AdamW is Adam when the weights do not decay, and decays them independently of the gradient.
    optimizer = torch.optim.AdamW(model.parameters(), lr=learn_rate, weight_decay=weight_decay, fused=True)
    if schedule == "onecycle":
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, learn_rate, total_steps=epochs * steps)
    else:
        scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
    history, done, tally = [], 0, Tally()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state["optimizer"]})
        history, done = list(state["history"]), min(state["done"], steps)
        vars(tally).update(state["tally"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the schedule is wound forward without the optimizer's steps
            for _ in range(len(history) * steps + done):
                scheduler.step()
    replica = torchrun.replicate(model)

    def state_now():
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()["state"], "history": list(history),
                "done": done, "tally": dict(vars(tally))}

    for epoch in range(len(history), epochs):
        start = time.perf_counter()
        shuffle = torch.Generator(device).manual_seed(100_003 * seed + epoch)  # only its lower 32 bits count
        model.train()
        to_come = itertools.islice(batches(data, batch_size, shuffle, augment), done, None)
        for rgb, target in progress(to_come, steps - done):
            with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
                output = replica(grey_of(rgb))
            loss = pixel_loss(output, target)
            optimizer.zero_grad()
            torchrun.weighted(loss, output, min(batch_size, len(data.images) - done * batch_size)).backward()
            optimizer.step()
            scheduler.step()
            tally.add(loss, output, target)
            done += 1
            if device.type == "cpu" or done == steps:  # to look at a GPU's numbers is to wait for them
                tally.check(f"at batch {done} of epoch {epoch + 1}")
            if stop():
                break
        if done < steps:
            yield state_now()
            return
        valid_figures = {f"val_{name}": value for name, value in evaluate(model, valid).items()}
        if not math.isfinite(valid_figures["val_loss"]):
            raise FloatingPointError(f"the validation loss is no longer finite after epoch {epoch + 1}")
        history.append({**tally.result(), **valid_figures, "seconds": time.perf_counter() - start})
        done, tally = 0, Tally()
        yield state_now()


# ------------------------------------------------------------------------------------------------
# What the scripts do with these: load, save, draw


def shipped_weights(model: str, kernel: int | None, num_filters: int | None) -> Path:
    """The shipped weights of a network."""
    return ROOT / "weights" / f"{model.lower()}_k{kernel or 3}_f{num_filters or 32}.pkl"


def new_weights(model: str, network: nn.Module) -> Path:
    """Where a training without --checkpoint saves, out of the shipped weights' way."""
    kernel, num_filters, *_ = checkpoints.shape_of(network.state_dict(), model)
    return ROOT / "outputs" / shipped_weights(model, kernel, num_filters).name


def check_palette(path: str | Path, sidecar: dict, num_colours: int, palette: Palette) -> None:
    """``UserError`` if the weights at ``path``, for ``num_colours`` colours, were not trained with ``palette``."""
    if num_colours == 3 != len(palette):
        raise UserError(f"{path} predicts 3 channels, not {len(palette)} colours: "
                        "these are regression weights, for colour_regression.py")
    if num_colours != len(palette):
        raise UserError(f"{path} predicts {num_colours} colours, {palette.path} has {len(palette)}: "
                        f"name its palette with --colours")
    if sidecar.get("palette_sha256", palette.sha256()) != palette.sha256():
        raise UserError(f"{path} was trained with other colours than those of {palette.path}: "
                        f"give --colours {sidecar.get('palette')}")


def load_model(path: str | Path, *, model: str | None = None, kernel: int | None = None,
               num_filters: int | None = None, palette: Palette | None = None) -> tuple[nn.Module, dict]:
    """Build the network that the weights at ``path`` belong to, in eval mode on the CPU, and their sidecar.

    ``model`` is one of ``MODELS`` or "RegressionCNN". What is not given is read off the weights'
    shapes and the sidecar ({} if there is none, but for the model's name). Raises ``UserError``,
    naming the flag, where what is given disagrees with them.
    """
    weights, sidecar = checkpoints.load(path)
    shape = checkpoints.shape_of(weights, path)
    given = {"--kernel": (kernel, shape.kernel), "--num_filters": (num_filters, shape.num_filters)}
    for flag, (asked, found) in given.items():
        if asked not in (None, found):
            raise UserError(f"{flag} {asked} does not fit {path}, which has {found}: leave out {flag}")
    if model == "RegressionCNN" and shape.num_colours != 3:
        raise UserError(f"{path} predicts {shape.num_colours} colours, not RGB: these weights are for colourization.py")
    if palette is not None:
        check_palette(path, sidecar, shape.num_colours, palette)
    guess = "UNet" if shape.skips else "RegressionCNN" if shape.num_colours == 3 else "CNN"
    known = sidecar.get("model", model or guess)
    if model not in (None, known):
        raise UserError(f"{path} holds a {known}, says its sidecar, not a {model}: give --model {known}")
    # RegressionCNN differs from CNN only in whose convolutions it calls.
    network_class = CNN if known == "RegressionCNN" else MODELS.get(known)
    if network_class is None or shape.skips != issubclass(network_class, UNet) or (
            known == "RegressionCNN" and shape.num_colours != 3):
        wrong = f"its sidecar is wrong, remove {checkpoints.sidecar_path(path)}"
        remedy = wrong if "model" in sidecar else f"give --model {guess}"
        raise UserError(f"{path} does not hold a {known}: its shapes are those of a {guess}, {remedy}")
    network = network_class(shape.kernel, shape.num_filters, shape.num_colours)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit a {known}: {str(error).partition(':')[2]}") from error
    return network.to(memory_format=torch.channels_last).eval(), {**sidecar, "model": known}


def load_sets(category: str, data_dir: str | None, holdout: int | None, device: torch.device,
              palette: Palette | None = None) -> tuple[Data, Data]:
    """The training and the validation set, on ``device``, with labels if there is a palette.

    Validation is on the test set or, with ``holdout``, on that many pictures taken off the training set's end.
    """
    x_train, x_valid = load_category(category, data_dir)
    if holdout is not None:
        if holdout >= len(x_train):
            raise UserError(f"--holdout {holdout} leaves nothing to train on: there are {len(x_train)} pictures")
        x_train, x_valid = x_train[:-holdout], x_train[-holdout:]
    return tuple(Data(*(torch.from_numpy(array).to(device) for array in
                        ((images,) if palette is None else (images, palette.labels(images)))))
                 for images in (x_train, x_valid))


def fit(network: nn.Module, data: Data, valid: Data, *, model: str, checkpoint: Path, palette: Palette | None,
        category: str, holdout: int | None, init: str | None, epochs: int, precision: str, resume: bool,
        overwrite: bool, plot: bool, draw: Callable[[Path, Data, str], None], outdir: Path, command: str,
        grey_start: bool = False, **hyperparameters) -> None:
    """Train ``network`` by ``train``, with a line and a checkpoint after every epoch, a curve at the end.

    The sidecar of ``checkpoint`` records all the arguments. ``draw(path, data, title)`` draws some
    pictures of a set; with ``plot`` it does so after every epoch. Raises ``UserError`` before any
    work if ``checkpoint`` exists and neither ``resume`` nor ``overwrite`` is set, if the training to
    resume was another, or if a folder cannot be written to.
    """
    kernel, num_filters, *_ = checkpoints.shape_of(network.state_dict(), checkpoint)
    run = {"model": model, "kernel": kernel, "num_filters": num_filters, "category": category,
           "palette_sha256": palette and palette.sha256(), "holdout": holdout, "init": init and sha256(init),
           "grey_start": grey_start, **hyperparameters}
    if hyperparameters["schedule"] == "onecycle":
        run["epochs"] = epochs  # such a schedule is planned for its whole length

    def begin():
        folder_for(checkpoint.parent, "--checkpoint")
        folder_for(outdir, "--outdir")
        cleanup.enter_context(checkpoints.training_lock(checkpoint))
        run["precision"] = precision
        if precision == "auto":
            run["precision"] = "bf16" if suits_bf16(network, data.images.device) else "fp32"
        state = state_to_resume(checkpoint, network, run) if resume else checkpoints.may_begin(checkpoint, overwrite)
        return state, run["precision"] == "bf16"

    def save(after):
        """Weights first: a run killed between the two repeats the epoch instead of believing it saved."""
        if not after["done"]:
            validation = {name[4:]: value for name, value in after["history"][-1].items() if name.startswith("val_")}
            checkpoints.save(checkpoint, after["model"], {
                **run, "palette": palette and palette.name, "command": command, "epochs": len(after["history"]),
                "validation": validation, "history": after["history"]})
        checkpoints.save_state(checkpoint, {**after, "run": run})

    with ExitStack() as cleanup:
        cleanup.enter_context(torchrun.processes(data.images.device))
        state, bf16 = torchrun.from_rank_zero(begin)
        first = torchrun.rank() == 0
        history = state["history"] if state else []
        if first and len(history) >= epochs:
            print(f"{checkpoint} has had its {len(history)} epochs: for more, raise --epochs", file=sys.stderr)
        # Several processes would have to agree on where to stop: they end at once, and lose part of an epoch.
        stop = (lambda: 0) if torchrun.launched() else cleanup.enter_context(requests_to_stop())
        go_on = f"the same command with --resume goes on from {checkpoint}"
        try:
            for after in train(network, data, valid, epochs=epochs, bf16=bf16, state=state, stop=stop,
                               progress=functools.partial(progress_bar, "epoch"), **hyperparameters):
                history = after["history"]
                if not first:
                    continue
                save(after)
                if after["done"]:
                    print(f"interrupted in epoch {len(history) + 1}, which is saved: {go_on}", file=sys.stderr)
                    break
                epoch = len(history)
                print(epoch_line(epoch, epochs, history[-1]), flush=True)
                if plot:
                    for name, pictures in ("train", data), ("valid", valid):
                        draw(outdir / f"{model}_{name}_{epoch:03}.png", pictures, f"{model}, epoch {epoch}")
        except KeyboardInterrupt:
            if first:
                print(f"interrupted after {len(history)} epochs: {go_on if history else 'nothing was saved yet'}",
                      file=sys.stderr)
            raise SystemExit(130) from None
        except FloatingPointError as error:
            kept = f"{checkpoint} is what it was after epoch {len(history)}" if history else "nothing was saved"
            raise UserError(f"{error}; {kept}: train with a smaller --learn_rate than "
                            f"{hyperparameters['learn_rate']:g}, or --precision fp32") from error
        except RuntimeError as error:
            if not torchrun.launched():
                raise
            raise UserError(f"a process of this training failed or was lost; {checkpoint} is what it was after epoch "
                            f"{len(history)}: {go_on} ({error})") from error
    if stop():
        raise SystemExit(128 + stop())
    if first:
        curve = outdir / "training_curve.png"
        plots.training_curve(curve, history, title=checkpoint.stem)
        print(f"weights in {display_path(checkpoint)}, training curve in {display_path(curve)}")


def state_to_resume(checkpoint: Path, network: nn.Module, run: dict) -> dict | None:
    """The state that a training goes on from, None if it never began; ``UserError`` if it was another."""
    path = checkpoints.state_path(checkpoint)
    if not path.exists():
        if checkpoint.exists():
            raise UserError(f"there is no {path} to resume {checkpoint} from: start from its weights with --init, "
                            "and another --checkpoint")
        return None
    state = checkpoints.load_state(checkpoint)
    for name in run.keys() | state["run"].keys():
        then, now = (repr(one.get(name)) for one in (state["run"], run))  # the file may hold anything
        if then != now:
            flag = {"palette_sha256": "--colours", "category": "--category and --data"}.get(name, f"--{name}")
            raise UserError(f"--resume: the training of {checkpoint} had {name} {then:.80}, not {now}: "
                            f"give {flag} as then, or train anew with --overwrite")
    checkpoints.check_state(checkpoint, state, network)
    return state


def progress_bar(what: str, items, total: int):
    """A bar on standard error while it is a terminal, gone when done."""
    from tqdm import tqdm

    return tqdm(items, what, total, leave=False, disable=torchrun.rank() > 0 or None, unit="batch")


def epoch_line(epoch: int, epochs: int, record: dict) -> str:
    digits, accuracy = (4, f", Val Acc: {record['val_acc']:.1%}") if "val_acc" in record else (6, "")
    return (f"Epoch [{epoch}/{epochs}], Loss: {record['loss']:.{digits}f}, "
            f"Val Loss: {record['val_loss']:.{digits}f}{accuracy}, {record['seconds']:.1f} s")


# ------------------------------------------------------------------------------------------------
# Results: pictures and tables

SHOWN = 10  # pictures in a strip


@torch.no_grad()
def colour_in(network: nn.Module, images: torch.Tensor, colouring: Colouring) -> torch.Tensor:
    """What ``network`` makes of pictures, uint8 (N, 3, H, W): RGB (N, 3, H, W) in [0, 1]."""
    training = network.training
    network.eval()
    grey = grey_of(images.float() / 256)
    coloured = colouring(network(grey), grey)
    network.train(training)
    return coloured


def draw_strip(network: nn.Module, colouring: Colouring, path: Path, data: Data, title: str) -> None:
    """Draw grey input, truth (in palette colours if there are labels) and prediction of the first pictures."""
    images = data.images[:SHOWN]
    rgb = images.float() / 256
    truth = rgb if data.labels is None else colouring.palette.rgb(data.labels[:SHOWN])
    plots.comparison(path, [("grey", grey_of(rgb)), ("truth", truth),
                            ("prediction", colour_in(network, images, colouring))], title)


def report(results: dict[str, dict], data: Data, valid: Data, palette: Palette | None, metrics: str | None) -> None:
    """Print the scores of networks among those of the baselines, as a table, and save them as JSON if asked."""
    rows = {**baselines(*data, *valid, palette), **results}
    print(table(rows))
    if metrics:
        with atomic_write(metrics) as file:
            file.write(json.dumps(rows, indent=1).encode() + b"\n")
        print(f"scores in {display_path(metrics)}")


def compare(files: list[str], colouring: Colouring, data: Data, valid: Data, picture: Path) -> dict[str, dict]:
    """Draw the same pictures as coloured by each of several weight files, regression included.

    Returns the scores of each, by the file's name (its path, where two have the same name).
    """
    images = valid.images[:SHOWN]
    rgb = images.float() / 256
    rows, results = [("grey", grey_of(rgb)), ("truth", rgb)], {}
    for path in map(Path, files):
        network, sidecar = load_model(path)
        regression = sidecar["model"] == "RegressionCNN"
        if not regression:
            num_colours = checkpoints.shape_of(network.state_dict(), path).num_colours
            check_palette(path, sidecar, num_colours, colouring.palette)
        network.to(images.device)
        decoded = colouring._replace(palette=None) if regression else colouring
        figures = evaluate(network, Data(valid.images) if regression else valid, colouring=decoded)
        name = path.stem if [Path(file).stem for file in files].count(path.stem) == 1 else str(path)
        results[name] = figures
        score = f"{figures['psnr']:.1f} dB" + (f", {figures['acc']:.1%}" if "acc" in figures else "")
        rows.append((f"{name}\n{score}", colour_in(network, images, decoded)))
    plots.comparison(picture, rows)
    return results


# ------------------------------------------------------------------------------------------------


def command_line(script: str, argv: list[str] | None) -> str:
    """The command that a sidecar records."""
    return shlex.join(["python", Path(script).name, *(sys.argv[1:] if argv is None else argv)])


def build_parser() -> Parser:
    parser = Parser(description=__doc__)
    assignment = parser.add_argument_group("of the assignment")
    flags.add_network_flags(assignment, list(MODELS))
    assignment.add_argument("--checkpoint", metavar="FILE",
                            help="the weights that --valid reads and that training writes after every epoch "
                                 "(default: the shipped ones in weights/, and outputs/<network>.pkl)")
    assignment.add_argument("--valid", action="store_true", help="score the weights instead of training")
    flags.add_run_flags(assignment)
    training = flags.add_training_flags(parser)
    training.add_argument("--grey_start", action="store_true",
                          help="start the UNets' last layer from the best guess by a pixel's own grey")
    flags.add_data_flags(parser)
    flags.add_decoding_flags(flags.add_result_flags(parser))
    flags.add_photo_flags(parser)
    return parser


@command
def main(argv: list[str] | None = None) -> int | None:
    args = build_parser().parse_args(argv)
    device = pick_device(args.gpu)
    palette = Palette.load(args.colours)
    decoder = args.decode or ("annealed" if args.image else "argmax")
    colouring = Colouring(palette, decoder, args.temperature, args.keep_grey)
    network_flags = {"model": args.model, "kernel": args.kernel, "num_filters": args.num_filters}
    outdir = folder_for(args.outdir, "--outdir")

    if torchrun.launched() and (args.valid or args.compare or args.image):
        raise UserError("torchrun is for training: score and colour with python alone")
    if sum(map(bool, (args.valid, args.compare, args.image))) > 1:
        raise UserError("--valid, --compare and --image are three different jobs: give one of them")
    if args.metrics and not (args.valid or args.compare):
        raise UserError("--metrics saves the scores that --valid and --compare print: give one of them")
    if args.metrics:
        folder_for(Path(args.metrics).parent, "--metrics")
    if args.compare:
        data, valid = load_sets(args.category, args.data, args.holdout, device, palette)
        picture = outdir / "compare.png"
        report(compare(args.compare, colouring, data, valid, picture), data, valid, palette, args.metrics)
        print(f"picture in {display_path(picture)}")
        return

    if args.valid or args.image:
        path = Path(args.checkpoint or shipped_weights(args.model or "CNN", args.kernel, args.num_filters))
        network, sidecar = load_model(path, palette=palette, **network_flags)
        network.to(device)
    if args.image:
        return photos.colour_files(args.image, network, colouring, outdir=outdir, suffix=sidecar["model"],
                                   size=args.size)
    if args.valid:
        data, valid = load_sets(args.category, args.data, args.holdout, device, palette)
        figures = evaluate(network, valid, colouring=colouring)
        summary = f"Val Loss: {figures['loss']:.4f}, Val Acc: {figures['acc']:.1%}"
        print(summary)
        report({path.stem: figures}, data, valid, palette, args.metrics)
        picture = outdir / f"eval_{sidecar['model']}.png"
        draw_strip(network, colouring, picture, valid, f"{path.stem}, {summary}")
        print(f"picture in {display_path(picture)}")
        return

    torch.manual_seed(args.seed)
    if args.init:
        network, origin = load_model(args.init, palette=palette, **network_flags)
        model = origin["model"]
    else:
        model = args.model or "CNN"
        network = MODELS[model](args.kernel or 3, args.num_filters or 32, len(palette))
    if args.grey_start and (args.init or not isinstance(network, UNet)):
        raise UserError("--grey_start is for a UNet or DUNet that starts from random weights: the grey input "
                        "joins only their last layer, and --init has set it already")
    checkpoint = Path(args.checkpoint or new_weights(model, network))
    data, valid = load_sets(args.category, args.data, args.holdout, device, palette)
    if args.grey_start:
        start_from_grey(network, data)
    fit(network, data, valid, model=model, checkpoint=checkpoint, palette=palette, outdir=outdir,
        draw=functools.partial(draw_strip, network, colouring), command=command_line(__file__, argv),
        category=category_name(args.category, args.data), grey_start=args.grey_start,
        **{name: getattr(args, name) for name in flags.FIT})


if __name__ == "__main__":
    sys.exit(main())
