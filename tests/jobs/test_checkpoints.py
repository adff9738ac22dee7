"""Weights on disk: PyTorch 0.3's format, which network a file holds, sidecars, saving, damaged and hostile files."""

import hashlib
import io
import json
import math
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

import activations
import colour_regression
import colourization
from colour.jobs import checkpoints
from colour.jobs.checkpoints import load_network
from colour.learning.networks import Architecture
from colour.learning.task import Classification
from colour.learning.training import Recipe, example_state
from colour.palette import DEFAULT, Palette
from colour.system.cli import UserError
from colour.system.files import ROOT
from colourization import CNN, MODELS, MyConv2d
from tests.helpers import ASSIGNMENT, NETWORKS, contents_of, make_network, one_line, same, saved, state
from tests.old_weights import COUNTERS, Python2Pickler, pytorch03

pytestmark = pytest.mark.usefixtures("one_thread")


@torch.no_grad()
def same_outputs(network: nn.Module, other: nn.Module) -> bool:
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not network.training and not other.training
    # Both in the same memory layout, because the library adds in another order in another layout.
    return torch.equal(network(x), other.to(memory_format=torch.contiguous_format)(x))


@pytest.fixture
def file(tmp_path) -> Path:
    """A path for weights, in a folder of their own."""
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights" / "net.pkl"


@pytest.fixture
def refused_untouched(refused, tmp_path):
    """Like ``refused``; and nothing was written."""

    def check(main, *argv):
        error = refused(main, *argv, "--outdir", tmp_path / "out")
        assert not list(tmp_path.glob("out/*"))
        return error

    return check


# What PyTorch 0.3 wrote on Python 2 from a GPU


def test_the_old_format_is_what_pytorch_03_wrote():
    content = pytorch03(state())
    assert content.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}")
    for part in (b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor\n", b"ctorch.cuda\nFloatStorage\n",
                 b"U\x07storage", b"U\x06cuda:0", b"U\x12downconv1.0.weight"):
        assert content.count(part) == 1
    assert b"num_batches_tracked" not in content and b"_metadata" not in content
    unicode = b"X\x12\x00\x00\x00downconv1.0.weight"
    assert unicode in pytorch03(state(), unicode=True) and unicode not in content


@pytest.mark.parametrize("unicode", [False, True], ids=["byte strings", "unicode"])
@pytest.mark.parametrize("model", ["CNN", "UNet", "DUNet", "RegressionCNN"])
def test_weights_of_pytorch_03_from_a_gpu(model, unicode, file, recwarn):
    original = make_network(model, 3, 8, 16)
    file.write_bytes(pytorch03(original.state_dict(), unicode))
    weights = checkpoints.load(file)
    network, architecture = load_network(weights, NETWORKS, model=model)
    assert architecture == (model, 3, 8, original.finalconv.weight.shape[0])
    assert weights.sidecar == {} and not recwarn.list
    assert all(value.device.type == "cpu" for value in network.state_dict().values())
    network_weights = {name: value for name, value in network.state_dict().items() if name not in COUNTERS}
    assert same(network_weights, {k: v for k, v in original.state_dict().items() if k not in COUNTERS})
    assert same_outputs(network, original)


def test_old_weights_that_are_saved_again_stay_the_same(file):
    file.write_bytes(pytorch03(state("UNet")))
    network, *_ = load_network(checkpoints.load(file), NETWORKS)
    checkpoints.save(file, network.state_dict(), {"model": "UNet"})
    weights = checkpoints.load(file)
    again, architecture = load_network(weights, NETWORKS)
    assert same(again.state_dict(), network.state_dict()) and weights.sidecar["model"] == architecture.model == "UNet"


@pytest.mark.parametrize("model", ASSIGNMENT)
@pytest.mark.parametrize("how", [{"_use_new_zipfile_serialization": False}, {}], ids=["legacy", "zip"])
def test_files_of_todays_pytorch_without_counters(model, how, file):
    original = make_network(model)
    weights = original.state_dict()  # an OrderedDict with _metadata, which says that counters belong in it
    for name in COUNTERS:
        del weights[name]
    assert weights._metadata["downconv1.2"]["version"] == 2
    file.write_bytes(saved(weights, **how))
    assert same_outputs(load_network(checkpoints.load(file), MODELS, model=model)[0], original)


