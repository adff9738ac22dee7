"""Measure and draw everything that the write-up states and shows: see writeup/README.md.

    python -m writeup.figures

At the end the statements of the text that compare numbers are checked. Everything has been written by then; if a
statement no longer holds, the text must be changed, and this ends with an error.
"""

import hashlib
import sys
from collections.abc import Iterator

from colour.learning.pictures import load_sets
from colour.learning.task import Classification
from colour.palette import Palette
from colour.system.cli import Parser, UserError, command
from colour.system.devices import pick_device
from colour.system.files import ROOT, sha256
from writeup.figures import (
    a_regression,
    b_classification,
    c_skip_connections,
    d_dilation,
    e_activations,
    f_augmentation,
)
from writeup.figures.common import GENERATED, WEIGHTS, Horses, Values

QUESTIONS = a_regression, b_classification, c_skip_connections, d_dilation, e_activations, f_augmentation


def statements(values: Values) -> Iterator[tuple[str, bool]]:
    """Yield what the text says beyond single numbers, and whether it holds."""
    for question in QUESTIONS:
        yield from question.statements(values)


def digest() -> str:
    """Return one SHA-256 over all generated files but values.tex, which holds it."""
    total = hashlib.sha256()
    for path in sorted(GENERATED.iterdir()):
        if path.name != "values.tex" and not path.name.startswith("."):
            total.update(f"{path.name} {sha256(path)}\n".encode())
    return total.hexdigest()


@command
def main(argv: list[str] | None = None) -> None:
    Parser(prog="python -m writeup.figures", description=__doc__).parse_args(argv)
    GENERATED.mkdir(exist_ok=True)
    palette = Palette.load()
    horses = Horses(*load_sets("horse", None, None, pick_device(gpu=False), Classification(palette)), palette)
    values = Values()
    for question in QUESTIONS:
        print(question.__doc__.splitlines()[0], flush=True)
        question.make(values, horses)
    for name in WEIGHTS:
        values.put(f"sha256.{name}", sha256(ROOT / "weights" / f"{name}.pkl"))
    values.put("digest", digest())
    values.save()
    print(f"{len(values.texts)} values, tables and pictures in {GENERATED.relative_to(ROOT)}")
    if wrong := [statement for statement, holds in statements(values) if not holds]:
        raise UserError(f"the text says what no longer holds, change it: {'; '.join(wrong)}")


if __name__ == "__main__":
    sys.exit(main())
