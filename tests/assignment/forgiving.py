"""Lets a submission go on after some mistakes that would end it, and notes them: each costs its own points alone.

``begin`` puts these in the place of PyTorch's own, in the process of a submission, before it is imported: modules whose
``__init__`` forgets that of ``nn.Module``, ``torch.cat`` of pictures that do not fit, and blocks that are misspelt.
"""

import difflib
import functools

import torch
from torch import nn

from .loading import size

cat, initialise, attribute = torch.cat, nn.Module.__init__, nn.Module.__getattr__
FORGOTTEN = "super().__init__() is not called"  # an attribute of modules that forget it


def begin() -> None:
    nn.Module.__new__, nn.Module.__init__, nn.Module.__getattr__ = _made, _initialised, _meant
    torch.cat = torch.concat = torch.concatenate = _joined


def forgets(module: nn.Module) -> bool:
    """Tell whether the ``__init__`` of a module calls that of ``nn.Module`` too late, or never."""
    return FORGOTTEN in vars(module)


class Run:
    """While a network runs, joins of torch.cat that fail are noted in ``failed``, and misspelt blocks in ``misspelt``.

    ``called`` are the blocks called so far: another one is meant, if the run is ``lenient``.
    """

    now = None  # of a network that runs

    def __init__(self, model: nn.Module, called: list[str]):
        self.model, self.called, self.failed, self.misspelt, self.lenient = model, called, "", {}, False

    def __enter__(self):
        Run.now = self

    def __exit__(self, *_):
        Run.now = None


def fitted(x: torch.Tensor, shape: tuple) -> torch.Tensor:
    """Cut or pad pictures to another number of them, of channels, and of pixels."""
    if x.shape[2:] != shape[2:]:
        x = nn.functional.interpolate(x, shape[2:])
    return nn.functional.pad(x, (0, 0, 0, 0, 0, shape[1] - x.shape[1], 0, shape[0] - x.shape[0]))


def flat(values) -> list[torch.Tensor]:
    """Return the tensors among values, and in the lists among them."""
    return [value for value in values if torch.is_tensor(value)] + [
        one for value in values if isinstance(value, list | tuple) for one in flat(value)]


def _made(kind, *_, **__):
    module = object.__new__(kind)
    initialise(module)
    vars(module)[FORGOTTEN] = True
    return module


def _initialised(module, *args, **kwargs):
    if not vars(module).get("_modules") and not vars(module).get("_parameters"):  # else it comes too late
        initialise(module, *args, **kwargs)
        vars(module).pop(FORGOTTEN, None)


def _meant(module, name):
    try:
        return attribute(module, name)
    except AttributeError:
        run = Run.now
        if run is None or module is not run.model or not run.lenient:
            raise
        meant = difflib.get_close_matches(name, module._modules.keys() - set(run.called), n=1, cutoff=0.7)
        if not meant:
            raise
        run.misspelt[name] = meant[0]
        return attribute(module, meant[0])


@functools.wraps(cat)
def _joined(*args, **kwargs):
    try:
        return cat(*args, **kwargs)
    except (RuntimeError, TypeError) as error:
        parts, fault = args[0] if args else kwargs.get("tensors"), "which torch.cat cannot join"
        if isinstance(error, TypeError):
            parts, fault = flat([*args, *kwargs.values()]), "not given as torch.cat([a, b], dim=1)"
        if Run.now is None or not parts or any(part.dim() != 4 for part in parts):
            raise
        Run.now.failed = f"sees {' and '.join(size(part.shape) for part in parts)}, {fault}"
        n, _, *side = parts[0].shape
        return cat([fitted(part, (n, part.shape[1], *side)) for part in parts], dim=1)
