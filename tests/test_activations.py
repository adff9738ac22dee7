"""What the hooks see, the files that activations.py writes, and what it refuses."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from activations import capture, main
from colour.jobs import checkpoints, plots
from colour.palette import Palette
from colour.pixels import grey_of, to_rgb
from colour.system.files import ROOT
from load_data import load_horses
from tests import forking
from tests.helpers import ASSIGNMENT, NETWORKS, make_network, state

BLOCKS = ("downconv1", "downconv2", "rfconv", "upconv1", "upconv2", "finalconv")
SHARED = {"input.png", "input_grey.png"}


def files_of(weights: Path) -> set[str]:
    """Return the names of the pictures that a network makes: those of its weights and their folder."""
    return {f"{weights.parent.name}_{weights.stem}_{what}.png" for what in ("prediction", "overview", *BLOCKS)}


def network(name: str):
    """Return a random network with the running statistics of a new one: its pixels differ in colour."""
    torch.manual_seed(0)
    return NETWORKS[name](3, 4, 3 if name == "RegressionCNN" else 24).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """The files of random weights, one for each network."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {name: folder / f"{name.lower()}_k3_f4.pkl" for name in (*ASSIGNMENT, "RegressionCNN")}
    for name, path in paths.items():
        checkpoints.save(path, network(name).state_dict(), {"model": name})
    return paths


def by_hand(name: str, model, x) -> list[torch.Tensor]:
    """Return the outputs of the six blocks, by the table of the assignment."""
    def join(a, b):
        return a if "CNN" in name else torch.cat([a, b], dim=1)

    down1 = model.downconv1(x)
    down2 = model.downconv2(down1)
    middle = model.rfconv(down2)
    up1 = model.upconv1(join(middle, down2))
    up2 = model.upconv2(join(up1, down1))
    return [down1, down2, middle, up1, up2, model.finalconv(join(up2, x))]


def hooks_of(model) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("name", [*ASSIGNMENT, "RegressionCNN"])
def test_capture_is_the_forward_pass(name):
    model, x = make_network(name), torch.rand(2, 1, 32, 32)
    _, seen = capture(model, x)
    assert list(seen) == list(BLOCKS)
    for activation, expected in zip(seen.values(), by_hand(name, model, x), strict=True):
        assert not activation.requires_grad
        torch.testing.assert_close(activation, expected)
    torch.testing.assert_close(seen["finalconv"], model(x))
    assert hooks_of(model) == 0


def test_hooks_are_removed_when_forward_fails():
    model = make_network("UNet")
    with pytest.raises(RuntimeError):
        capture(model, torch.rand(1, 2, 32, 32))
    assert hooks_of(model) == 0
    del model.finalconv
    with pytest.raises(AttributeError):
        capture(model, torch.rand(1, 1, 32, 32))
    assert hooks_of(model) == 0


@pytest.fixture(scope="module")
def drawn(weights, tmp_path_factory) -> tuple[Path, str]:
    """The folder that all networks wrote to, one after the other, and what was printed."""
    outdir, printed = tmp_path_factory.mktemp("drawn") / "new" / "act", io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("error")
        for name, path in weights.items():
            assert main(["999", "--model", name, "--checkpoint", str(path), "--outdir", str(outdir)]) == 0
    return outdir.with_name("act999"), printed.getvalue()


def test_networks_keep_their_files_side_by_side(drawn, weights):
    folder, printed = drawn
    written = {path.name for path in folder.iterdir()}
    assert written == SHARED.union(*map(files_of, weights.values()))
    assert all(name in printed for name in written) and str(folder) in printed
    assert "_unet_k3_f4_downconv2.png: 8 channels of 8x8" in printed


