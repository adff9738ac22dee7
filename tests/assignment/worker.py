"""Runs submissions: each question is answered by a new process that sees nothing but that question.

Started by ``sandbox``. It reads questions, lines of JSON, from standard input and writes answers to
standard output. It has imported torch and never a submission; a fork of it imports the submission,
looks at it by one of the functions of ``OBSERVE``, and says what it saw: nobody here knows what would
be right, so a submission that forges an answer has to work it out first.
"""

import base64
import importlib.util
import inspect
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

BLOCKS = "downconv1", "downconv2", "rfconv", "upconv1", "upconv2", "finalconv"
ROOT = Path(__file__).resolve().parents[2]  # its helpers serve where the submission came without
MAX_FILE = 16 << 20  # bytes that a submission may print, or write into a file


class Wrong(Exception):
    """Something about a submission that no error of Python's says."""


# ------------------------------------------------------------------------------------------------
# What can be seen of a submission


def find(module, name: str):
    if not hasattr(module, name):
        raise Wrong(f"there is no class {name}")
    return getattr(module, name)


def build(module, network: str, sizes: list[int]) -> torch.nn.Module:
    torch.manual_seed(0)
    return find(module, network)(*sizes)


def parameters(module, network, sizes):
    """The shapes of the state dict's entries."""
    return {name: list(value.shape) for name, value in build(module, network, sizes).state_dict().items()}


def shape(module, network, sizes, batch, training):
    """The shape of the output for a batch of 32x32 pictures."""
    with torch.no_grad():
        return list(build(module, network, sizes).train(training)(torch.rand(batch, 1, 32, 32)).shape)


def blocks(module, network, sizes):
    """What goes into each block and comes out of it, the encoder's outputs being changed on their way."""
    model = build(module, network, sizes).eval()
    seen = {}

    def note(name):
        def hook(block, inputs, output):
            if name.startswith("downconv"):
                output = output + torch.rand_like(output)
            seen[name] = {"input": inputs[0].tolist(), "output": output.tolist()}
            return output
        return hook

    for name in BLOCKS:
        getattr(model, name).register_forward_hook(note(name))
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        output = model(x)
    return {"input": x.tolist(), "blocks": seen, "output": output.tolist()}


class Dilations(TorchDispatchMode):
    """Notes the dilation of every operation of the library that has one."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        named = dict(zip((argument.name for argument in operation._schema.arguments), args)) | (kwargs or {})
        self.seen += [[operation.name(), int(gap)] for gap in named.get("dilation", ()) if gap != 1]
        return operation(*args, **kwargs or {})


def middle(module, network, sizes):
    """What the convolution of the block rfconv makes of its input when the whole network runs."""
    model = build(module, network, sizes).eval()
    seen = {}
    conv = model.rfconv[0]
    conv.register_forward_hook(lambda _, inputs, output: seen.update(x=inputs[0].tolist(), output=output.tolist()))
    with Dilations() as dilations, torch.no_grad():
        model(torch.rand(2, 1, 32, 32))
    return {**seen, "weight": conv.weight.tolist(), "bias": conv.bias.tolist(), "dilations": dilations.seen}


def make_convolution(module, name, block, in_channels, out_channels, kernel, dilation):
    """The class of that name, or else that of a network's block, whatever it may be called."""
    if hasattr(module, name):
        convolution = getattr(module, name)
    else:
        conv = build(module, block[0], [3, 2, 3]).get_submodule(block[1])
        convolution = type(conv)
    sizes = in_channels, out_channels, kernel
    if dilation is None:
        return convolution(*sizes)
    keyword = "dilation" in inspect.signature(convolution).parameters
    return convolution(*sizes, dilation=dilation) if keyword else convolution(*sizes, dilation)


def convolution(module, name, block, x, weight, bias, cotangent, dilation=None):
    """The output of a convolution with that weight and bias, and the gradients of ``(output * cotangent).sum()``."""
    weight, x = torch.tensor(weight), torch.tensor(x, requires_grad=True)
    conv = make_convolution(module, name, block, weight.shape[1], weight.shape[0], weight.shape[2], dilation)
    conv.load_state_dict({"weight": weight, "bias": torch.tensor(bias)}, strict=False)
    with Dilations() as dilations:
        output = conv(x)
    seen = {"output": output.tolist(), "dilations": dilations.seen}
    if output.requires_grad and output.shape == torch.Size(np.shape(cotangent)):
        (output * torch.tensor(cotangent)).sum().backward()
        for key, value in {"x": x, "weight": conv.weight, "bias": conv.bias}.items():
            seen[key] = None if value.grad is None else value.grad.tolist()
    return seen


