"""How fast training and scoring are, against a plain baseline in the same run.

    python -m tests.benchmark            # everything, an hour on two cores
    python -m tests.benchmark step data  # some sections

Run it on a machine that does nothing else. The baseline (``plain_baseline``) has a process of its own, which none of
our settings reaches. Every ratio is the median of pairs that are timed in turns; the least and the greatest are in
brackets.
"""

import math
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from colour.learning.pictures import PictureSet, load_sets
from colour.learning.task import Classification
from colour.learning.training import Recipe, train
from colour.palette import Palette
from colour.system.cli import Parser, command, number
from colour.system.devices import pick_device
from colour.system.files import ROOT
from colourization import CNN, DilatedUNet, UNet
from load_data import load_horses
from tests import plain_baseline
from writeup.figures.b_classification import HANDOUT

REPEATS = 5
TASK = Classification(Palette.load())
NETWORKS = {"UNet": UNet, "CNN": CNN, "DUNet": DilatedUNet}


# ------------------------------------------------------------------------------------------------
# Timing


def seconds(job: Callable) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


class Bench:
    """Holds what the sections need: the horses, our recipe, and the process of the baseline."""

    def __init__(self, precision: str, baseline: ProcessPoolExecutor):
        self.baseline = baseline
        self.device = pick_device(gpu=False)
        self.horses, self.test = load_sets("horse", None, None, self.device, TASK)
        self.recipe = Recipe(precision=precision).decided(self.device)
        self.rate = matrix_rate(torch.bfloat16 if self.recipe.precision == "bf16" else torch.float32)

    def plain(self, job: Callable, *arguments) -> Callable:
        """Return a function that runs ``job`` in the process of the baseline."""
        return lambda: self.baseline.submit(job, *arguments).result()

    def ours(self, model: str, count: int, batch: int, network: nn.Module | None = None) -> Callable:
        """Return a function that trains for an epoch on the first ``count`` horses; it validates on one picture."""
        network = NETWORKS[model](3, 32, 24) if network is None else network
        recipe = replace(self.recipe, epochs=1, batch_size=batch)
        return lambda: next(train(network, self.horses[:count], self.horses[:1], recipe, TASK))


def pairs(plain: Callable, ours: Callable, repeats: int = REPEATS, steps: int = 1) -> list[tuple[float, float]]:
    """Return the seconds a step of both, timed in turns, after one of each that does not count."""
    plain(), ours()
    return [(seconds(plain) / steps, seconds(ours) / steps) for _ in range(repeats)]


def row(what: str, times: list[tuple[float, float]], unit: float = 1000, name: str = "ms", note: str = "") -> None:
    plain, ours = map(statistics.median, zip(*times))
    ratios = [one / other for one, other in times]
    spread = f"({min(ratios):.2f}-{max(ratios):.2f}) " if len(ratios) > 1 else ""
    print(f"{what:44} {unit * plain:9.1f} {unit * ours:9.1f} {name:3}"
          f"{statistics.median(ratios):7.2f}x  {spread}{note}", flush=True)


def section(title: str, plain: str = "plain", ours: str = "ours", ratio: str = "faster by") -> None:
    print(f"\n{title:44} {plain:>9} {ours:>9} {'':3}{ratio:>8}", flush=True)


def matrix_rate(dtype: torch.dtype, n: int = 2048) -> float:
    """Return the FLOP/s of the machine's matrix product."""
    a, b = torch.randn(2, n, n).to(dtype)
    a @ b
    return 2 * n**3 / min(seconds(lambda: a @ b) for _ in range(5))


def flop_of_a_step(network: nn.Module) -> int:
    """Count the operations of the convolutions, forward and backward, for one picture."""
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 1, 32, 32)).sum().backward()
    return counter.get_total_flops()


def run_cold(*command: str) -> tuple[float, float, str]:
    """Return the seconds and peak megabytes of a process, from its start to its exit, and what it printed.

    A small process starts it, because the peak of a process counts the memory of its parent at the fork.
    """
    starter = ("import resource, subprocess, sys, time; start = time.perf_counter(); "
               "subprocess.run(sys.argv[1:], check=True); "
               "print('\\n', time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    out = subprocess.run([sys.executable, "-c", starter, sys.executable, *command], cwd=ROOT, check=True,
                         capture_output=True, text=True).stdout
    *printed, wall, peak = out.split()
    return float(wall), megabytes(float(peak)), " ".join(printed)


def megabytes(peak: float) -> float:
    """Convert the peak memory of a process, which Linux counts in kilobytes and macOS in bytes."""
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


# ------------------------------------------------------------------------------------------------
# Sections


