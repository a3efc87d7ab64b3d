"""Denoising diffusion on a part of its chain: images noised to a step t* are led back to good ones.

Ho et al. 2020, "Denoising Diffusion Probabilistic Models"; the partial chain is that of AnoDDPM (Wyatt et al. 2022),
steps of `stride` are those of Song et al. 2021, "Denoising Diffusion Implicit Models". All noise is keyed: equal keys
have equal noise, whatever else is in the batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adtool.ops.denoise_step import ddim_schedule, ddpm_schedule, denoise_step
from adtool.ops.philox_normal import philox_normal
from adtool.ops.q_sample import forward_schedule, q_sample

BETAS = 1e-4, 0.02
"""First and last of 1000 steps; shorter chains have larger ones."""
FEWEST = 25
"""Steps of a chain, so that every beta stays below 1."""


def linear_alpha_bar(steps: int) -> Tensor:
    """abar_t = prod_{i=1..t} (1 - beta_i), (steps + 1,) float64, abar_0 = 1, with linear betas of the same total."""
    first, last = (beta * 1000 / steps for beta in BETAS)
    betas = torch.linspace(first, last, steps, dtype=torch.float64, device="cpu")
    return torch.cat([torch.ones(1, dtype=torch.float64, device="cpu"), (1 - betas).cumprod(0)])


class Network(Protocol):
    """Predicts the noise in x (N, C, H, W) at steps whose rows are chosen from `modulations`."""

    def modulations(self, t: Tensor) -> Tensor: ...

    def __call__(self, x: Tensor, modulations: Tensor) -> Tensor: ...


class _Job(NamedTuple):
    """An image, and the step from which it is led back."""

    start: int
    image: int
    member: int


class Diffusion(nn.Module):
    """A chain of `steps` steps; images are in [-1, 1].

    Without a `stride` it goes back step by step with noise of the posterior ("small") or the forward ("large")
    `variance`; with one, in DDIM's steps of that length, `eta` saying how much noise they add.
    """

    noising: Tensor
    denoising: Tensor

    def __init__(
        self, steps: int = 1000, *, variance: str = "small", stride: int = 0, eta: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        alpha_bar = linear_alpha_bar(steps)
        back = ddim_schedule(alpha_bar, stride, eta) if stride else ddpm_schedule(alpha_bar, variance)
        self.stride, self.seed = stride or 1, seed
        self.register_buffer("noising", forward_schedule(alpha_bar).float(), persistent=False)
        self.register_buffer("denoising", back.float(), persistent=False)

    def loss(self, network: Network, images: Tensor, t: Tensor, keys: Tensor) -> Tensor:
        """|z - z(x_t, t)|^2, mean over elements, for images noised to t (N,) with the noise of `keys` (N,)."""
        noise = philox_normal(images, -t, self.seed, keys)
        noisy = q_sample(images, t, self.noising, self.seed, keys)
        return F.mse_loss(network(noisy, network.modulations(t)).float(), noise)

    def restored(
        self, network: Network, images: Tensor, keys: Tensor, starts: Sequence[int], slots: int = 16
    ) -> Tensor:
        """(len(starts), N, C, H, W): images (N, C, H, W) led back from each of `starts`, each with noise of its own.

        At most `slots` are in the network at a time, at steps of their own. Whose chain is at its end makes room for
        the next one that waits, the longest first.
        """
        jobs = [_Job(s, image, member) for member, s in enumerate(starts) for image in range(len(images))]
        waiting = deque(sorted(jobs, key=lambda job: -job.start))
        rows = network.modulations(torch.arange(max(starts) + 1, device=images.device))
        results = images.new_empty((len(starts), *images.shape))
        active: list[_Job] = []
        steps: list[int] = []
        x, ids = images[:0], keys[:0]
        while waiting or active:
            fresh = [waiting.popleft() for _ in range(min(slots - len(active), len(waiting)))]
            if fresh:
                begun, their = self._begun(fresh, images, keys)
                x, ids = torch.cat([x, begun]), torch.cat([ids, their])
                active, steps = active + fresh, steps + [job.start for job in fresh]
            t = torch.tensor(steps, device=images.device)
            x = denoise_step(x, network(x, rows[t]).to(x.dtype), t, self.denoising, self.seed, ids, clip=1.0)
            steps = [max(0, step - self.stride) for step in steps]
            if 0 in steps:
                for place, job in enumerate(active):
                    if steps[place] == 0:
                        results[job.member, job.image] = x[place]
                left = [place for place, step in enumerate(steps) if step]
                x, ids = x[left], ids[left]
                active, steps = [active[place] for place in left], [steps[place] for place in left]
        return results

    def _begun(self, jobs: Sequence[_Job], images: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The jobs' images noised to their first steps, and the ids of their noise."""
        device = images.device
        chosen = torch.tensor([job.image for job in jobs], device=device)
        ids = keys[chosen] ^ torch.tensor([job.member for job in jobs], device=device)
        starts = torch.tensor([job.start for job in jobs], device=device)
        return q_sample(images[chosen], starts, self.noising, self.seed, ids), ids
