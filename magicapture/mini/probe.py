"""What tells one attribute of a portrait from a description of it."""

import torch
import torch.nn.functional as F
from torch import Tensor


class Probe:
    """Logistic regression from vectors to the names of one attribute."""

    def __init__(self, vectors: Tensor, names: list[str]) -> None:
        """Fit on ``vectors`` (N, D), classes weighted alike."""
        self.classes = sorted(set(names))
        labels = torch.tensor([self.classes.index(name) for name in names])
        self.mean, self.std = vectors.mean(dim=0), vectors.std(dim=0) + 1e-6
        counts = torch.bincount(labels).float()
        self.linear = torch.nn.Linear(vectors.shape[1], len(self.classes))
        optimizer = torch.optim.LBFGS(self.linear.parameters(), max_iter=100)
        scaled = (vectors - self.mean) / self.std

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(self.linear(scaled), labels, weight=counts.sum() / counts)
            loss = loss + 1e-2 * self.linear.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        self.accuracy = float("nan")

    def predict(self, vector: Tensor) -> str:
        """Name the class of one vector (D,)."""
        return self.classes[int(self.linear((vector - self.mean) / self.std).argmax())]
