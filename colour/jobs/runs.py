"""Run one training on disk: lock it, start or resume it, save it, stop it.

``train_and_save`` runs ``training.train`` with a line and a checkpoint after every epoch.
"""

import argparse
import glob
import math
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from colour.data.datasets import choose
from colour.jobs import checkpoints
from colour.jobs.flags import recipe_of, sizes_of
from colour.jobs.results import draw_strip
from colour.learning.networks import Architecture
from colour.learning.optimizers import SCHEDULES
from colour.learning.pictures import PictureSet, load_sets
from colour.learning.task import Task
from colour.learning.training import Recipe, example_state, train
from colour.system import torchrun
from colour.system.cli import UserError, folder_for, out_of_memory, progress
from colour.system.devices import use_threads
from colour.system.files import display_path, locked, sha256

HOW_TO_RESUME = "the same command with --resume goes on"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


def command_line(script: str, argv: list[str] | None) -> str:
    """Return the command that a sidecar records."""
    return shlex.join(["python", Path(script).name, *(sys.argv[1:] if argv is None else argv)])


@dataclass(frozen=True)
class Run:
    """What a training learns from, where it saves, and how it begins."""

    architecture: Architecture
    category: str  # what the pictures are called
    pictures_sha256: str  # what identifies them
    checkpoint: Path
    outdir: Path
    command: str
    holdout: int | None = None
    init_sha256: str | None = None  # of the weights that it starts from
    resume: bool = False
    overwrite: bool = False
    plot: bool = False

    @property
    def name(self) -> str:
        return checkpoints.name_of(self.checkpoint)

    def identity(self, recipe: Recipe, task: Task) -> dict:
        """Return all that decides the result: the sidecar records it, and ``--resume`` compares it."""
        identity = {**self.architecture._asdict(), "category": self.category,
                    "pictures_sha256": self.pictures_sha256, "holdout": self.holdout,
                    "init": self.init_sha256, "palette_sha256": task.palette and task.palette.sha256(),
                    **asdict(recipe)}
        epochs = identity.pop("epochs")
        if SCHEDULES[recipe.schedule].needs_epochs:  # otherwise they may be raised later
            identity["epochs"] = epochs
        return identity


def train_from_flags(args: argparse.Namespace, init: checkpoints.Weights | None, networks: dict, task: Task,
                     device: torch.device, command: str) -> None:
    """Run the training that the flags of either script describe; it starts from ``init``, or from random weights."""
    os.environ.setdefault("USERNAME", "user")  # PyTorch 2.12 asks for a name, and a container's user may have none
    train_set, valid_set = load_sets(args.category, args.data, args.holdout, device, task)
    network, architecture = checkpoints.start_network(networks, task, init, args.seed, **sizes_of(args))
    run = Run(architecture, choose(args.category, args.data).name, train_set.sha256(),
              Path(args.checkpoint or checkpoints.new_weights(architecture)), Path(args.outdir), command,
              holdout=args.holdout, init_sha256=init and sha256(init.path), resume=args.resume,
              overwrite=args.overwrite, plot=args.plot)
    train_and_save(network, train_set, valid_set, recipe_of(args), task, run)


def train_and_save(network: nn.Module, train_set: PictureSet, valid_set: PictureSet, recipe: Recipe, task: Task,
                   run: Run) -> None:
    """Train ``network`` with a line and a checkpoint after every epoch, and draw a curve at the end.

    Raises ``UserError`` before any work if the checkpoint exists and ``run`` neither resumes nor overwrites it, if
    the training to resume was another one, or if a folder cannot be written to.
    """
    chief = torchrun.rank() == 0  # of several processes, the one that prints and writes
    with ExitStack() as cleanup:
        cleanup.enter_context(torchrun.processes(train_set.images.device))
        torchrun.from_rank_zero(lambda: cleanup.enter_context(training_lock(run.checkpoint)))
        state, recipe = torchrun.from_rank_zero(lambda: begin(network, recipe, task, run, train_set))
        # Several processes would have to agree on where to stop: so they stop at once and lose the unfinished epoch.
        stop = (lambda: 0) if torchrun.launched() else cleanup.enter_context(requests_to_stop())
        history = state["history"] if state else []
        if chief:
            announce(network, train_set, len(history), recipe, run)
        try:
            bar = partial(progress, desc="epoch", unit="batch", disable=None if chief else True)
            training = train(network, train_set, valid_set, recipe, task, state, stop, bar)
            for state in training:
                history = state["history"]
                if chief:
                    save(state, recipe, task, run)
                    if not state["done"]:  # else it is interrupted
                        report_epoch(history, recipe, task)
                        if run.plot:
                            draw_epoch(network, train_set, valid_set, task, run, len(history))
        except (KeyboardInterrupt, FloatingPointError, RuntimeError) as error:
            if explanation := explained(error, state, recipe, run):
                raise explanation from error
            raise
    if stop():
        where = f"in epoch {len(history) + 1}" if state["done"] else f"after epoch {len(history)}"
        raise KeyboardInterrupt(f"interrupted {where}, and saved: {HOW_TO_RESUME}", stop())
    if chief:
        draw_curve(history, task, run)


