"""DeepCluster-v2."""

from typing import Annotated

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.method.multi_crop import GLOBAL, MultiCrop
from sslzoo.method.prototypes import compute_similarities
from sslzoo.modules.kmeans import spherical_kmeans
from sslzoo.runtime.distributed import gather, sum_with_gradient, world_size
from sslzoo.runtime.errors import UserError


@METHODS.register("deepcluster-v2")
class DeepClusterV2(MultiCrop):
    """All views predict the cluster of their image, found by k-means before each epoch.

    k-means clusters the embeddings of the global views from the previous epoch. The first epoch only collects them and
    its loss is 0; it replaces the authors' pass over the images before training. Centroids are the fixed weights of
    the classifier.
    """

    paper = "Caron et al., ECCV 2018 (arXiv 1807.05520), improved in Caron et al., NeurIPS 2020 (arXiv 2006.09882)"

    class Config(MultiCrop.Config):
        prototypes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (3000, 3000, 3000)
        """Number of clusters of each clustering; the loss is the mean over clusterings."""
        temperature: PositiveFloat = 0.1
        """Temperature of the prediction."""
        iterations: PositiveInt = 10
        """Iterations of k-means."""

    config: Config
    memory: Tensor
    seen: Tensor
    assignments: Tensor
    centroids: Tensor

    def begin(self, id_bound: int | None, epochs: int) -> None:
        """Allocate memory for the embeddings of all images.

        Raises:
            UserError: images are streamed, there are fewer images than clusters, or training has a single epoch.
        """
        if id_bound is None:
            raise UserError("--method deepcluster-v2: keeps images by id, and those of dataset.streaming have none")
        if epochs < 2:
            raise UserError(f"--epochs {epochs}: the first epoch of deepcluster-v2 only collects embeddings; takes 2")
        self._require_images(id_bound)
        width, clusterings = self.config.projector.out, self.config.prototypes
        self.register_buffer("memory", torch.zeros(id_bound, GLOBAL, width))
        self.register_buffer("seen", torch.zeros(id_bound, dtype=torch.bool))
        self.register_buffer("assignments", torch.full((len(clusterings), id_bound), -1))
        self.register_buffer("centroids", torch.zeros(sum(clusterings), width))

    def _require_images(self, count: int) -> None:
        if count < max(self.config.prototypes):
            raise UserError(f"--method.prototypes {max(self.config.prototypes)}: there are {count} images to cluster")

    def before_epoch(self, epoch: int) -> None:
        """Cluster the images seen so far; clustering i uses the embeddings of global view i modulo 2."""
        ids = self.seen.nonzero()[:, 0]
        if not len(ids):
            return
        self._require_images(len(ids))
        centroids = []
        for number, count in enumerate(self.config.prototypes):
            points = self.memory[ids, number % GLOBAL]
            found, nearest = spherical_kmeans(points, count, self.config.iterations, self.seed, epoch, number)
            self.assignments[number, ids] = nearest
            centroids.append(found)
        self.centroids.copy_(torch.cat(centroids))

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """Compute the cross-entropy of each view with the clusters of its image; images without cluster are ignored."""
        embeddings = self.embed(views)
        scores = compute_similarities(embeddings, self.centroids) / self.config.temperature
        known = self.assignments[:, sample_ids]
        losses = [
            F.cross_entropy(logits.flatten(0, 1), clusters.repeat(len(views)), ignore_index=-1, reduction="sum")
            for logits, clusters in zip(torch.split(scores, [*self.config.prototypes], dim=-1), known, strict=True)
        ]
        clustered = sum_with_gradient((known[0] >= 0).sum()).clamp(min=1) / world_size()
        loss = torch.stack(losses).mean() / (len(views) * clustered)
        keys = embeddings[:GLOBAL].detach().transpose(0, 1)
        return MethodOutput(loss, {}, embeddings[0].detach(), keys, sample_ids)

    def after_batch(self, output: MethodOutput) -> None:
        """Store the embeddings of all processes by image id."""
        assert output.keys is not None
        assert output.sample_ids is not None
        ids = gather(output.sample_ids)
        self.memory[ids] = gather(output.keys)
        self.seen.index_fill_(0, ids, True)
