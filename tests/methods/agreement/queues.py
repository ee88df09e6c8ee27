"""Losses of methods with a queue, restated from their sources."""

import torch
from parts import Parts, restates
from torch import Tensor
from torch.nn import functional as F


def infonce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of queries (B, D) with their keys (B, D) before the queue (N, D)."""
    logits = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64))


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over rows (B, M) of the cross-entropy with a target distribution (B, M)."""
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


@restates("moco", "moco-v1", "moco-v2", flags="--loss.temperature 0.2")
def moco(parts: Parts) -> Tensor:
    """facebookresearch/moco, colab/moco_cifar10_demo.ipynb, ModelMoCo.forward: `loss = loss_12 + loss_21`.

    moco/builder.py, lines 144 to 164, is the same for one direction.
    """
    return sum(infonce(parts.student(q), parts.teacher(k), parts.queue, 0.2) for q, k in parts.pairs)


@restates("moco-v2-plus", flags="--loss.temperature 0.2")
def moco_v2_plus(parts: Parts) -> Tensor:
    """vturrisi/solo-learn, solo/methods/mocov2plus.py, training_step: the sum of both directions `/ 2`.

    solo-learn has a queue for each view; ours is one.
    """
    losses = [infonce(parts.student(q), parts.teacher(k), parts.queue, 0.2) for q, k in parts.pairs]
    return sum(losses) / len(losses)


@restates("ascl", flags="--loss.temperature 0.2 --target.neighbors 5 --target.temperature 0.1")
def ascl(parts: Parts) -> Tensor:
    """MrChenFeng/ASCL_ICPR2022, model.py, lines 166 to 233; both directions are added as in MoCo."""
    total = 0.0
    for q, k in parts.pairs:
        query, key = parts.student(q), parts.teacher(k)
        relations = (key @ parts.queue.T / 0.1).softmax(dim=1)
        entropy = -(relations * relations.log()).sum(dim=1, keepdim=True)
        confidence = 1 - entropy / torch.tensor(float(len(parts.queue)), dtype=torch.float64).log()
        labels = F.pad((5 * confidence * relations).clamp(max=1), (1, 0), value=1.0)
        labels = labels / labels.sum(dim=1, keepdim=True)
        logits = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ parts.queue.T], dim=1) / 0.2
        total = total + soft_cross_entropy(logits, labels)
    return total


@restates("ressl", flags="--loss.temperature 0.1 --target.temperature 0.04")
def ressl(parts: Parts) -> Tensor:
    """KyleZheng1997/ReSSL, ressl.py, line 68; one-directional there, directions are added as in MoCo."""
    return sum(
        soft_cross_entropy(parts.student(q) @ parts.queue.T / 0.1, (parts.teacher(k) @ parts.queue.T / 0.04).softmax(1))
        for q, k in parts.pairs
    )


@restates("isd", flags="--loss.temperature 0.02 --target.temperature 0.02")
def isd(parts: Parts) -> Tensor:
    """UMBCvision/ISD, train_isd.py, classes KLD and ISD; directions are added as in MoCo.

    The KL divergence of the authors is this cross-entropy less the entropy of the target, which has no gradient.
    """
    total = 0.0
    for q, k in parts.pairs:
        logits = parts.prediction(q) @ parts.queue.T / 0.02
        target = (parts.teacher(k) @ parts.queue.T / 0.02).softmax(dim=1)
        entropy = -torch.special.xlogy(target, target).sum(dim=1).mean()
        total = total + F.kl_div(logits.log_softmax(dim=1), target, reduction="batchmean") + entropy
    return total


@restates("sce", flags="--loss.temperature 0.1 --target.temperature 0.07 --target.positive-weight 0.3")
def sce(parts: Parts) -> Tensor:
    """CEA-LIST/SCE, sce/models/siamese/sce.py, compute_loss, and shuffle_momentum_queue_base.py, line 117: the mean.

    The authors' softmax over the key's similarities has another logit of 0, of the key itself; the paper, equation 3,
    leaves it out, and so do we.
    """
    losses = []
    for q, k in parts.pairs:
        query, key = parts.student(q), parts.teacher(k)
        relations = (key @ parts.queue.T / 0.07).softmax(dim=1)
        target = F.pad(0.7 * relations, (1, 0), value=0.3)
        logits = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ parts.queue.T], dim=1) / 0.1
        losses.append(soft_cross_entropy(logits, target))
    return sum(losses) / len(losses)


@restates(
    "co2", flags="--loss.temperature 0.2 --method.consistency 0.3 --method.consistency-temperature 0.05", rtol=1e-3
)
def co2(parts: Parts) -> Tensor:
    """Wei et al., ICLR 2021, section 3.2; code of the authors was not available, directions are added as in MoCo."""
    total = 0.0
    for q, k in parts.pairs:
        query, key = parts.student(q), parts.teacher(k)
        log_p, log_q = ((rows @ parts.queue.T / 0.05).log_softmax(dim=1) for rows in (query, key))
        both = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) + F.kl_div(
            log_p, log_q, reduction="batchmean", log_target=True
        )
        total = total + infonce(query, key, parts.queue, 0.2) + 0.3 * both / 2
    return total


@restates("clsa", flags="--loss.temperature 0.2 --method.divergence 0.5 --method.divergence-temperature 0.1")
def clsa(parts: Parts) -> Tensor:
    """maple-research-lab/CLSA, model/CLSA.py, lines 176 to 218, and training/train.py, lines 53 to 59.

    The keys of the whole batch stand before the queue (`l_pos` is N x N), and the losses of both directions are added.
    """
    stronger, total = parts.student(2), 0.0
    for q, k in parts.pairs:
        query = parts.student(q)
        keys = torch.cat([parts.teacher(k), parts.queue])
        target = (query.detach() @ keys.T / 0.1).softmax(dim=1)
        divergence = soft_cross_entropy(stronger @ keys.T / 0.1, target)
        total = total + F.cross_entropy(query @ keys.T / 0.2, torch.arange(len(query))) + 0.5 * divergence
    return total


