"""Losses of methods whose candidates are the embeddings of one batch, restated from their sources."""

import torch
from parts import Parts, restates
from torch import Tensor
from torch.nn import functional as F


def mean(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()


def masked_similarities(parts: Parts) -> tuple[Tensor, Tensor]:
    """All similarities (2 B, 2 B) of both views, view by view, and a mask of those to other images."""
    both = torch.cat([parts.student(0), parts.student(1)])
    image = torch.arange(len(both)) % (len(both) // 2)
    return both @ both.T, image[:, None] != image


def anchors(parts: Parts) -> slice:
    """Rows of the views that are anchors."""
    return slice(0, len(parts.sample.ids) * len(parts.pairs))


@restates("simclr", flags="--loss.temperature 0.2")
def simclr(parts: Parts) -> Tensor:
    """Chen et al., ICML 2020, algorithm 1: the mean over all anchors; vturrisi/solo-learn, solo/losses/simclr.py."""
    similarities, _ = masked_similarities(parts)
    count = len(similarities)
    logits = (similarities / 0.2).masked_fill(torch.eye(count, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits[anchors(parts)], torch.arange(count).roll(count // 2)[anchors(parts)])


def decoupled(parts: Parts, sigma: float | None) -> Tensor:
    """Mean over the directions of the one-way loss."""
    losses = []
    for a, b in parts.pairs:
        one, other = parts.student(a), parts.student(b)
        positive = (one * other).sum(dim=1)
        weight = 1.0 if sigma is None else 2 - len(one) * (positive / sigma).softmax(dim=0).detach()
        own = torch.eye(len(one), dtype=torch.bool).repeat(1, 2)
        negatives = (torch.cat([one @ one.T, one @ other.T], dim=1) / 0.2).masked_fill(own, -torch.inf)
        losses.append((-weight * positive / 0.2 + negatives.logsumexp(dim=1)).mean())
    return mean(losses)


@restates("dcl", flags="--loss.temperature 0.2")
def dcl(parts: Parts) -> Tensor:
    """raminnakhli/Decoupled-Contrastive-Learning, loss/dcl.py, lines 20 to 34, of both directions."""
    return decoupled(parts, None)


@restates("dclw", flags="--loss.temperature 0.2 --loss.sigma 0.5")
def dclw(parts: Parts) -> Tensor:
    """raminnakhli/Decoupled-Contrastive-Learning, loss/dcl.py, lines 36 to 45, of both directions.

    The weight has a gradient there; in the paper, section 3.2, it is a factor of the loss, and ours has none.
    """
    return decoupled(parts, 0.5)


def reweighted(parts: Parts, beta: float) -> Tensor:
    """Mean over all anchors of the debiased loss at t = 0.5 with a prior of 0.1."""
    similarities, others = masked_similarities(parts)
    exponentials = (similarities / 0.5).exp()
    count = len(similarities)
    positive = exponentials.diagonal(count // 2).repeat(2)
    negatives = exponentials[others].view(count, -1)
    importance = negatives**beta
    total = (importance * negatives).sum(dim=1) / importance.mean(dim=1)
    estimate = (total - 0.1 * (count - 2) * positive) / (1 - 0.1)
    estimate = estimate.clamp(min=(count - 2) * torch.tensor(-1 / 0.5, dtype=torch.float64).exp().item())
    return (-(positive / (positive + estimate)).log())[anchors(parts)].mean()


@restates("debiased", flags="--loss.temperature 0.5 --loss.class-prior 0.1")
def debiased(parts: Parts) -> Tensor:
    """chingyaoc/DCL, main.py, lines 34 to 54."""
    return reweighted(parts, 0.0)


@restates("hcl", flags="--loss.temperature 0.5 --loss.class-prior 0.1 --loss.beta 1.0")
def hcl(parts: Parts) -> Tensor:
    """joshr17/HCL, image/main.py, lines 28 to 56, estimator `hard`."""
    return reweighted(parts, 1.0)


@restates("supcon", flags="--loss.temperature 0.1 --method.base-temperature 0.07")
def supcon(parts: Parts) -> Tensor:
    """HobbitLong/SupContrast, losses.py, lines 68 to 104, base temperature included."""
    similarities, _ = masked_similarities(parts)
    count = len(similarities)
    own = torch.eye(count, dtype=torch.bool)
    labels = parts.sample.labels.repeat(2)
    positives = ((labels[:, None] == labels) & ~own).double()
    log_probability = similarities / 0.1 - (similarities / 0.1).masked_fill(own, -torch.inf).logsumexp(1, keepdim=True)
    attraction = (positives * log_probability).sum(dim=1) / positives.sum(dim=1)
    return -(0.1 / 0.07) * attraction[anchors(parts)].mean()


def dual_temperature(query: Tensor, key: Tensor) -> Tensor:
    """ChaoningZhang/Dual-temperature, solo/losses/dual_temperature_loss.py, lines 37 to 62, at 0.1 and 1."""
    labels = torch.arange(len(query))
    similarities = query @ key.T
    intra, inter = ((similarities / t).softmax(dim=1).diagonal() for t in (0.1, 1.0))
    factor = ((1 - inter) / (1 - intra)).detach()
    return (factor * F.cross_entropy(similarities / 0.1, labels, reduction="none")).mean()


@restates("simco", flags="--loss.temperature 0.1 --loss.inter-temperature 1.0")
def simco(parts: Parts) -> Tensor:
    """ChaoningZhang/Dual-temperature, solo/methods/simco_dual_temperature.py, lines 151 to 158: the sum `/ 2`."""
    return mean([dual_temperature(parts.student(q), parts.student(k)) for q, k in parts.pairs])


@restates("simmoco", flags="--loss.temperature 0.1 --loss.inter-temperature 1.0")
def simmoco(parts: Parts) -> Tensor:
    """ChaoningZhang/Dual-temperature, solo/methods/simmoco_dual_temperature.py, lines 164 to 171 and 200."""
    return mean([dual_temperature(parts.student(q), parts.teacher(k)) for q, k in parts.pairs])


@restates("moco-v3", flags="--loss.temperature 0.2")
def moco_v3(parts: Parts) -> Tensor:
    """facebookresearch/moco-v3, moco/builder.py, lines 63 to 96: both directions added, each times 2 t."""
    return sum(
        F.cross_entropy(parts.prediction(q) @ parts.teacher(k).T / 0.2, torch.arange(len(parts.sample.ids))) * (2 * 0.2)
        for q, k in parts.pairs
    )


@restates("byol")
def byol(parts: Parts) -> Tensor:
    """google-deepmind/deepmind-research, byol/byol_experiment.py, loss_fn, and utils/helpers.py, lines 109 to 112.

    Both directions are added before the mean over the batch.
    """
    distances = [(parts.prediction(q) - parts.teacher(k)).square().sum(dim=1) for q, k in parts.pairs]
    return sum(distances).mean()


@restates("simsiam")
def simsiam(parts: Parts) -> Tensor:
    """facebookresearch/simsiam, main_simsiam.py, line 295: the sum of both directions `* 0.5`."""
    return mean([-(parts.prediction(q) * parts.student(k).detach()).sum(dim=1).mean() for q, k in parts.pairs])


@restates("fastsiam")
def fastsiam(parts: Parts) -> Tensor:
    """Pototzky et al., GCPR 2022, section 3; code of the authors was not available.

    A prediction matches the mean of the other views' embeddings, and the loss is the mean over views as in SimSiam.
    """
    views = range(len(parts.sample.views))
    embeddings = [parts.embedding(v).detach() for v in views]
    losses = []
    for q in views if parts.method.config.symmetric else [0]:
        others = F.normalize(sum(embeddings[v] for v in views if v != q) / (len(views) - 1))
        losses.append(-(parts.prediction(q) * others).sum(dim=1).mean())
    return mean(losses)
