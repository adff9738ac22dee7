"""The flags that the scripts share."""

from dataclasses import asdict

import colour_regression
import colourization
from colour.jobs.flags import recipe_of
from colour.learning.training import Recipe

OTHERS = Recipe(epochs=3, batch_size=7, optimizer="muon", learn_rate=0.5, schedule="onecycle", weight_decay=0.25,
                label_smoothing=0.125, augment=("hflip", "vshift"), seed=9, precision="fp32")


def flags_of(recipe: Recipe) -> list[str]:
    values = {**asdict(recipe), "augment": ",".join(recipe.augment)}
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def test_every_hyperparameter_has_its_flag():
    assert all(value != default for value, default in zip(asdict(OTHERS).values(), asdict(Recipe()).values()))
    assert recipe_of(colourization.build_parser().parse_args(flags_of(OTHERS))) == OTHERS


def test_a_hyperparameter_without_a_flag_keeps_its_default():
    assert recipe_of(colour_regression.build_parser().parse_args(["-e", "3"])) == Recipe(epochs=3)


def test_lists_given_in_parts_add_up():
    args = colourization.build_parser().parse_args([
        "--augment=hflip", "--augment=vflip,vshift", "--compare", "a", "b", "--compare=c", "--image=d", "--image=e"])
    assert recipe_of(args).augment == ("hflip", "vflip", "vshift")
    assert args.compare == ["a", "b", "c"] and args.image == ["d", "e"]
