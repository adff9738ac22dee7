import pytest
import torch

from colour.learning.muon import Muon, orthogonal
from colourization import UNet


@pytest.mark.parametrize("shape", [(32, 9), (16, 144), (24, 24), (1, 9)])
def test_orthogonal_keeps_directions_and_levels_singular_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = u.T @ orthogonal(matrix) @ v.T
    assert values.diagonal().min() > 0.6 and values.diagonal().max() < 1.3
    assert (values - values.diagonal().diag()).abs().max() < 1e-3


def test_orthogonal_of_nothing_is_nothing():
    assert not orthogonal(torch.zeros(3, 5)).any()


def test_hidden_filters_move_by_muon_and_the_rest_by_adam():
    torch.manual_seed(0)
    ours, reference = UNet(3, 4, 5), UNet(3, 4, 5)
    reference.load_state_dict(ours.state_dict())
    muon = Muon(ours, lr=0.01, weight_decay=0.1)
    adam = torch.optim.AdamW(reference.parameters(), lr=0.01, weight_decay=0.1, fused=True)
    expected = {}
    for name, parameter in ours.named_parameters():
        parameter.grad = torch.randn_like(parameter)
        reference.get_parameter(name).grad = parameter.grad.clone()
        if parameter.ndim == 4 and not name.startswith("finalconv"):  # the first step has no momentum yet
            move = 0.01 * orthogonal(parameter.grad.flatten(1)).view(parameter.shape)
            expected[name] = parameter.detach() - move
    muon.step(), adam.step()
    assert len(expected) == 5
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter, expected.get(name, reference.get_parameter(name)), atol=1e-6), name


def test_momentum_is_a_step_ahead():
    torch.manual_seed(0)
    network = UNet(3, 2, 5)
    muon, weight = Muon(network, lr=0.01, weight_decay=0), network.rfconv[0].weight
    expected, momentum = weight.detach().clone(), torch.zeros_like(weight)
    for _ in range(2):
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        momentum = 0.9 * momentum + 0.1 * weight.grad
        expected -= 0.01 * orthogonal((0.9 * momentum + 0.1 * weight.grad).flatten(1)).view(weight.shape)
        muon.step()
    assert torch.allclose(weight, expected, atol=1e-5)


def test_a_layer_that_the_network_does_not_use_stays():
    network = UNet(3, 2, 5)
    network.spare = torch.nn.Conv2d(1, 1, 3)
    before = network.spare.weight.clone()
    muon = Muon(network, lr=0.01, weight_decay=0)
    network(torch.rand(1, 1, 8, 8)).sum().backward()
    muon.step()
    assert torch.equal(network.spare.weight, before)