def begin(network: nn.Module, recipe: Recipe, task: Task, run: Run,
          train_set: PictureSet) -> tuple[dict | None, Recipe]:
    """Return the state to go on from, None for a new training, and the recipe with its precision decided."""
    if run.resume and run.overwrite:
        raise UserError("--resume goes on with a training, --overwrite replaces it: give one of them")
    if run.init_sha256 in [sha256(file) for file in checkpoints.files_of(run.checkpoint) if file.is_file()]:
        raise UserError("--init and --checkpoint are the same weights, which the training would replace: give another "
                        "--checkpoint")
    state = checkpoints.load_state(run.checkpoint) if run.resume else None
    if state is None:
        may_begin(run.checkpoint, run.overwrite)
        if run.resume:
            print(f"there is nothing to resume at {run.checkpoint}: this starts", file=sys.stderr)
        return None, recipe.decided(train_set.images.device)
    use_threads(state["run"].get("threads"))
    if recipe.precision == "auto":  # another machine might choose otherwise
        recipe = replace(recipe, precision=state["run"].get("precision", "fp32"))
    check_same(state["run"], run.identity(recipe, task), run.checkpoint)
    epochs = recipe.epochs if SCHEDULES[recipe.schedule].needs_epochs else None
    checkpoints.check_state(run.checkpoint, state, example_state(network, recipe), epochs,
                            steps=math.ceil(len(train_set) / recipe.batch_size))
    return state, recipe


def may_begin(checkpoint: Path, overwrite: bool) -> None:
    """Raise ``UserError`` if a file that the training would write exists, unless ``overwrite`` allows replacing it."""
    files = checkpoints.files_of(checkpoint)
    existing = [file.name for file in files if file.exists()]
    if existing and not overwrite:
        ways = ["--valid to score it"] if checkpoint.exists() else []
        ways += ["--resume to go on training it"] if checkpoints.state_path(checkpoint).exists() else []
        ways += ["another --checkpoint", "or --overwrite to replace it"]
        raise UserError(f"{checkpoint.with_name(existing[0])} exists: give {', '.join(ways)}")


def check_same(before: dict, now: dict, checkpoint: Path) -> None:
    """Raise ``UserError``, which names the flag, if the training to resume was another one.

    A hyperparameter that is newer than the training had its default. Pictures count, not the name of their folder.
    """
    if before.get("grey_start"):
        raise UserError(f"--resume: the training of {checkpoint} began with --grey_start, which this version no longer "
                        "has: train again with --overwrite")
    defaults = {**asdict(Recipe()), **{name: now[name] for name in ("num_outputs", "precision", "pictures_sha256")}}
    for name, value in now.items():
        value_before = before.get(name, defaults.get(name))
        if value_before != value and not (name == "category" and "pictures_sha256" in before):
            flag = {"palette_sha256": "--colours", "category": "--category and --data",
                    "pictures_sha256": "--category and --data"}.get(name, f"--{name}")
            raise UserError(f"--resume: the training of {checkpoint} had {name} {value_before!r:.80}, not {value!r}: "
                            f"give {flag} as then, or start again with --overwrite")


def save(state: dict, recipe: Recipe, task: Task, run: Run) -> None:
    """Save weights before state: if the run is killed in between, resuming repeats the epoch."""
    identity, history = {**run.identity(recipe, task), "threads": torch.get_num_threads()}, state["history"]
    if not state["done"]:
        last = history[-1]
        validation = {name.removeprefix("val_"): last[name] for name in last if name.startswith("val_")}
        checkpoints.save(run.checkpoint, state["model"], {
            **identity, "palette": task.palette and task.palette.name, "command": run.command,
            "epochs": len(history), "validation": validation, "history": history})
    checkpoints.save_state(run.checkpoint, {**state, "run": identity})