def step(bench: Bench) -> None:
    """Time a step as a share of an epoch, with everything that the loop does besides."""
    section(f"a training step, {torch.get_num_threads()} threads")
    for batch, count in (100, 2000), (10, 1000):
        for model in NETWORKS:
            times = pairs(bench.plain(plain_baseline.epoch, model, count, batch), bench.ours(model, count, batch),
                          steps=count // batch)
            ours = statistics.median(ours for _, ours in times)
            share = flop_of_a_step(NETWORKS[model](3, 32, 24)) * batch / ours / bench.rate
            row(f"{model}, batch {batch}", times, note=f"{share:.0%} of the matrix rate")
    row("UNet, batch 100, plain with 5 threads",
        pairs(bench.plain(plain_baseline.epoch, "UNet", 2000, 100, 5), bench.ours("UNet", 2000, 100), steps=20))

    section("dilating the filter, or the library's dilation", "own", "library's", "takes")
    network = DilatedUNet(3, 32, 24)
    network.rfconv[0] = nn.Conv2d(64, 64, 3, padding=2, dilation=2)
    row("DUNet, batch 100",
        pairs(bench.ours("DUNet", 1000, 100), bench.ours("DUNet", 1000, 100, network), 4 * REPEATS, steps=10))


def epoch(bench: Bench) -> None:
    section("an epoch of 5,000 horses")
    for batch in 100, 10:
        row(f"UNet, batch {batch}",
            pairs(bench.plain(plain_baseline.epoch, "UNet", 5000, batch), bench.ours("UNet", 5000, batch), 3), 1, "s")


def data(bench: Bench) -> None:
    section("data")
    row("load and quantise 6,000 horses",
        pairs(bench.plain(plain_baseline.load_both_sets),
              lambda: load_sets("horse", None, None, bench.device, TASK)), 1, "s")


def valid(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as folder:
        commands = {"import torch": ("-c", "import torch"),
                    "plain": ("-m", "tests.plain_baseline", f"{folder}/plain.png"),
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
        _, peak, out = run_cold("-m", "tests.benchmark", "--pictures", str(pictures),
                                "--precision", bench.recipe.precision)
        took = float(out)
        print(f"{f'{pictures:,} pictures':44} {took:9.1f} {1e6 * took / pictures:11.0f} {peak:9.0f}", flush=True)


def epoch_of_many(pictures: int, precision: str) -> None:
    x_train, x_test = load_horses()
    images = np.concatenate([x_train] * (pictures // len(x_train)))
    many, valid_set = (PictureSet(torch.from_numpy(x), TASK.labels(x)) for x in (images, x_test))
    recipe = Recipe(epochs=1, precision=precision)
    print(seconds(lambda: next(train(UNet(3, 32, 24), many, valid_set, recipe, TASK))))


def reach(goal: float, training: Iterator[float]) -> tuple[float, int]:
    """Return the seconds and epochs until a training, which yields the colour after each epoch, has met its goal."""
    start = time.perf_counter()
    for epochs, colour in enumerate(training, 1):
        if colour >= goal:
            return time.perf_counter() - start, epochs
    return math.inf, epochs


def target(bench: Bench) -> None:
    """Time how long it takes to colour as well as the handout's weights.

    The plain loop has the assignment's defaults. Colours are decoded by "mean"; when they are first met is partly
    chance, so that is done with several seeds.
    """
    def plain_training(model: str):
        for _ in range(100):
            bench.plain(plain_baseline.epoch, model, 5000, 100)()
            yield bench.plain(plain_baseline.validate_now, model)()["colour"]

    def our_training(model: str, recipe: Recipe):
        torch.manual_seed(recipe.seed)
        network = NETWORKS[model](3, 32, 24)
        for state in train(network, bench.horses, bench.test, recipe, TASK):
            yield state["history"][-1]["val_colour"]

    recipe = replace(bench.recipe, optimizer="muon", schedule="onecycle")
    cnn = replace(recipe, epochs=4, batch_size=50, learn_rate=0.08)
    unet = replace(recipe, epochs=1, batch_size=20, learn_rate=0.06)
    section("training until it equals the handout's")
    for model, ours, goal in ("CNN", cnn, HANDOUT["cnn_k3_f32"][1]), ("UNet", unet, HANDOUT["unet_k3_f32"][1]):
        plain_runs, our_runs = [], []
        for seed in range(3):
            bench.plain(plain_baseline.start_again, seed)()
            plain_runs.append(reach(goal, plain_training(model)))
            our_runs.append(reach(goal, our_training(model, replace(ours, seed=seed))))
        times = [(plain, us) for (plain, _), (us, _) in zip(plain_runs, our_runs)]
        epochs = ["/".join(str(count) for _, count in runs) for runs in (plain_runs, our_runs)]
        row(f"{model}, colour {goal}", times, 1, "s", note=f"epochs: {epochs[0]}, {epochs[1]}")


def precision(bench: Bench) -> None:
    """Compare what the default training reaches in either precision."""
    print(f"\n{'25 epochs by default':44} {'fp32':>9} {'bf16':>9} {'apart':>9}")
    for model in NETWORKS:
        losses = []
        for one in "fp32", "bf16":
            torch.manual_seed(0)
            network = NETWORKS[model](3, 32, 24)
            *_, state = train(network, bench.horses, bench.test, Recipe(precision=one), TASK)
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
    args = parser.parse_args(argv)
    if args.pictures:
        pick_device(gpu=False)
        return epoch_of_many(args.pictures, args.precision)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as baseline:
        bench = Bench(args.precision, baseline)
        print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads; training in {bench.recipe.precision}, "
              f"matrix products at {bench.rate / 1e9:.0f} GFLOP/s", flush=True)
        for name in args.sections or SECTIONS:
            SECTIONS[name](bench)


if __name__ == "__main__":
    sys.exit(main())
