"""activations: what the hooks see, the files that the script writes, and what it refuses."""

import contextlib
import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

import activations
from activations import BLOCKS, capture, main
from colour import checkpoints, plots
from colour.palette import Palette
from colourization import MODELS, grey_of
from load_data import load_horses

ROOT = Path(activations.__file__).parent
SHARED = {"input.png", "input_grey.png"}


def files_of(name: str) -> set[str]:
    return {f"{name}_{what}.png" for what in ("prediction", *BLOCKS, "uncertainty")}


def make(name: str, num_filters: int = 4, num_colours: int = 24):
    torch.manual_seed(0)
    return MODELS[name](3, num_filters, num_colours).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Files of random weights, one for each model."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {name: folder / f"{name.lower()}_k3_f4.pkl" for name in MODELS}
    for name, path in paths.items():
        checkpoints.save(path, make(name).state_dict(), {"model": name})
    return paths


def by_hand(name: str, model, x) -> list[torch.Tensor]:
    """The outputs of the six blocks, from the table of the assignment."""
    def join(a, b):
        return a if name == "CNN" else torch.cat([a, b], dim=1)

    down1 = model.downconv1(x)
    down2 = model.downconv2(down1)
    middle = model.rfconv(down2)
    up1 = model.upconv1(join(middle, down2))
    up2 = model.upconv2(join(up1, down1))
    return [down1, down2, middle, up1, up2, model.finalconv(join(up2, x))]


def hooks_of(model) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("name", MODELS)
def test_capture_is_the_forward_pass(name):
    model, x = make(name), torch.rand(2, 1, 32, 32)
    seen = capture(model, x)
    assert list(seen) == list(BLOCKS)
    for activation, expected in zip(seen.values(), by_hand(name, model, x), strict=True):
        assert not activation.requires_grad
        torch.testing.assert_close(activation, expected)
    torch.testing.assert_close(seen["finalconv"], model(x))
    assert hooks_of(model) == 0


def test_hooks_are_removed_when_forward_fails():
    model = make("UNet")
    with pytest.raises(RuntimeError):
        capture(model, torch.rand(1, 2, 32, 32))
    assert hooks_of(model) == 0
    del model.finalconv
    with pytest.raises(AttributeError):
        capture(model, torch.rand(1, 1, 32, 32))
    assert hooks_of(model) == 0


@pytest.fixture(scope="module")
def drawn(weights, tmp_path_factory) -> tuple[Path, str]:
    """The folder that the three models wrote to, one after the other, and what was printed."""
    outdir, printed = tmp_path_factory.mktemp("drawn") / "new" / "act", io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("error")
        for name, path in weights.items():
            assert main(["999", "--model", name, "--checkpoint", str(path), "--outdir", str(outdir)]) == 0
    return outdir.with_name("act999"), printed.getvalue()


def test_models_keep_their_files_side_by_side(drawn):
    folder, printed = drawn
    written = {path.name for path in folder.iterdir()}
    assert written == SHARED.union(*(files_of(name) for name in MODELS))
    assert all(name in printed for name in written) and str(folder) in printed
    assert "UNet_downconv2.png: 8 channels of 8x8" in printed


def test_pictures_are_those_of_the_index(drawn):
    def read(name):
        pixels = (imread(drawn[0] / name)[..., :3] * 255).round().astype(np.uint8)
        assert pixels.shape == (256, 256, 3)
        small = pixels[::8, ::8]
        assert np.array_equal(np.kron(small, np.ones((8, 8, 1), np.uint8)), pixels)
        return small.transpose(2, 0, 1)

    rgb = load_horses()[1][999]
    grey = grey_of(torch.from_numpy(rgb[None]).float() / 256)
    assert np.array_equal(read("input.png"), rgb)
    assert np.abs(read("input_grey.png") - rgb.mean(axis=0)).max() <= 0.5
    palette = Palette.load()
    for name in MODELS:
        expected = palette.rgb(make(name)(grey).argmax(dim=1))[0].numpy() * 256
        assert np.abs(read(f"{name}_prediction.png") - expected).max() <= 0.5


def test_sheets_show_what_the_hooks_saw(drawn, tmp_path):
    grey = grey_of(torch.from_numpy(load_horses()[1][999:]).float() / 256)
    for block, channels in capture(make("DUNet"), grey).items():
        plots.sheet(tmp_path / "sheet.png", channels[0], f"DUNet {block}, horse 999",
                    Palette.load().centres if block == "finalconv" else None)
        assert (tmp_path / "sheet.png").read_bytes() == (drawn[0] / f"DUNet_{block}.png").read_bytes()


def test_model_is_read_from_the_checkpoint_and_may_have_few_colours(tmp_path):
    Palette(np.array([[0.2, 0.1, 0], [0.5, 0.5, 0.4]])).save(tmp_path / "two.npy")
    checkpoints.save(tmp_path / "tiny.pkl", make("UNet", 1, 2).state_dict(), {})
    main(["0", "--checkpoint", str(tmp_path / "tiny.pkl"), "-c", str(tmp_path / "two.npy"),
          "--outdir", str(tmp_path / "act")])
    assert {path.name for path in (tmp_path / "act0").iterdir()} == SHARED | files_of("UNet")


def refused(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as exit:
        main(list(argv))
    out, err = capsys.readouterr()
    assert exit.value.code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("index", ["1000", "-1", "7.5", "seven", ""])
def test_an_index_outside_the_test_set_is_refused(index, capsys, tmp_path):
    assert "from 0 to 999" in refused(capsys, index, "--outdir", str(tmp_path / "act"))
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused_before_anything_is_written(weights, capsys, tmp_path):
    unet, here = str(weights["UNet"]), ("--outdir", str(tmp_path / "act"))
    assert "INDEX" in refused(capsys)
    assert "--model" in refused(capsys, "7", "-m", "CNN", "--checkpoint", unet, *here)
    assert "--kernel" in refused(capsys, "7", "-k", "5", "--checkpoint", unet, *here)
    assert "--num_filters" in refused(capsys, "7", "-f", "32", "--checkpoint", unet, *here)
    assert "--colours" in refused(capsys, "7", "--checkpoint", unet,
                                  "-c", str(ROOT / "colour" / "colour_kmeans16_cat7.npy"), *here)
    assert "nowhere.pkl" in refused(capsys, "7", "--checkpoint", str(tmp_path / "nowhere.pkl"), *here)
    assert list(tmp_path.iterdir()) == []


def test_weights_trained_with_other_colours_are_refused(capsys, tmp_path):
    path = tmp_path / "other.pkl"
    sidecar = {"model": "CNN", "palette": "mine.npy", "palette_sha256": "0" * 64}
    checkpoints.save(path, make("CNN").state_dict(), sidecar)
    assert "--colours" in refused(capsys, "7", "--checkpoint", str(path), "--outdir", str(tmp_path / "act"))
    assert not (tmp_path / "act7").exists()


def test_a_folder_that_is_a_file_is_refused(weights, capsys, tmp_path):
    (tmp_path / "act7").write_text("mine")
    assert "--outdir" in refused(capsys, "7", "--checkpoint", str(weights["CNN"]), "--outdir", str(tmp_path / "act"))
    assert (tmp_path / "act7").read_text() == "mine"


def test_as_a_command():
    result = subprocess.run([sys.executable, ROOT / "activations.py", "1000"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