def announce(network: nn.Module, train_set: PictureSet, done: int, recipe: Recipe, run: Run) -> None:
    """Say on standard error what begins after ``done`` epochs, or that nothing does."""
    if done >= recipe.epochs:
        fixed = SCHEDULES[recipe.schedule].needs_epochs
        remedy = "start from its weights with --init, as its schedule ends there" if fixed else "raise --epochs"
        print(f"{run.checkpoint} has been trained up to epoch {done}: to train longer, {remedy}", file=sys.stderr)
        return
    parameters = sum(parameter.numel() for parameter in network.parameters())
    steps = math.ceil(len(train_set) / recipe.batch_size)
    print(f"training a {run.architecture.model} of {parameters:,} parameters on {len(train_set):,} pictures: "
          f"epochs {done + 1} to {recipe.epochs}, {steps} batches each; it saves to {display_path(run.checkpoint)}",
          file=sys.stderr)


def report_epoch(history: list[dict], recipe: Recipe, task: Task) -> None:
    from tqdm import tqdm

    record, digits = history[-1], task.digits
    accuracy = f", Val Acc: {record['val_acc']:.1%}" if "val_acc" in record else ""
    left = record["seconds"] * (recipe.epochs - len(history))
    print(f"Epoch [{len(history)}/{recipe.epochs}], Loss: {record['loss']:.{digits}f}, "
          f"Val Loss: {record['val_loss']:.{digits}f}{accuracy}, {record['seconds']:.1f} s"
          + (f", {tqdm.format_interval(left)} left" if left else ""), flush=True)


def draw_epoch(network: nn.Module, train_set: PictureSet, valid_set: PictureSet, task: Task, run: Run,
               epoch: int) -> None:
    for kind, pictures in ("train", train_set), ("valid", valid_set):
        path = run.outdir / f"{run.name}_{kind}_{epoch:03}.png"
        draw_strip(network, task, path, pictures, f"{run.name}, epoch {epoch}")


def draw_curve(history: list[dict], task: Task, run: Run) -> None:
    from colour.jobs import plots

    curve = run.outdir / f"training_curve_{run.name}.png"
    valid_set = "the test pictures" if run.holdout is None else f"{run.holdout} training pictures"
    plots.training_curve(curve, history, task.loss_name, f"{run.name}, validated on {valid_set}")
    print(f"weights in {display_path(run.checkpoint)}, training curve in {display_path(curve)}")


def explained(error: BaseException, state: dict | None, recipe: Recipe, run: Run) -> BaseException | None:
    """Return what to raise instead of an error in training: it says what is kept and how to go on. None for a bug.

    ``state`` is what was saved last, if anything was.
    """
    kept, remedy = "nothing was saved", "give the same command again"
    if state:
        epochs, remedy = len(state["history"]), HOW_TO_RESUME
        kept = f"{run.checkpoint} holds the weights of epoch {epochs}" if epochs else "the batches before are saved"
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt(f"interrupted, {kept}: {remedy}", signal.SIGINT)
    if isinstance(error, FloatingPointError):
        return UserError(f"{error}; {kept}: train with a smaller --learn_rate than {recipe.learn_rate:g}, "
                         "or --precision fp32")
    if torchrun.launched() and not out_of_memory(error):
        return UserError(f"a process of this training failed or was lost; {kept}: {remedy} ({error})")
    return None


@contextmanager
def training_lock(checkpoint: str | Path) -> Iterator[None]:
    """Keep other runs from training to ``checkpoint``, and remove what a killed run left half-written.

    Raises ``UserError`` if another run trains to it, or if no file can be written there.
    """
    checkpoint = Path(checkpoint)
    if checkpoint.is_dir():
        raise UserError(f"--checkpoint {checkpoint} is a folder: name a file in it")
    folder_for(checkpoint.parent, "--checkpoint")
    state = checkpoints.state_path(checkpoint.resolve())  # which two links have in common, and x with x.pkl
    with locked(state.with_name(f".{state.name}.lock")) as free:
        if not free:
            raise UserError(f"another run is training to {checkpoint}: wait for it, or give another --checkpoint")
        for target in map(Path.resolve, checkpoints.files_of(checkpoint)):
            for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
                leftover.unlink()
        yield


@contextmanager
def requests_to_stop() -> Iterator[Callable[[], int]]:
    """Turn the first of ``SIGNALS`` into a request: the yielded function returns the signal's number, 0 before.

    The second signal acts as usual. A signal that is ignored (in the background, under ``nohup``) stays ignored.
    Only the main thread gets signals.
    """
    caught = []
    before = {number: signal.getsignal(number) for number in SIGNALS
              if threading.current_thread() is threading.main_thread()
              and signal.getsignal(number) not in (signal.SIG_IGN, None)}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number, frame):
        caught.append(number)
        restore()
        with suppress(OSError):  # standard error is full
            os.write(2, b"stopping after this batch (Ctrl-C again: at once)\n")  # print() may be what was interrupted

    for number in before:
        signal.signal(number, handle)
    try:
        yield lambda: caught[0] if caught else 0
    finally:
        restore()
