"""Muon: momentum, orthogonalised, for the filters of the hidden layers.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
"""

import torch
from torch import nn

from colour.learning.networks import output_layer
from colour.learning.speed import replayed


class Muon(torch.optim.AdamW):
    """Move the filters of all layers but the one that makes the output by Muon, and everything else by AdamW.

    A step changes all directions of a filter's matrix, (out, in * k * k), by about ``lr``: Adam moves most in the few
    that dominate the gradient. Filters do not decay, since the normalisation that follows them undoes their size.
    """

    def __init__(self, network: nn.Module, lr: float, weight_decay: float):
        last = set(output_layer(network).parameters())
        filters = [p for p in network.parameters() if p.ndim == 4 and p not in last]
        others = [p for p in network.parameters() if p.ndim != 4 or p in last]
        super().__init__([{"params": filters}, {"params": others}], lr=lr, weight_decay=weight_decay, fused=True)
        self.orthogonal = replayed(orthogonal, next(network.parameters()).device)

    @torch.no_grad()
    def step(self):
        filters = self.param_groups[0]
        beta, _ = filters["betas"]
        for p in filters["params"]:
            if p.grad is None:  # a layer that the network does not use
                continue
            state = self.state[p]
            if not state:  # AdamW expects a step in every state that it loads
                state.update(step=torch.zeros(()), momentum=torch.zeros_like(p))
            momentum = state["momentum"].lerp_(p.grad, 1 - beta)
            update = self.orthogonal(p.grad.lerp(momentum, beta).flatten(1))  # Nesterov's momentum: a step ahead
            p.sub_(update.view(p.shape), alpha=filters["lr"])
            p.grad = None  # AdamW skips parameters without a gradient: this one has moved already
        super().step()


def orthogonal(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Return roughly U V' of a matrix (M, N) = U S V': the same directions, all singular values from 0.7 to 1.2.

    Newton-Schulz iteration with the quintic polynomial of Jordan et al. 2024, which needs no decomposition.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
