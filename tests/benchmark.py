"""How fast, against a plain baseline in the same run; on a machine that does nothing else meanwhile.

    python tests/benchmark.py            # all, some 15 minutes on two cores
    python tests/benchmark.py step data  # some sections

The baseline is the loop of a straightforward solution: library convolutions, all pictures as float64, a
slice of them converted at each step, unfused Adam, colours by brute force. It has a process of its own, which
none of our settings reaches. Every ratio is the median of pairs that are timed in turns, with the least and the
greatest in brackets.
"""

import functools
import math
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from colour.cli import Parser, command, number  # noqa: E402
from colour.devices import has_fast_bf16, pick_device  # noqa: E402
from colour.palette import Palette  # noqa: E402
from colourization import CNN, Data, DilatedUNet, UNet, load_sets, start_from_grey, train  # noqa: E402
from load_data import load_horses  # noqa: E402

REPEATS = 5
DEFAULT_THREADS = torch.get_num_threads()
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


def plain_data(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB as float64, grey, and each pixel's colour, found by the distances to all, 100 pictures at a time."""
    rgb = images / 256.0
    centres = Palette.load().centres[:, :, None, None]
    labels = [np.linalg.norm(rgb[start:start + 100, None] - centres, axis=2).argmin(axis=1)
              for start in range(0, len(rgb), 100)]
    return rgb, rgb.mean(axis=1, keepdims=True), np.concatenate(labels)


@functools.cache
def plain_horses(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return plain_data(load_horses()[0][:count])


def plain_load() -> None:
    for images in load_horses():
        plain_data(images)


@functools.cache
def plain_training(model: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = Plain(model)
    return network, torch.optim.Adam(network.parameters(), lr=0.001, foreach=False)


def plain_loss(network: nn.Module, grey: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of some pictures, (N, H, W, K), and their loss."""
    logits = network(torch.from_numpy(grey).float()).transpose(1, 3).transpose(1, 2).contiguous()
    return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), torch.from_numpy(labels).long().view(-1))


def plain_epoch(model: str, count: int, batch: int, threads: int | None = None) -> None:
    """One time through the first ``count`` horses, going on with what was learnt."""
    torch.set_num_threads(threads or DEFAULT_THREADS)
    network, optimizer = plain_training(model)
    _, grey, labels = plain_horses(count)
    order = np.random.permutation(count)
    network.train()
    for start in range(0, count, batch):
        index = order[start:start + batch]
        _, loss = plain_loss(network, grey[index], labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def plain_valid(network: nn.Module, rgb: np.ndarray, grey: np.ndarray, labels: np.ndarray) -> float:
    """The mean loss on some pictures."""
    network.eval()
    with torch.no_grad():
        return np.mean([plain_loss(network, grey[start:start + 100], labels[start:start + 100])[1].item()
                        for start in range(0, len(grey), 100)])


def plain_program(picture: str) -> None:
    """What --valid does: load both sets, score a network on the second, draw its first ten horses."""
    from matplotlib import pyplot

    _, (rgb, grey, labels) = map(plain_data, load_horses())
    network = Plain("UNet")
    print(plain_valid(network, rgb, grey, labels))
    logits, _ = plain_loss(network, grey[:10], labels[:10])
    colours = Palette.load().centres[logits.argmax(dim=3).numpy()].transpose(0, 3, 1, 2)
    rows = [np.concatenate(row[:10].transpose(0, 2, 3, 1), axis=1) for row in (grey.repeat(3, axis=1), rgb, colours)]
    pyplot.imshow(np.concatenate(rows))
    pyplot.savefig(picture)


def plain_target(loss: float) -> tuple[float, int, float]:
    """Train at a batch of 10 until the validation loss is at most ``loss``: seconds, epochs, and what it is then."""
    torch.manual_seed(0)
    plain_training.cache_clear()
    network, _ = plain_training("UNet")
    plain_horses(5000)
    test = plain_data(load_horses()[1])
    start, epochs, reached = time.perf_counter(), 0, math.inf
    while reached > loss and epochs < 30:
        plain_epoch("UNet", 5000, 10)
        reached = plain_valid(network, *test)
        epochs += 1
    return time.perf_counter() - start, epochs, reached


# ------------------------------------------------------------------------------------------------
# Timing


def seconds(job: Callable) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


class Bench:
    """What the sections need: the horses, the precision of our training, and the process of the baseline."""

    def __init__(self, precision: str, baseline: ProcessPoolExecutor):
        self.baseline = baseline
        self.device = pick_device(gpu=False)
        self.palette = Palette.load()
        self.horses, self.test = load_sets("horse", None, None, self.device, self.palette)
        self.bf16 = precision == "bf16" or precision == "auto" and has_fast_bf16(self.device)
        self.rates = {dtype: matrix_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
        self.rate = self.rates[torch.bfloat16 if self.bf16 else torch.float32]

    def plain(self, job: Callable, *arguments) -> Callable:
        """The baseline's ``job``, to be called here and done there."""
        return lambda: self.baseline.submit(job, *arguments).result()

    def ours(self, model: str, count: int, batch: int, network: nn.Module | None = None) -> Callable:
        """One epoch of ``train`` as it is on the first ``count`` horses; validation is on a single picture."""
        network = NETWORKS[model](3, 32, 24) if network is None else network
        some, one = (Data(self.horses.images[:n], self.horses.labels[:n]) for n in (count, 1))
        return lambda: next(train(network, some, one, epochs=1, batch_size=batch, bf16=self.bf16))


def pairs(plain: Callable, ours: Callable, repeats: int = REPEATS, steps: int = 1) -> list[tuple[float, float]]:
    """Seconds a step of both in turns, after one of each that does not count."""
    plain(), ours()
    return [(seconds(plain) / steps, seconds(ours) / steps) for _ in range(repeats)]


def row(what: str, times: list[tuple[float, float]], unit: float = 1000, name: str = "ms", note: str = "") -> None:
    plain, ours = map(statistics.median, zip(*times))
    ratios = [one / other for one, other in times]
    print(f"{what:44} {unit * plain:9.1f} {unit * ours:9.1f} {name:3}"
          f"{statistics.median(ratios):7.2f}x  ({min(ratios):.2f}-{max(ratios):.2f}) {note}", flush=True)


def section(title: str, plain: str = "plain", ours: str = "ours", ratio: str = "faster by") -> None:
    print(f"\n{title:44} {plain:>9} {ours:>9} {'':3}{ratio:>8}", flush=True)


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


# ------------------------------------------------------------------------------------------------
# Sections


def step(bench: Bench) -> None:
    """A step is timed as an epoch of some, with all that the loop does beside it."""
    section(f"a training step, {torch.get_num_threads()} threads")
    for batch, count in (100, 2000), (10, 1000):
        for model in NETWORKS:
            times = pairs(bench.plain(plain_epoch, model, count, batch), bench.ours(model, count, batch),
                          steps=count // batch)
            ours = statistics.median(ours for _, ours in times)
            share = flop_of_a_step(NETWORKS[model](3, 32, 24)) * batch / ours / bench.rate
            row(f"{model}, batch {batch}", times, note=f"{share:.0%} of the matrix rate")
    row("UNet, batch 100, plain with 5 threads",
        pairs(bench.plain(plain_epoch, "UNet", 2000, 100, 5), bench.ours("UNet", 2000, 100), steps=20))

    section("dilating the filter, or the library's dilation", "own", "library's", "takes")
    network = DilatedUNet(3, 32, 24)
    network.rfconv[0] = nn.Conv2d(64, 64, 3, padding=2, dilation=2)
    row("DUNet, batch 100",
        pairs(bench.ours("DUNet", 1000, 100), bench.ours("DUNet", 1000, 100, network), 4 * REPEATS, steps=10))


def epoch(bench: Bench) -> None:
    section("an epoch of 5,000 horses")
    for batch in 100, 10:
        row(f"UNet, batch {batch}",
            pairs(bench.plain(plain_epoch, "UNet", 5000, batch), bench.ours("UNet", 5000, batch), 3), 1, "s")


def data(bench: Bench) -> None:
    section("data")
    row("load and quantise 6,000 horses",
        pairs(bench.plain(plain_load), lambda: load_sets("horse", None, None, bench.device, bench.palette)), 1, "s")


def valid(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as folder:
        commands = {"import torch": ("-c", "import torch"),
                    "plain": (__file__, "--plain_valid", f"{folder}/plain.png"),
                    "ours": ("colourization.py", "--checkpoint", "weights/unet_k3_f32.pkl", "--valid",
                             "--outdir", folder)}
        runs = {name: [] for name in commands}
        for _ in range(REPEATS + 1):
            for name, words in commands.items():
                runs[name].append(run_cold(*words)[:2])
    walls, peaks = ({name: [run[column] for run in runs[name][1:]] for name in runs} for column in (0, 1))
    beyond = [[wall - bare for wall, bare in zip(walls[name], walls["import torch"])] for name in ("plain", "ours")]
    section("scoring (--valid), from cold start to exit")
    row("wall time", list(zip(walls["plain"], walls["ours"])), 1, "s")
    row("the same beyond 'import torch'", list(zip(*beyond)), 1, "s")
    row("peak memory", list(zip(peaks["plain"], peaks["ours"])), 1, "MB")


def growth(bench: Bench) -> None:
    print(f"\n{'UNet, how a step grows with the batch':44} {'ms':>9} {'us/picture':>11}")
    for batch in 10, 30, 100, 300, 1000:
        steps = max(2, 1000 // batch)
        job = bench.ours("UNet", steps * batch, batch)
        job()
        took = statistics.median(seconds(job) for _ in range(3)) / steps
        print(f"{f'batch {batch}':44} {1e3 * took:9.1f} {1e6 * took / batch:11.0f}", flush=True)
    print(f"\n{'UNet, how an epoch grows with the pictures':44} {'s':>9} {'us/picture':>11} {'peak MB':>9}")
    for pictures in 5_000, 50_000:  # as many as all ten categories, made of copies; each in its own process
        _, peak, out = run_cold(__file__, "--pictures", str(pictures), "--precision", "bf16" if bench.bf16 else "fp32")
        took = float(out)
        print(f"{f'{pictures:,} pictures':44} {took:9.1f} {1e6 * took / pictures:11.0f} {peak:9.0f}", flush=True)


def epoch_of_many(pictures: int, bf16: bool) -> None:
    x_train, x_test = load_horses()
    images = np.concatenate([x_train] * (pictures // len(x_train)))
    palette = Palette.load()
    many, valid = (Data(torch.from_numpy(x), torch.from_numpy(palette.labels(x))) for x in (images, x_test))
    print(seconds(lambda: next(train(UNet(3, 32, 24), many, valid, epochs=1, bf16=bf16))))


def target(bench: Bench, loss: float = 1.344) -> None:
    """The handout's best UNet has this validation loss."""
    def line(name: str, took: float, epochs: int, reached: float) -> None:
        print(f"{name:44} {took:9.1f} {epochs:9} {reached:9.4f}", flush=True)

    print(f"\n{f'training until the validation loss <= {loss}':44} {'seconds':>9} {'epochs':>9} {'loss':>9}")
    line("plain, batch 10", *bench.plain(plain_target, loss)())
    recipe = {"batch_size": 50, "learn_rate": 0.01, "schedule": "onecycle", "augment": ("hflip", "hshift", "vshift")}
    for name, grey_start, epochs in ("ours, from random weights, 6 epochs", False, 6), ("ours, as shipped", True, 60):
        torch.manual_seed(0)
        network = UNet(3, 32, 24)
        start = time.perf_counter()
        if grey_start:
            start_from_grey(network, bench.horses)
        for state in train(network, bench.horses, bench.test, epochs=epochs, bf16=bench.bf16 and not grey_start,
                           **recipe):
            last = state["history"][-1]
            if last["val_loss"] <= loss:
                break
        line(name, time.perf_counter() - start, len(state["history"]), last["val_loss"])


def precision(bench: Bench) -> None:
    """Not a question of speed alone: what the default training comes to in either."""
    print(f"\n{'25 epochs by default':44} {'fp32':>9} {'bf16':>9} {'apart':>9}")
    for model in NETWORKS:
        losses = []
        for bf16 in False, True:
            torch.manual_seed(0)
            *_, state = train(NETWORKS[model](3, 32, 24), bench.horses, bench.test, bf16=bf16)
            losses.append(state["history"][-1]["val_loss"])
        print(f"{f'{model}, validation loss':44} {losses[0]:9.4f} {losses[1]:9.4f} {abs(losses[0] - losses[1]):9.4f}",
              flush=True)


SECTIONS = {job.__name__: job for job in (step, epoch, data, valid, growth, target, precision)}


@command
def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION",
                        help=f"any of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="of our training")
    parser.add_argument("--pictures", type=number(int, 5000), help="only time an epoch of so many pictures")
    parser.add_argument("--plain_valid", metavar="PICTURE", help="only score and draw as the baseline does")
    args = parser.parse_args(argv)
    if args.plain_valid:
        return plain_program(args.plain_valid)
    if args.pictures:
        pick_device(gpu=False)
        return epoch_of_many(args.pictures, bf16=args.precision == "bf16")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as baseline:
        bench = Bench(args.precision, baseline)
        print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads; matrix products at "
              + ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {str(dtype)[6:]}" for dtype, rate in bench.rates.items())
              + f"; training in {'bfloat16' if bench.bf16 else 'float32'}")
        for name in args.sections or SECTIONS:
            SECTIONS[name](bench)


if __name__ == "__main__":
    sys.exit(main())
