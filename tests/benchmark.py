"""How fast, against a plain baseline in the same run; on a machine that does nothing else meanwhile.

    python tests/benchmark.py            # all, some 15 minutes on two cores
    python tests/benchmark.py step data  # some sections

The baseline is the loop of a straightforward solution: library convolutions, all pictures as float64, a
slice of them converted at each step, unfused Adam, colours by brute force. Every ratio is the median of
pairs that are timed in turns, with the least and the greatest in brackets.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from colour.cli import Parser, command, number  # noqa: E402
from colour.palette import Palette  # noqa: E402
from colourization import CNN, Data, DilatedUNet, UNet, load_sets, native_bf16, pick_device, train  # noqa: E402
from load_data import load_horses  # noqa: E402

REPEATS = 5
NETWORKS = {"UNet": UNet, "CNN": CNN, "DUNet": DilatedUNet}


# ------------------------------------------------------------------------------------------------
# The baseline


class Plain(nn.Module):
    """The assignment's networks from the library's layers, each in the order of the sheet."""

    def __init__(self, model: str, f: int = 32, colours: int = 24):
        super().__init__()
        self.skips = model != "CNN"
        twice = 1 + self.skips

        def conv(before, after, dilation=1):
            return nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation)

        def down(before, after):
            return nn.Sequential(conv(before, after), nn.MaxPool2d(2), nn.BatchNorm2d(after), nn.ReLU())

        def up(before, after):
            return nn.Sequential(conv(before, after), nn.Upsample(scale_factor=2), nn.BatchNorm2d(after), nn.ReLU())

        self.down1, self.down2 = down(1, f), down(f, 2 * f)
        self.middle = nn.Sequential(conv(2 * f, 2 * f, 2 if model == "DUNet" else 1), nn.BatchNorm2d(2 * f), nn.ReLU())
        self.up1, self.up2 = up(2 * f * twice, f), up(f * twice, colours)
        self.last = conv(colours + self.skips, colours)

    def forward(self, x):
        def join(x, skipped):
            return torch.cat([x, skipped], dim=1) if self.skips else x

        down1 = self.down1(x)
        down2 = self.down2(down1)
        up1 = self.up1(join(self.middle(down2), down2))
        return self.last(join(self.up2(join(up1, down1)), x))


def plain_data(images: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB as float64, grey, and each pixel's colour, found by comparing with all, 100 pictures at a time."""
    rgb = images / 256.0
    labels = [((rgb[start:start + 100, :, None] - centres.T[None, :, :, None, None]) ** 2).sum(axis=1).argmin(axis=1)
              for start in range(0, len(rgb), 100)]
    return rgb, rgb.mean(axis=1, keepdims=True), np.concatenate(labels)


def plain_epoch(network: nn.Module, optimizer, grey: np.ndarray, labels: np.ndarray, batch: int) -> None:
    order = np.random.permutation(len(grey))
    network.train()
    for start in range(0, len(grey), batch):
        index = order[start:start + batch]
        x = torch.from_numpy(grey[index]).float()
        y = torch.from_numpy(labels[index]).long()
        logits = network(x).transpose(1, 3).transpose(1, 2).contiguous()
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# ------------------------------------------------------------------------------------------------
# Timing


def seconds(job: Callable) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def pairs(plain: Callable, ours: Callable, repeats: int = REPEATS) -> tuple[list[float], list[float]]:
    """Times of both in turns, after one of each that does not count."""
    plain(), ours()
    return tuple(zip(*[(seconds(plain), seconds(ours)) for _ in range(repeats)]))


def row(what: str, plain: list[float], ours: list[float], unit: float = 1000, name: str = "ms", note: str = "") -> None:
    ratios = [one / other for one, other in zip(plain, ours)]
    print(f"{what:44} {unit * statistics.median(plain):9.1f} {unit * statistics.median(ours):9.1f} {name:3}"
          f"{statistics.median(ratios):7.2f}x  ({min(ratios):.2f}-{max(ratios):.2f}) {note}", flush=True)


def section(title: str, plain: str = "plain", ours: str = "ours") -> None:
    print(f"\n{title:44} {plain:>9} {ours:>9} {'':3}{'faster by':>8}", flush=True)


def matrix_rate(dtype: torch.dtype, n: int = 2048) -> float:
    """FLOP/s of the machine's matrix product."""
    a, b = torch.randn(2, n, n).to(dtype)
    a @ b
    return 2 * n**3 / min(seconds(lambda: a @ b) for _ in range(5))


def flop_of_a_step(network: nn.Module) -> int:
    """Of the convolutions, forward and backward, for one picture."""
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 1, 32, 32)).sum().backward()
    return counter.get_total_flops()