@restates("msf", flags="--target.neighbors 4")
def msf(parts: Parts) -> Tensor:
    """UMBCvision/MSF, train_msf.py, lines 163 to 201, with top-k 5; directions are added as in BYOL."""
    total = 0.0
    for q, k in parts.pairs:
        key = parts.teacher(k)
        bank = torch.cat([key, parts.queue])
        nearest = (2 - 2 * key @ bank.T).topk(5, dim=1, largest=False).indices
        distances = (2 - 2 * parts.prediction(q) @ bank.T).gather(1, nearest)
        total = total + (distances.sum(dim=1) / 5).mean()
    return total


@restates("mnn", flags="--method.neighbors 3 --method.share 0.3")
def mnn(parts: Parts) -> Tensor:
    """pc-cp/MNN, network/MNN.py, `contrastive_loss` without `norm_nn`, and the mean of directions in `forward`."""
    total = 0.0
    for q, k in parts.pairs:
        key = parts.method.teacher(parts.sample.views[k].double()).detach()
        nearest = (F.normalize(key) @ F.normalize(parts.queue).T).topk(3, dim=1).indices
        mixtures = F.normalize(0.3 * parts.queue[nearest] + 0.7 * key[:, None], dim=2)
        prediction = parts.prediction(q)
        own = 2 - 2 * (prediction * F.normalize(key)).sum(dim=1)
        mixed = 2 - 2 * (prediction[:, None] * mixtures).sum(dim=2)
        total = total + (own + mixed.sum(dim=1) / 3).mean() / len(parts.pairs)
    return total


def nearest(parts: Parts, anchor: Tensor, count: int) -> Tensor:
    """(B, count, D) most similar rows of the support set to anchors (B, D), without gradient."""
    queue = parts.method.support_set.keys
    return queue[(anchor.detach() @ queue.T).topk(count, dim=1).indices]


def neighbor_loss(neighbor: Tensor, prediction: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of neighbors (B, D) with predictions (B, D) of the batch."""
    return F.cross_entropy(neighbor @ prediction.T / temperature, torch.arange(len(neighbor)))


@restates("nnclr", flags="--loss.temperature 0.2")
def nnclr(parts: Parts) -> Tensor:
    """vturrisi/solo-learn, solo/methods/nnclr.py, lines 192 to 200, and solo/losses/nnclr.py: each direction `/ 2`."""
    losses = [
        neighbor_loss(nearest(parts, parts.student(a), 1)[:, 0], parts.prediction(p), 0.2) for a, p in parts.pairs
    ]
    return sum(losses) / len(losses)


@restates("snclr", flags="--loss.temperature 0.2 --method.neighbors 3 --target.neighbors 3")
def snclr(parts: Parts) -> Tensor:
    """ChongjianGE/SNCLR, snclr/builder_snclr_factor.py, lines 90 to 137, over 4 t; attention without gradient.

    The factor is 2 t in line 120, times the sum 2 of the labels, which are 1 here.
    """
    total, t = 0.0, 0.2
    for q, k in parts.pairs:
        key = parts.teacher(k)
        neighbors = parts.queue[(key @ parts.queue.T).topk(3, dim=1).indices]
        attention = torch.einsum("bd,bkd->bk", parts.student(q).detach(), neighbors).softmax(dim=1)
        blocks = torch.cat([key[:, None], neighbors], dim=1)
        scores = torch.einsum("bd,nkd->bnk", parts.prediction(q), blocks) / t
        own = scores.flatten(1).log_softmax(dim=1).view_as(scores).diagonal(dim1=0, dim2=1).T
        labels = F.pad(attention, (1, 0), value=1.0)
        total = total + (-(labels * own).sum(dim=1)).mean() * (2 * t)
    return total / (4 * t)


@restates("all4one", flags="--loss.temperature 0.2 --method.neighbors 3 --method.attention-layers 1", rtol=1e-3)
def all4one(parts: Parts) -> Tensor:
    """vturrisi/solo-learn, solo/methods/all4one.py, lines 303 to 371; see `All4One` for the differences."""
    method, width = parts.method, parts.method.config.projector.out
    rates = 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(3, dtype=torch.float64)[:, None] / rates
    positions = torch.cat([angles.sin(), angles.cos()], dim=1)
    keys = [parts.teacher(v) for v in (0, 1)]
    found = [nearest(parts, key, 3) for key in keys]
    contrast, neighbor, on, off = [], [], [], []
    for a, p in parts.pairs:
        shifted = torch.cat([method.centroid_predictor(parts.embedding(p))[:, None], found[p]], dim=1)[:, :3]
        rich, strange = (F.normalize(method.transformer(x + positions)[:, 0]) for x in (found[a], shifted))
        contrast.append(neighbor_loss(rich, strange, 0.1))
        neighbor.append(neighbor_loss(found[a][:, 0], parts.prediction(p), 0.2))
        correlation = F.normalize(keys[a], dim=0).T @ F.normalize(parts.embedding(p), dim=0)
        diagonal = torch.eye(width, dtype=torch.bool)
        on.append((correlation[diagonal] - 1).square().mean())
        off.append(correlation[~diagonal].square().mean())
    feature = (sum(on) / len(on)).sqrt() * 0.5 + (sum(off) / len(off)).sqrt() * 0.5
    directions = len(parts.pairs)
    return 0.5 * sum(contrast) / directions + 0.5 * sum(neighbor) / directions + 0.5 * 10 * feature
