"""What the stacked engine replaces: one model at a time, written as a PyTorch user would, with torch's own threads."""

import numpy as np
import torch
from torch import nn

from svvr.records import Arrays


def penalty_gradient(W: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the summed variances of a stack's singular values by autograd, matrix by matrix."""
    gradients = []
    for matrix in W:
        leaf = matrix.detach().clone().requires_grad_()
        value = torch.var(torch.linalg.svdvals(leaf))
        gradients.append(torch.autograd.grad(value, leaf)[0])
    return torch.stack(gradients)


def train(data: Arrays, lr: float, strength: float, epochs: int = 20, batch_size: int = 128, seed: int = 0) -> float:
    """Train one network and return its last validation loss."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(40, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    x, y, x_validation, y_validation = (
        torch.from_numpy(data[f"{a}_{s}"]) for s in ("train", "validation") for a in "xy"
    )
    loss = torch.tensor(np.nan)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(batch_size):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            if strength:
                weights = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
                loss = loss + strength * sum(torch.var(torch.linalg.svdvals(W)) for W in weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model(x_validation), y_validation)
    return loss.item()


def top_eigenvalue(data: Arrays, flat: np.ndarray, tolerance: float = 1e-3, limit: int = 1000) -> float:
    """Return the top Hessian eigenvalue of the train loss by power iteration on double backward passes."""
    model = nn.Sequential(nn.Linear(40, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    nn.utils.vector_to_parameters(torch.from_numpy(flat), model.parameters())
    parameters = list(model.parameters())
    loss = nn.functional.cross_entropy(model(torch.from_numpy(data["x_train"])), torch.from_numpy(data["y_train"]))
    gradient = nn.utils.parameters_to_vector(torch.autograd.grad(loss, parameters, create_graph=True))
    v = torch.randn(len(flat), generator=torch.Generator().manual_seed(0))
    value = torch.tensor(0.0)
    for _ in range(limit):
        v = v / v.norm()
        product = torch.autograd.grad(gradient @ v, parameters, retain_graph=True)
        Hv = nn.utils.parameters_to_vector(product)
        value = v @ Hv
        if (Hv - value * v).norm() < tolerance * value.abs():
            break
        v = Hv
    return value.item()
