"""One step of an optimizer, whatever numbers the base computes in."""

import torch


def optimizer_step(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, max_grad_norm: float = 1.0) -> None:
    """Take one step down the gradients, which ``scaler`` has scaled, clipped to a norm of ``max_grad_norm`` over all.

    ``scaler``: see ``Base.grad_scaler``; a step whose gradients overflow in float16 is left out.
    """
    scaler.unscale_(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
