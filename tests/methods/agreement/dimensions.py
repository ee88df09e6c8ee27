"""Losses of methods without pairs, restated from their sources."""

import torch
from parts import Parts, restates
from torch import Tensor
from torch.nn import functional as F


def off_diagonal(matrix: Tensor) -> Tensor:
    """The entries of a matrix (D, D) that are not on its diagonal."""
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)]


@restates("barlow-twins", flags="--method.off-diagonal 0.0051 --method.scale 0.1", rtol=1e-3)
def barlow_twins(parts: Parts) -> Tensor:
    """facebookresearch/barlowtwins, main.py, lines 207 to 221; scale: vturrisi/solo-learn, solo/losses/barlow.py."""
    one, other = (F.batch_norm(parts.embedding(v), None, None, training=True) for v in (0, 1))
    correlation = one.T @ other / len(one)
    on = (correlation.diagonal() - 1).square().sum()
    return 0.1 * (on + 0.0051 * off_diagonal(correlation).square().sum())


@restates("vicreg", flags="--method.invariance 25 --method.variance 25 --method.covariance 1")
def vicreg(parts: Parts) -> Tensor:
    """facebookresearch/vicreg, main_vicreg.py, lines 194 to 219: half of each view's variance term."""
    x, y = parts.embedding(0), parts.embedding(1)
    variance = sum(F.relu(1 - (z.var(dim=0) + 0.0001).sqrt()).mean() / 2 for z in (x, y))
    covariance = sum(off_diagonal(z.T.cov()).square().sum() / z.shape[1] for z in (x, y))
    return 25 * (x - y).square().mean() + 25 * variance + covariance


@restates("tico", flags="--method.beta 0.9 --method.rho 8")
def tico(parts: Parts) -> Tensor:
    """Zhu et al. 2022, algorithm 1, plus the constant 1; sayannag/TiCo-pytorch, TiCo/main.py, lines 72 to 78."""
    z, other = parts.student(0), parts.teacher(1)
    covariance = 0.9 * parts.method.covariance + 0.1 * (z.T @ z / len(z))
    return 1 - (z * other).sum(dim=1).mean() + 8 * ((z @ covariance) * z).sum(dim=1).mean()


@restates("w-mse", flags="--method.eps 1e-7 --method.sub-batch 32 --method.projector.out 4", rtol=1e-2)
def w_mse(parts: Parts) -> Tensor:
    """htdt/self-supervised, methods/w_mse.py, whitening.py and norm_mse.py, with the whole batch as one group.

    The authors' `w_eps` is 0. Their loss has no detached view, unlike solo-learn's.
    """
    white = []
    for view in (0, 1):
        centered = parts.embedding(view) - parts.embedding(view).mean(dim=0)
        factor = torch.linalg.cholesky(centered.T @ centered / (len(centered) - 1))
        white.append(F.normalize(torch.linalg.solve_triangular(factor, centered.T, upper=False).T))
    return 2 - 2 * (white[0] * white[1]).sum(dim=1).mean()


@restates("emp-ssl", flags="--method.patches 3 --method.eps 0.2")
def emp_ssl(parts: Parts) -> Tensor:
    """tsb0601/EMP-SSL, main.py, `Similarity_Loss` and `cal_TCR` with 200 and 1, and loss.py, `TotalCodingRate`."""
    crops = torch.stack([parts.student(view) for view in range(3)])
    similarity = F.cosine_similarity(crops, crops.mean(dim=0, keepdim=True), dim=2).mean()
    count, dim = crops.shape[1:]
    identity = torch.eye(dim, dtype=torch.float64)
    rates = [torch.logdet(identity + dim / (count * 0.2) * z.T @ z) / 2 for z in crops]
    return -200 * similarity - sum(rates) / len(rates)


MULTI_CROP = "--method.views strong strong local local"


def mean_over_other_views(targets: list[Tensor], logits: list[Tensor]) -> Tensor:
    """Mean over pairs of a target and another view of the cross-entropy."""
    losses = [
        -(target * scores.log_softmax(dim=1)).sum(dim=1).mean()
        for t, target in enumerate(targets)
        for v, scores in enumerate(logits)
        if v != t
    ]
    return torch.stack(losses).mean()


@restates("swav", flags=f"{MULTI_CROP} --method.epsilon 0.05 --method.iterations 3 --method.temperature 0.1")
def swav(parts: Parts) -> Tensor:
    """facebookresearch/swav, main_swav.py, lines 289 to 315 and distributed_sinkhorn: the mean of both assignments."""
    prototypes = parts.method.prototypes.weight
    scores = [parts.student(v) @ prototypes.T for v in range(4)]
    assignments = []
    for view in (0, 1):
        q = (scores[view].detach() / 0.05).exp().T
        q = q / q.sum()
        for _ in range(3):
            q = q / q.sum(dim=1, keepdim=True) / len(q)
            q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
        assignments.append((q * q.shape[1]).T)
    return mean_over_other_views(assignments, [score / 0.1 for score in scores])


@restates(
    "dino",
    flags=f"{MULTI_CROP} --method.temperature 0.1 --method.warmup-temperature 0.04 --method.teacher-temperature 0.07 "
    "--method.warmup-epochs 3",
)
def dino(parts: Parts) -> Tensor:
    """facebookresearch/dino, main_dino.py, lines 363 to 402, in the second of three epochs of warm-up."""
    method = parts.method
    student_weight = F.normalize(method.prototypes.weight, dim=1)
    encoder, prototypes = method.teacher.model
    teacher_weight = F.normalize(prototypes.weight, dim=1)
    temperature = torch.linspace(0.04, 0.07, 3, dtype=torch.float64)[1]
    views = [view.double() for view in parts.sample.views]
    targets = [
        ((F.normalize(encoder(view)) @ teacher_weight.T - method.center) / temperature).softmax(dim=1).detach()
        for view in views[:2]
    ]
    return mean_over_other_views(targets, [parts.student(v) @ student_weight.T / 0.1 for v in range(4)])


@restates("deepcluster-v2", flags=f"{MULTI_CROP} --method.prototypes 5 6 --method.temperature 0.1")
def deepcluster_v2(parts: Parts) -> Tensor:
    """facebookresearch/swav, main_deepclusterv2.py, lines 271 to 276: the mean over views and clusterings."""
    method = parts.method
    embeddings = torch.cat([parts.student(v) for v in range(4)])
    clusters = method.assignments[:, parts.sample.ids].repeat(1, 4)
    losses = [
        F.cross_entropy(embeddings @ centroids.T / 0.1, assigned)
        for centroids, assigned in zip(method.centroids.split([5, 6]), clusters, strict=True)
    ]
    return torch.stack(losses).mean()