def unpacked(data: str, dtype: str, dims: list[int]) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(data), dtype).reshape(dims).copy())


def training(module, network, sizes, steps, rate, grey, labels):
    """The loss at each step of descent by the signs of the gradient, and the filters that stay as they were."""
    model = build(module, network, sizes).train()
    grey, labels = unpacked(**grey).float() / 768, unpacked(**labels).long()
    start = {name: value.detach().clone() for name, value in model.named_parameters() if value.dim() == 4}
    losses = []
    for _ in range(steps):
        model.zero_grad()
        loss = F.cross_entropy(model(grey), labels)
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for value in model.parameters():
                if value.grad is not None:
                    value -= rate * value.grad.sign()
    still = [name for name, value in model.named_parameters() if name in start and torch.equal(value, start[name])]
    return {"losses": losses, "still": still}


def predictions(module, network, sizes, weights, grey):
    """The colours that a network with the weights of that file gives to the pixels, as bytes."""
    model = build(module, network, sizes)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    grey = unpacked(**grey).float() / 768
    with torch.no_grad():
        labels = torch.cat([model.eval()(part).argmax(dim=1) for part in grey.split(100)])
    return base64.b64encode(labels.byte().numpy().tobytes()).decode()


OBSERVE = {"parameters": parameters, "shape": shape, "blocks": blocks,
           "middle": middle, "convolution": convolution, "training": training, "predictions": predictions}


# ------------------------------------------------------------------------------------------------
# One question, one process


def load(path: str):
    """Import a submission as the module ``colourization``, for its helpers may ask for that one."""
    sys.path[:0] = [str(Path(path).parent), str(ROOT)]
    sys.argv = [path]
    loader = SourceFileLoader("colourization", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def explain(error: BaseException, path: str) -> str:
    """An error in one line, with the line of the submission that it came from."""
    if isinstance(error, Wrong):
        return str(error)
    if isinstance(error, SyntaxError) and error.filename == path:
        line, code, message = error.lineno, error.text or "", error.msg
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line, code = (frames[-1].lineno, frames[-1].line) if frames else (None, "")
        message = str(error)
    place = f"line {line}, `{code.strip()}`: " if line else ""
    return f"{place}{type(error).__name__}: {message}"


def own_data() -> int:
    """Bytes of data that this process has, which are many where torch was built for a GPU; 0 if unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    except OSError:
        return 0


def answer(submission, what, cases, megabytes, folder, output, result):
    """In the forked process: close every way out but ``result``, look, and end."""
    os.chdir(folder)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor in 1, 2:
        os.dup2(output.fileno(), descriptor)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not RLIMIT_AS: torch reserves far more addresses than it ever uses.
    data = own_data() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    try:
        module = load(submission)
        reply = {"saw": [OBSERVE[what](module, **case) for case in cases]}
    except BaseException as error:
        reply = {"error": explain(error, submission)}
    for stream in sys.stdout, sys.stderr:
        with suppress(Exception):
            stream.flush()
    result.write(json.dumps(reply).encode())
    result.flush()


def ask(submission, what, cases, seconds, megabytes):
    """Have a question answered in a process of its own, and end that and all it started."""
    with (tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, tempfile.TemporaryFile() as output,
          tempfile.TemporaryFile() as result):
        pid = os.fork()
        if not pid:
            try:
                os.setsid()
                answer(submission, what, cases, megabytes, folder, output, result)
            finally:
                os._exit(0)
        print(pid, flush=True)  # should this process be ended, its child can be, too
        end = time.monotonic() + seconds
        while not (ended := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.005)
        late = not ended[0]
        if late:
            os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):  # nobody is left of its group
            os.killpg(pid, signal.SIGKILL)
        if late:
            os.waitpid(pid, 0)
        result.seek(0)
        output.seek(max(0, output.seek(0, os.SEEK_END) - 2000))
        return {"result": result.read(MAX_FILE).decode(errors="replace"), "late": late,
                "status": os.waitstatus_to_exitcode(ended[1]), "output": output.read().decode(errors="replace")}


def main() -> None:
    torch.set_num_threads(1)
    with Dilations():  # its first use imports much: once here, not in every process
        torch.zeros(1)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(ask(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