def our_epoch(model: str, data: Data, batch: int, bf16: bool, network: nn.Module | None = None) -> Callable:
    """One epoch of ``train`` as it is; validation is on a single picture."""
    network = NETWORKS[model](3, 32, 24) if network is None else network
    one = Data(data.images[:1], data.labels[:1])
    return lambda: next(train(network, data, one, epochs=1, batch_size=batch, bf16=bf16))


def plain_epochs(model: str, data: Data, batch: int) -> Callable:
    network = Plain(model)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001, foreach=False)
    grey = data.images.numpy().mean(axis=1, keepdims=True) / 256.0
    labels = data.labels.numpy()
    return lambda: plain_epoch(network, optimizer, grey, labels, batch)


# ------------------------------------------------------------------------------------------------
# Sections


def step(data: Data, bf16: bool, rate: float) -> None:
    """A step is timed as an epoch of some, with all that the loop does beside it."""
    section(f"a training step, {torch.get_num_threads()} threads")
    for batch, count in (100, 2000), (10, 1000):
        some = Data(data.images[:count], data.labels[:count])
        steps = count // batch
        for model in NETWORKS:
            times = pairs(plain_epochs(model, some, batch), our_epoch(model, some, batch, bf16))
            plain, ours = ([time / steps for time in column] for column in times)
            share = flop_of_a_step(NETWORKS[model](3, 32, 24)) * batch / statistics.median(ours) / rate
            row(f"{model}, batch {batch}", plain, ours, note=f"{share:.0%} of the matrix rate")
    some, threads = Data(data.images[:1000], data.labels[:1000]), torch.get_num_threads()
    plain, ours = plain_epochs("UNet", some, 100), our_epoch("UNet", some, 100, bf16)

    def with_five():
        torch.set_num_threads(5)
        plain()
        torch.set_num_threads(threads)

    times = pairs(with_five, ours)
    row("UNet, batch 100, plain with 5 threads", *([time / 10 for time in column] for column in times))

    section("the same step with the library's dilation", "library's", "own")
    network = DilatedUNet(3, 32, 24)
    network.rfconv[0] = nn.Conv2d(64, 64, 3, padding=2, dilation=2)
    library = our_epoch("DUNet", some, 100, bf16, network)
    times = pairs(library, our_epoch("DUNet", some, 100, bf16), 2 * REPEATS)
    row("DUNet, batch 100", *([time / 10 for time in column] for column in times))


def epoch(data: Data, bf16: bool, rate: float) -> None:
    section("an epoch of 5,000 horses")
    for batch in 100, 10:
        row(f"UNet, batch {batch}", *pairs(plain_epochs("UNet", data, batch), our_epoch("UNet", data, batch, bf16), 3),
            1, "s")


def data(data: Data, bf16: bool, rate: float) -> None:
    section("data")
    palette = Palette.load()

    def plain():
        for images in load_horses():
            plain_data(images, palette.centres)

    row("load and quantise 6,000 horses", *pairs(plain, lambda: load_sets("horse", None, None, torch.device("cpu"),
                                                                          palette), 3), 1, "s")


def run_cold(*command: str) -> tuple[float, float, str]:
    """Seconds and peak megabytes of a process, from its start to its exit, and what it printed.

    It is started by a small one, since a process's peak counts what its parent's memory was at the fork.
    """
    starter = ("import resource, subprocess, sys, time; start = time.perf_counter(); "
               "subprocess.run(sys.argv[1:], check=True); "
               "print('\\n', time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    out = subprocess.run([sys.executable, "-c", starter, sys.executable, *command], cwd=ROOT, check=True,
                         capture_output=True, text=True).stdout
    *printed, wall, peak = out.split()
    return float(wall), megabytes(float(peak)), " ".join(printed)


def megabytes(peak: float) -> float:
    """Of a process's memory, which Linux counts in kilobytes and macOS in bytes."""
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def valid(data: Data, bf16: bool, rate: float) -> None:
    commands = {"import torch": ("-c", "import torch"),
                "--valid": ("colourization.py", "--checkpoint", "weights/unet_k3_f32.pkl", "--valid")}
    runs = {name: [] for name in commands}
    for _ in range(REPEATS + 1):
        for name, words in commands.items():
            runs[name].append(run_cold(*words))
    print(f"\n{'from cold start to exit':44} {'seconds':>9} {'peak MB':>9}")
    for name, times in runs.items():
        wall, peak = (statistics.median(column) for column in list(zip(*times[1:]))[:2])
        print(f"{name:44} {wall:9.2f} {peak:9.0f}")
    beyond = [ours[0] - bare[0] for ours, bare in zip(runs["--valid"][1:], runs["import torch"][1:])]
    print(f"{'beyond import torch':44} {statistics.median(beyond):9.2f} ({min(beyond):.2f}-{max(beyond):.2f})",
          flush=True)