@pytest.mark.parametrize("change", [
    lambda w: {name: value.half() if value.is_floating_point() else value for name, value in w.items()},
    lambda w: {name: value.double() if value.is_floating_point() else value for name, value in w.items()},
    lambda w: {name: nn.Parameter(value, requires_grad=False) for name, value in w.items()},
    lambda w: {name: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
               for name, value in w.items()},
], ids=["float16", "float64", "parameters", "channels last"])
def test_other_kinds_of_tensors_are_accepted(change, file):
    weights = {name: value.half().float() if value.is_floating_point() else value
               for name, value in state("UNet").items()}
    file.write_bytes(saved(change(weights)))
    network, *_ = load_network(checkpoints.load(file), NETWORKS)
    assert same(network.state_dict(), weights)


# Kernel, filters, colours and network are read off the shapes and compared with the flags


@pytest.mark.parametrize("model", ASSIGNMENT)
@pytest.mark.parametrize("kernel, num_filters", [(1, 32), (3, 8), (5, 16)])
def test_names_and_shapes_say_which_network(model, kernel, num_filters, file):
    for num_colours in (16, 24):
        original = make_network(model, kernel, num_filters, num_colours)
        torch.save(original.state_dict(), file)
        weights = checkpoints.load(file)
        network, architecture = load_network(weights, MODELS, model=None if model == "UNet" else model)
        assert architecture == Architecture(model, kernel, num_filters, num_colours)
        assert type(network) is MODELS[model] and weights.sidecar == {}
        assert same(network.state_dict(), original.state_dict())
        assert load_network(checkpoints.load(file), MODELS, model=model, kernel=kernel, num_filters=num_filters)
        _, guess = load_network(checkpoints.load(file), MODELS)  # nothing tells a DUNet from a UNet
        assert guess == (model.removeprefix("D"), kernel, num_filters, num_colours)


@pytest.mark.parametrize("model", ASSIGNMENT)
@pytest.mark.parametrize("flag, right, wrong", [("kernel", 3, 5), ("kernel", 3, 1), ("num_filters", 4, 16)])
def test_flags_that_disagree_are_named(model, flag, right, wrong, file):
    torch.save(state(model), file)
    with pytest.raises(UserError) as error:
        load_network(checkpoints.load(file), MODELS, model=model, **{flag: wrong})
    message = one_line(error)
    assert f"--{flag} {wrong}" in message and f"{right}" in message.partition(str(file))[2]
    with pytest.raises(UserError):
        load_network(checkpoints.load(file), MODELS, **{flag: wrong})