def test_pictures_are_those_of_the_index(drawn, weights):
    def read(name):
        pixels = (imread(drawn[0] / name)[..., :3] * 255).round().astype(np.uint8)
        assert pixels.shape == (256, 256, 3)
        small = pixels[::8, ::8]
        assert np.array_equal(np.kron(small, np.ones((8, 8, 1), np.uint8)), pixels)
        return small.transpose(2, 0, 1)

    rgb = load_horses()[1][999]
    grey = grey_of(to_rgb(torch.from_numpy(rgb[None])))
    assert np.array_equal(read("input.png"), rgb)
    assert np.abs(read("input_grey.png") - rgb.mean(axis=0)).max() <= 0.5
    palette = Palette.load()
    predictions = {name: f"{path.parent.name}_{path.stem}_prediction.png" for name, path in weights.items()}
    for name in ASSIGNMENT:
        expected = palette.rgb(network(name)(grey).argmax(dim=1))[0].numpy() * 256
        assert np.abs(read(predictions[name]) - expected).max() <= 0.5
    expected = network("RegressionCNN")(grey)[0].detach().clamp(0, 1).numpy() * 256
    assert np.abs(read(predictions["RegressionCNN"]) - expected.clip(0, 255)).max() <= 0.5


def test_sheets_show_what_the_hooks_saw(drawn, weights, tmp_path):
    rgb = to_rgb(torch.from_numpy(load_horses()[1][999:]))
    label = f"{weights['DUNet'].parent.name}/dunet_k3_f4"

    def is_in(folder, what):
        return (tmp_path / "page.png").read_bytes() == (folder / f"{label.replace('/', '_')}_{what}.png").read_bytes()

    output, seen = capture(network("DUNet"), grey_of(rgb))
    for block, channels in seen.items():
        plots.sheet(tmp_path / "page.png", channels[0], f"{label}, horse 999, {block}",
                    Palette.load().centres if block == "finalconv" else None)
        assert is_in(drawn[0], block)
    prediction = Palette.load().rgb(output.argmax(dim=1))[0]
    plots.overview(tmp_path / "page.png", {"grey input": grey_of(rgb)[0], "prediction": prediction,
                                           "true picture": rgb[0]},
                   {block: channels[0] for block, channels in seen.items()}, f"{label}, horse 999")
    assert is_in(drawn[0], "overview")


def test_the_network_is_read_from_the_checkpoint_and_may_have_few_colours(tmp_path):
    Palette(np.array([[0.2, 0.1, 0], [0.5, 0.5, 0.4]])).save(tmp_path / "two.npy")
    checkpoints.save(tmp_path / "tiny.pkl", state("UNet", 3, 1, 2), {})
    main(["0", "--checkpoint", str(tmp_path / "tiny.pkl"), "-c", str(tmp_path / "two.npy"),
          "--outdir", str(tmp_path / "act")])
    assert {path.name for path in (tmp_path / "act0").iterdir()} == SHARED | files_of(tmp_path / "tiny.pkl")


@pytest.mark.parametrize("index", ["1000", "-1", "7.5", "seven", ""])
def test_an_index_outside_the_test_set_is_refused(index, refused, tmp_path):
    assert "from 0 to 999" in refused(main, index, "--outdir", tmp_path / "act")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(weights, refused, tmp_path):
    unet, here = weights["UNet"], ("--outdir", tmp_path / "act")
    assert "INDEX" in refused(main)
    assert "--model" in refused(main, "7", "-m", "CNN", "--checkpoint", unet, *here)
    assert "--kernel" in refused(main, "7", "-k", "5", "--checkpoint", unet, *here)
    assert "--num_filters" in refused(main, "7", "-f", "32", "--checkpoint", unet, *here)
    assert "--colours" in refused(main, "7", "--checkpoint", unet,
                                  "-c", ROOT / "colour" / "colour_kmeans16_cat7.npy", *here)
    assert "nowhere.pkl" in refused(main, "7", "--checkpoint", tmp_path / "nowhere.pkl", *here)
    assert list(tmp_path.iterdir()) == []


def test_weights_trained_with_other_colours_are_refused(refused, tmp_path):
    path = tmp_path / "other.pkl"
    sidecar = {"model": "CNN", "palette": "mine.npy", "palette_sha256": "0" * 64}
    checkpoints.save(path, state("CNN"), sidecar)
    assert "--colours" in refused(main, "7", "--checkpoint", path, "--outdir", tmp_path / "act")
    assert not (tmp_path / "act7").exists()


def test_a_folder_that_is_a_file_is_refused(weights, refused, tmp_path):
    (tmp_path / "act7").write_text("mine")
    assert "--outdir" in refused(main, "7", "--checkpoint", weights["CNN"], "--outdir", tmp_path / "act")
    assert (tmp_path / "act7").read_text() == "mine"


def test_as_a_command():
    result = forking.run(["activations.py", "1000"])
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