def growth(data: Data, bf16: bool, rate: float) -> None:
    print(f"\n{'UNet, how a step grows with the batch':44} {'ms':>9} {'us/picture':>11}")
    for batch in 10, 30, 100, 300, 1000:
        steps = max(2, 1000 // batch)
        some = Data(data.images[:steps * batch], data.labels[:steps * batch])
        job = our_epoch("UNet", some, batch, bf16)
        job()
        took = statistics.median(seconds(job) for _ in range(3)) / steps
        print(f"{f'batch {batch}':44} {1e3 * took:9.1f} {1e6 * took / batch:11.0f}", flush=True)
    print(f"\n{'UNet, how an epoch grows with the pictures':44} {'s':>9} {'us/picture':>11} {'peak MB':>9}")
    for pictures in 5_000, 50_000:  # as many as all ten categories, made of copies; each in its own process
        _, peak, out = run_cold(__file__, "--pictures", str(pictures))
        took = float(out)
        print(f"{f'{pictures:,} pictures':44} {took:9.1f} {1e6 * took / pictures:11.0f} {peak:9.0f}", flush=True)


def epoch_of_many(pictures: int) -> None:
    x_train, x_test = load_horses()
    images = np.concatenate([x_train] * (pictures // len(x_train)))
    palette = Palette.load()
    many, valid = (Data(torch.from_numpy(x), torch.from_numpy(palette.labels(x))) for x in (images, x_test))
    print(seconds(lambda: next(train(UNet(3, 32, 24), many, valid, epochs=1))))


def target(data: Data, bf16: bool, rate: float) -> None:
    """The handout's best UNet has a validation loss of 1.344."""
    from colourization import start_from_grey

    print(f"\n{'training until the validation loss <= 1.344':44} {'seconds':>9} {'epochs':>9} {'loss':>9}")
    _, test = load_sets("horse", None, None, torch.device("cpu"), Palette.load())
    recipe = {"batch_size": 50, "learn_rate": 0.01, "schedule": "onecycle", "augment": ("hflip", "hshift", "vshift")}
    for name, grey_start, epochs in ("--grey_start, as shipped", True, 60), ("random start, 6 epochs", False, 6):
        torch.manual_seed(0)
        network = UNet(3, 32, 24)
        start = time.perf_counter()
        if grey_start:
            start_from_grey(network, data)
        for state in train(network, data, test, epochs=epochs, **recipe):
            last = state["history"][-1]
            if last["val_loss"] <= 1.344:
                break
        print(f"{name:44} {time.perf_counter() - start:9.1f} {len(state['history']):9} {last['val_loss']:9.4f}",
              flush=True)


def precision(data: Data, bf16: bool, rate: float) -> None:
    """Not a question of speed alone: what the default training comes to in either."""
    print(f"\n{'25 epochs by default':44} {'fp32':>9} {'bf16':>9} {'apart':>9}")
    _, test = load_sets("horse", None, None, torch.device("cpu"), Palette.load())
    for model in NETWORKS:
        losses = []
        for bf16 in False, True:
            torch.manual_seed(0)
            *_, state = train(NETWORKS[model](3, 32, 24), data, test, bf16=bf16)
            losses.append(state["history"][-1]["val_loss"])
        print(f"{f'{model}, validation loss':44} {losses[0]:9.4f} {losses[1]:9.4f} {abs(losses[0] - losses[1]):9.4f}",
              flush=True)


SECTIONS = {job.__name__: job for job in (step, epoch, data, valid, growth, target, precision)}


@command
def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION",
                        help=f"any of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--pictures", type=number(int, 5000), help="only time an epoch of so many pictures")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="of our training")
    args = parser.parse_args(argv)
    device = pick_device(gpu=False)
    if args.pictures:
        return epoch_of_many(args.pictures)
    horses, _ = load_sets("horse", None, None, device, Palette.load())
    bf16 = args.precision == "bf16" or args.precision == "auto" and native_bf16(device)
    rates = {dtype: matrix_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads; matrix products at "
          + ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {str(dtype)[6:]}" for dtype, rate in rates.items())
          + f"; training in {'bfloat16' if bf16 else 'float32'}")
    for name in args.sections or SECTIONS:
        SECTIONS[name](horses, bf16, rates[torch.bfloat16 if bf16 else torch.float32])


if __name__ == "__main__":
    sys.exit(main())