MISMATCHES = {  # the network in the file, the flags, and what the one line must say
    "another kernel": (("CNN", 3, 4, 24), "--kernel 5", "--kernel"),
    "another width": (("UNet", 3, 4, 24), "--model UNet --num_filters 32", "--num_filters"),
    "16 colours, palette of 24": (("CNN", 3, 4, 16), "--model CNN", "--colours"),
    "24 colours, palette of 16": (("UNet", 3, 4, 24), "-c colour/colour_kmeans16_cat7.npy", "--colours"),
    "DUNet as UNet": (("DUNet", 3, 4, 24), "--model UNet", "--model DUNet"),
    "UNet as DUNet": (("UNet", 3, 4, 24), "--model DUNet", "--model UNet"),
    "CNN as UNet": (("CNN", 3, 4, 24), "--model UNet", "--model CNN"),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_weights_that_do_not_fit_the_flags(case, file, refused_untouched):
    network, flags, fragment = MISMATCHES[case]
    checkpoints.save(file, state(*network), {"model": network[0]})
    flags = [str(ROOT / flag) if flag.endswith(".npy") else flag for flag in flags.split()]
    for main, job in (colourization.main, "--valid"), (activations.main, "7"):
        error = refused_untouched(main, job, "--checkpoint", file, *flags)
        assert fragment in error and str(file) in error


def test_regression_weights_are_for_another_script(file, refused_untouched):
    checkpoints.save(file, state("RegressionCNN"), {"model": "RegressionCNN"})
    for flags in [], ["--model", "CNN"]:
        error = refused_untouched(colourization.main, "--valid", "--checkpoint", file, *flags)
        assert "colour_regression.py" in error and str(file) in error
    error = refused_untouched(activations.main, 7, "--checkpoint", file, "--model", "CNN")  # which draws both kinds
    assert "--model RegressionCNN" in error and str(file) in error


@pytest.mark.parametrize("flags", ["--valid --checkpoint FILE", "--init FILE --checkpoint NEW -f 4", "--compare FILE",
                                   "--image PHOTO --checkpoint FILE"])
def test_another_palette_of_as_many_colours(flags, file, tmp_path, refused_untouched):
    """Only the sidecar tells."""
    ours = Palette.load()
    checkpoints.save(file, state(), {"model": "CNN", "palette": ours.name, "palette_sha256": ours.sha256()})
    Palette(ours.centres[::-1]).save(tmp_path / "other.npy")
    argv = flags.replace("FILE", str(file)).replace("NEW", str(tmp_path / "new.pkl")).split()
    error = refused_untouched(colourization.main, *argv, "--colours", tmp_path / "other.npy")
    assert str(file) in error and f"--colours {ours.name}" in error


@pytest.mark.parametrize("model", ["UNet", "DUNet"])
def test_a_sidecar_that_names_another_network(model, file, refused_untouched):
    checkpoints.save(file, state(), {"model": model})
    error = refused_untouched(colourization.main, "--compare", file, "--holdout", 20)
    assert f"your {model} does not fit {file}: " in error


@pytest.mark.parametrize("with_sidecar", [True, False])
@pytest.mark.parametrize("model", ASSIGNMENT)
def test_classification_weights_in_the_regression(model, with_sidecar, file, refused_untouched):
    checkpoints.save(file, state(model, 3, 4, 24), {"model": model})
    if not with_sidecar:
        checkpoints.sidecar_path(file).unlink()
    error = refused_untouched(colour_regression.main, "--checkpoint", file)
    assert "colourization.py" in error and str(file) in error


def test_cnn_weights_without_sidecar_as_unet_and_the_reverse(file):
    for model, other in (("CNN", "UNet"), ("CNN", "DUNet"), ("UNet", "CNN"), ("DUNet", "CNN")):
        torch.save(state(model), file)
        with pytest.raises(UserError) as error:
            load_network(checkpoints.load(file), MODELS, model=other)
        assert f"your {other} does not fit" in one_line(error) and "--model" in one_line(error)


# Saving, and the sidecar


SIDECAR = {"model": "DUNet", "kernel": 3, "history": [{"loss": 1.2345678901234567}], "command": "python … \"ä\""}


@pytest.mark.parametrize("model", ["CNN", "UNet", "DUNet", "RegressionCNN"])
def test_what_is_saved_comes_back_bit_for_bit(model, file):
    original = make_network(model)
    weights = original.to(memory_format=torch.channels_last).state_dict()
    before = {name: value.clone() for name, value in weights.items()}
    checkpoints.save(file, weights, {**SIDECAR, "model": model})
    assert sorted(os.listdir(file.parent)) == ["net.json", "net.pkl"]
    loaded, sidecar, _ = checkpoints.load(file)
    assert same(loaded, before) and same(weights, before)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert sidecar == {**SIDECAR, "model": model, "sha256": digest}
    assert sidecar == json.loads(file.with_suffix(".json").read_bytes())
    weights = checkpoints.load(file)
    network, architecture = load_network(weights, NETWORKS)
    assert sidecar["model"] == architecture.model == model and same_outputs(network, original)
    assert same(torch.load(file, weights_only=True), before), "others cannot load it as a plain state dict"

class Half(CNN):
    """A student's: upconv1 has half of its channels."""

    def __init__(self, kernel, num_filters, num_colours):
        super().__init__(kernel, num_filters, num_colours)
        self.upconv1[0] = MyConv2d(num_filters, num_filters, kernel)


class Unwritten:
    def __init__(self, *_):
        raise NotImplementedError("question C is not done yet")


@pytest.mark.parametrize("with_sidecar", [True, False])
def test_a_message_is_about_the_network_that_was_asked_for(with_sidecar, file, refused_untouched, monkeypatch):
    for name, network in {"CNN": Half, "UNet": Unwritten, "DUNet": Unwritten}.items():
        monkeypatch.setitem(MODELS, name, network)
    checkpoints.save(file, state("CNN"), {"model": "CNN"})
    if not with_sidecar:
        checkpoints.sidecar_path(file).unlink()
    for main, job in (colourization.main, "--valid"), (activations.main, "7"):
        for flags in [], ["--model", "CNN"]:
            assert (f"your CNN does not fit {file}: upconv1.0.weight is (4, 4, 3, 3), should be (4, 8, 3, 3): correct "
                    "CNN") in refused_untouched(main, job, "--checkpoint", file, *flags)


def test_a_training_does_not_save_to_shipped_weights():
    assert checkpoints.new_weights(Architecture("UNet", 3, 32, 24)) == ROOT / "outputs" / "unet_k3_f32.pkl"


def test_two_files_never_share_a_sidecar_or_a_state():
    assert checkpoints.sidecar_path("a/net.pkl") == Path("a/net.json")
    assert checkpoints.state_path("a/net.pkl") == Path("a/net.state.pt")
    names = ["net.pkl", "net.pth", "net.json", "lr0.1", "lr0.2"]
    for path in checkpoints.sidecar_path, checkpoints.state_path:
        assert len({path(name) for name in names}) == len(names)
        assert all(path(name) != Path(name) for name in names)


@pytest.mark.parametrize("content, said", [
    (b'{"model": "DUNet", "sha2', "damaged"),
    (b"", "damaged"),
    (b"[]", "damaged"),
    (b'"DUNet"', "damaged"),
    (b"\x80\x02}q\x00.", "damaged"),
    (b"\xff\xfe\x00\xd8", "damaged"),
    (b"[" * 200_000, "damaged"),
    (b"9" * 5000, "damaged"),
    (b'{"model": "DUNet"}', "other weights"),
    (b'{"model": "DUNet", "sha256": null}', "other weights"),
    (b'{"model": "DUNet", "sha256": "' + b"0" * 64 + b'"}', "other weights"),
    (b'{"model": ["DUNet"], "sha256": "SHA"}', "damaged"),
    (b'{"model": null, "sha256": "SHA"}', "damaged"),
    (b" " * (1 << 25) + b'{"model": "DUNet", "sha256": "SHA"}', "damaged"),
], ids=["cut", "empty", "list", "text", "pickle", "surrogates", "deep", "digits", "no sum", "null", "another",
        "model list", "model null", "large"])
def test_a_sidecar_that_does_not_belong_is_ignored(content, said, file, capsys):
    original = make_network("UNet")
    checkpoints.save(file, original.state_dict(), SIDECAR)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file.with_suffix(".json").write_bytes(content.replace(b"SHA", digest.encode()))
    weights = checkpoints.load(file)
    network, architecture = load_network(weights, NETWORKS)
    assert weights.sidecar == {} and architecture == ("UNet", 3, 4, 24)
    assert type(network) is MODELS["UNet"] and same_outputs(network, original)
    warning = capsys.readouterr().err
    assert warning.startswith("warning: ") and warning.count("\n") == 1
    assert said in warning and str(file.with_suffix(".json")) in warning


def test_a_sidecar_that_names_an_unknown_network(file):
    checkpoints.save(file, state("UNet"), {"model": "Transformer"})
    with pytest.raises(UserError) as error:
        load_network(checkpoints.load(file), NETWORKS)
    assert "Transformer" in one_line(error)


@pytest.mark.parametrize("where", ["torch.save", "os.replace", "os.fsync"])
def test_a_save_that_fails_leaves_all_as_it_was(where, file, monkeypatch):
    checkpoints.save(file, state("UNet"), SIDECAR)
    checkpoints.save_state(file, {"model": 1})
    before = contents_of(file.parent)
    assert len(before) == 3

    def fail(contents, target, *_, **__):
        if where == "torch.save":
            target.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(where, fail if where != "os.fsync" else lambda descriptor: fail(None, None))
    for save in (checkpoints.save, lambda *args: checkpoints.save_state(*args[:2])):
        with pytest.raises(OSError, match="No space"):
            save(file, state("CNN"), {})
        assert contents_of(file.parent) == before


def test_a_save_that_fails_between_weights_and_sidecar(file, monkeypatch, capsys):
    checkpoints.save(file, state("UNet"), SIDECAR)
    before = contents_of(file.parent)
    replace = os.replace

    def fail_for_json(source, target):
        if str(target).endswith(".json"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_for_json)
    with pytest.raises(OSError):
        checkpoints.save(file, state("CNN"), {"model": "CNN"})
    after = contents_of(file.parent)
    assert after.keys() == before.keys() and after["net.json"] == before["net.json"]
    weights, sidecar, _ = checkpoints.load(file)
    assert same(weights, state("CNN")) and sidecar == {} and "other weights" in capsys.readouterr().err


@pytest.mark.parametrize("named, found", [
    ("colour/colour_kmeans16_cat7.npy", "colour_kmeans16_cat7.npy"), (None, DEFAULT.name), ([1], DEFAULT.name),
    ("colour/none.npy", DEFAULT.name), ("/etc/passwd", DEFAULT.name), ("weights/unet_k3_f32.pkl", DEFAULT.name),
    ("colour/../weights/unet_k3_f32.pkl", DEFAULT.name)])
def test_weights_bring_their_palette(named, found, file):
    """If it is one of ours: a sidecar may come from anywhere, and no other file is opened because of it."""
    checkpoints.save(file, state(), {"model": "CNN", "palette": named})
    assert checkpoints.palette_of(checkpoints.load(file).sidecar) == DEFAULT.with_name(found)


def test_the_weights_for_photos_fit_their_palette():
    weights = checkpoints.load(checkpoints.PHOTO_WEIGHTS)
    palette = Palette.load(checkpoints.palette_of(weights.sidecar))
    _, architecture = load_network(weights, MODELS, Classification(palette))
    assert weights.sidecar["category"] == "all" and architecture == ("UNet", 3, 64, 24)
    assert palette.centres.mean(axis=1) == pytest.approx(0.5, abs=1e-4)  # it tells colours apart, not brightness


def test_a_full_disk(file):
    """For real: the operating system refuses to write more than a few bytes to any file."""
    resource = pytest.importorskip("resource")
    checkpoints.save(file, state("UNet", 3, 1), SIDECAR)
    before = contents_of(file.parent)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError):
            checkpoints.save(file, {"large": torch.zeros(100_000)}, {})
        with pytest.raises(OSError):
            checkpoints.save_state(file, {"large": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents_of(file.parent) == before


def test_saving_makes_the_folder_and_files_as_readable_as_others(tmp_path):
    file = tmp_path / "new" / "folder" / "net.pkl"
    checkpoints.save(file, state(), {})
    (tmp_path / "other").touch()
    assert file.stat().st_mode == file.with_suffix(".json").stat().st_mode == (tmp_path / "other").stat().st_mode


# Damaged and hostile files


class Evil:
    """Is pickled as a call that leaves a trace."""

    def __init__(self, marker: Path, function=os.system):
        self.call = function, (f"touch '{marker}'" if function is os.system else f"open({str(marker)!r}, 'w')",)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("force", [False, True], ids=["", "told to trust all files"])
def test_nothing_in_weights_is_executed(force, file, tmp_path, monkeypatch):
    if force:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.exists(), "the attack itself does not work"
    marker.unlink()
    for function in (os.system, eval, exec):
        evil = Evil(marker, function)
        for payload in (evil, [evil], {**state(), "finalconv.weight": evil}, {evil: torch.zeros(1)}):
            for content in (saved(payload), saved(payload, _use_new_zipfile_serialization=False),
                            saved(payload, pickle_protocol=4), pickle.dumps(payload, 2),
                            pytorch03(state()) + pickle.dumps(evil, 2), in_tar(payload)):
                file.write_bytes(content)
                if content.startswith(pytorch03(state())):
                    load_network(checkpoints.load(file), NETWORKS)  # nobody reads what follows the weights
                else:
                    with pytest.raises(UserError):
                        load_network(checkpoints.load(file), NETWORKS)
                assert not marker.exists()
        checkpoints.state_path(file).write_bytes(saved({"model": evil}))
        with pytest.raises(UserError):
            checkpoints.load_state(file)
        assert not marker.exists()


def in_tar(payload) -> bytes:
    """Return the oldest format of all; its loader in PyTorch 2.5 and before let code through."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(payload if name == "pickle" else 0, 2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def bomb() -> bytes:
    """Return a zip archive of some kilobytes that PyTorch would unpack to 40 MB."""
    source, target = io.BytesIO(saved(state(extra=torch.zeros(10_000_000)))), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert len(target.getvalue()) < 100_000
    return target.getvalue()


def with_folder() -> bytes:
    """Return weights with one tensor marked as an MS-DOS folder: PyTorch reads whatever is in memory for it."""
    source, target = io.BytesIO(saved(state())), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for record in old.infolist():
            content = old.read(record)
            record.external_attr = 0x10 if record.filename.endswith("/data/3") else 0
            new.writestr(record, content)
    return target.getvalue()


def claiming(numel: int) -> bytes:
    """Return the old format with a storage of ``numel`` numbers, none of which is in the file."""
    content, file = pytorch03({"downconv1.0.weight": torch.zeros(7)}), io.BytesIO()
    Python2Pickler(file, False).dump(numel)
    assert content.count(b"K\x07N") == 1
    return content.replace(b"K\x07N", file.getvalue()[2:-1] + b"N")


def flipped(content: bytes) -> bytes:
    """Change one bit in the middle of the weights."""
    place = content.index(state()["rfconv.0.weight"].numpy().tobytes()) + 100
    return content[:place] + bytes([content[place] ^ 64]) + content[place + 1:]


def weights(**change):
    return lambda: saved(state(**{name.replace("__", "."): value for name, value in change.items()}))


ZIP, OLD = saved(state()), pytorch03(state())
DAMAGES = {  # what is in the file, and a word of what is said about it
    "empty": (lambda: b"", "empty"),
    "web page": (lambda: b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title>", "web page"),
    "text": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "Git LFS"),
    "picture": (lambda: b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "damaged"),
    "cut zip": (lambda: ZIP[:-100], "damaged"),
    "cut legacy": (lambda: OLD[:-100], "damaged"),
    "a bit": (lambda: flipped(ZIP), "damaged"),
    "bomb": (bomb, "damaged"),
    "zip with a folder": (with_folder, "damaged"),
    "terabytes": (lambda: claiming(10**12), "damaged"),
    "2**62 numbers": (lambda: claiming(2**62), "damaged"),
    "another zip": (lambda: ZIP.replace(b"data.pkl", b"some.txt"), "damaged"),
    "tar": (lambda: in_tar(state()), "damaged"),
    "plain pickle": (lambda: pickle.dumps({"finalconv.weight": [1, 2]}), "torch.save"),
    "code": (lambda: saved(Evil("marker")), "system"),
    "whole model": (lambda: saved(make_network("CNN")), "model.state_dict()"),
    "whole model, legacy": (lambda: saved(make_network("CNN"), _use_new_zipfile_serialization=False),
                            "model.state_dict()"),
    "list": (lambda: saved([torch.zeros(3)]), "model.state_dict()"),
    "tensor": (lambda: saved(torch.zeros(3)), "model.state_dict()"),
    "nothing": (lambda: saved({}), "model.state_dict()"),
    "wrapped": (lambda: saved({"epoch": 3, "state_dict": state()}), "model.state_dict()"),
    "numbers for names": (lambda: saved({**state(), 7: torch.zeros(1)}), "model.state_dict()"),
    "nan": (weights(rfconv__0__weight=torch.full((8, 8, 3, 3), torch.nan)), "rfconv.0.weight"),
    "infinite": (weights(upconv1__2__running_var=torch.tensor([1, 1, torch.inf, 1])), "upconv1.2.running_var"),
    "missing": (weights(upconv1__0__bias=None), "upconv1.0.bias"),
    "missing rfconv": (weights(rfconv__0__weight=None), "rfconv.0.weight"),
    "missing first": (weights(downconv1__0__weight=None), "downconv1.0.weight"),
    "extra": (weights(attention__weight=torch.zeros(3)), "attention.weight"),
    "wrong shape": (weights(rfconv__0__weight=torch.zeros(8, 8, 5, 5)), "rfconv.0.weight"),
    "wrong shape aside": (weights(upconv1__0__weight=torch.zeros(4, 9, 3, 3)), "upconv1.0.weight"),
    "wrong bias": (weights(rfconv__0__bias=torch.zeros(9)), "rfconv.0.bias"),
    "flat": (weights(finalconv__weight=torch.zeros(5)), "finalconv.weight"),
    "no filters": (weights(downconv1__0__weight=torch.zeros(0, 1, 3, 3)), "downconv1.0.weight"),
    "a million filters": (weights(downconv1__0__weight=torch.zeros(10**6, 1, 3, 3)), "weight"),
    "a million colours": (weights(finalconv__weight=torch.zeros(10**6, 1, 1, 1)), "finalconv.weight"),
    "even kernel": (lambda: saved({"downconv1.0.weight": torch.zeros(1, 1, 2, 2), "rfconv.0.weight": torch.zeros(
        2, 2, 2, 2), "finalconv.weight": torch.zeros(3, 3, 2, 2)}), "even"),
    "integers": (weights(rfconv__0__weight=torch.zeros(8, 8, 3, 3, dtype=torch.int64)), "rfconv.0.weight"),
    "complex": (weights(rfconv__0__weight=torch.zeros(8, 8, 3, 3, dtype=torch.complex64)), "rfconv.0.weight"),
    "float8": (weights(rfconv__0__weight=torch.zeros(8, 8, 3, 3).to(torch.float8_e5m2)), "rfconv.0.weight"),
    "sparse": (weights(rfconv__0__bias=torch.zeros(8).to_sparse()), "rfconv.0.bias"),
    "no data": (weights(rfconv__0__bias=torch.zeros(8, device="meta")), "rfconv.0.bias"),
    "one number as a terabyte": (weights(rfconv__0__bias=torch.zeros(1).expand(10**6, 10**6)), "rfconv.0.bias"),
    "float counter": (weights(rfconv__1__num_batches_tracked=torch.tensor(1j)), "num_batches_tracked"),
    "stray counter": (weights(upconw1__2__num_batches_tracked=torch.tensor(1)), "upconw1.2.num_batches_tracked"),
    "other network": (lambda: saved(nn.Linear(2, 3).state_dict()), "another network"),
}


@pytest.mark.parametrize("what", [*DAMAGES, "folder", "absent", "folder absent"])
def test_files_that_are_not_weights(what, file, refused_untouched):
    fragment = {"folder": "is a folder", "absent": "no file", "folder absent": "no file"}.get(what)
    if what == "folder":
        file.mkdir()
    elif what == "folder absent":
        file = file.parent / "elsewhere" / "net.pkl"
    elif what != "absent":
        content, fragment = DAMAGES[what]
        file.write_bytes(content())
    error = refused_untouched(colourization.main, "--valid", "--checkpoint", file)
    print(f"{what:20} {error}", end="")  # with pytest -rP a reader can judge them all
    assert fragment in error and str(file) in error
    with pytest.raises(UserError):
        load_network(checkpoints.load(file), NETWORKS)
    assert not Path("marker").exists()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_weights_saved_from_a_wrapper(prefix, file):
    """As DataParallel and torch.compile name them."""
    torch.save({prefix + name: value for name, value in state().items()}, file)
    network, architecture = load_network(checkpoints.load(file), MODELS)
    assert architecture.model == "CNN" and same(network.state_dict(), state())


def torchscript() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in "data.pkl", "code/__torch__.py", "constants.pkl", "version":
            archive.writestr(f"cnn/{name}", b"3\n")
    return memory.getvalue()


TAKEN_FOR_WEIGHTS = {
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 461684\n",
    "a text": b"404: Not Found",
    "a text ": b'{"message": "Not Found"}\n',
    "a web page": b"<html><body>Sign in</body></html>",
    "safetensors": (20).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}}' + bytes(8),
    "TorchScript": torchscript(),
    **{f"a pickle{' ' * protocol}": pickle.dumps({"finalconv.weight": [1.5]}, protocol) for protocol in range(6)},
}


@pytest.mark.parametrize("what", TAKEN_FOR_WEIGHTS)
def test_what_people_take_for_weights_is_named(what, file):
    file.write_bytes(TAKEN_FOR_WEIGHTS[what])
    with pytest.raises(UserError) as error:
        checkpoints.load(file)
    assert what.strip() in one_line(error) and str(file) in one_line(error) and ": " in one_line(error)


def test_a_training_state_is_not_weights(file):
    torch.save({"model": state(), "optimizer": {}, "history": [], "run": {}, "done": 0, "tally": {}}, file)
    with pytest.raises(UserError) as error:
        checkpoints.load(file)
    assert "state of a training" in one_line(error) and "--resume" in one_line(error)


TALLY = {"loss": 1.5, "correct": 1.0, "pixels": 4.0, "classified": 4.0}


def test_a_damaged_training_state(file):
    expected = example_state(CNN(1, 1, 2), Recipe())
    tensors = {name: torch.tensor(value) for name, value in expected["tally"].items()}  # as earlier versions saved sums
    record = {"loss": 1.0, "val_loss": 2.0, "seconds": 3}
    good, nested = {**expected, "run": {"augment": ("hflip",)}}, 1.0
    for _ in range(40):
        nested = [nested, nested]
    others = [{**good, "tally": tensors}, {**good, "history": [record] * 2}, {**good, "done": 2, "tally": TALLY}]
    path = checkpoints.state_path(file)
    for accepted in good, *others:
        checkpoints.save_state(file, accepted)
        checkpoints.check_state(file, checkpoints.load_state(file), expected, 2, steps=3)
    content = path.read_bytes()
    weight, *_ = expected["model"]
    for damage in (
            b"", content[:-50], b"<html>", ZIP, saved([1]), saved({"model": {}}),
            saved({**good, "done": 3, "tally": TALLY}),
            saved({**good, "done": 1}), saved({**good, "done": -1}), saved({**good, "done": 2.5, "tally": TALLY}),
            saved({**good, "history": [record] * 3}), saved({**good, "history": [record, {**record, "acc": 1.0}]}),
            saved({**good, "history": [{**record, "loss": "low"}]}), saved({**good, "history": {}}),
            saved({**good, "history": [{**record, "loss": math.nan}]}), saved({**good, "history": [{"loss": 1.0}]}),
            saved({**good, "history": [{**record, "loss": 10**400}]}), saved({**good, "history": [{**record, "x": 1}]}),
            saved({**good, "history": [{**record, "loss": torch.zeros(1).to_sparse()}]}),
            saved({**good, "history": [{**record, "loss": nested}]}), saved({**good, "done": 10**400, "tally": TALLY}),
            saved({**good, "model": {**good["model"], weight: torch.zeros(1)}}),
            saved({**good, "model": {**good["model"], weight: good["model"][weight].half()}}),
            saved({**good, "model": {**good["model"], weight: good["model"][weight].to("meta")}}),
            saved({**good, "optimizer": {}}), saved({**good, "tally": {"loss": 0.0}}),
            saved({**good, "run": {"precision": b"fp32"}}), saved({**good, "run": {"precision": torch.zeros(1)}}),
            saved({**good, "run": {"seed": [[0]]}}), saved({**good, "run": {3: 0}}), saved({**good, "run": []})):
        path.write_bytes(damage)
        with pytest.raises(UserError) as error:
            checkpoints.check_state(file, checkpoints.load_state(file), expected, 2, steps=3)
        assert str(path) in one_line(error)
