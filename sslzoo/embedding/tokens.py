"""Features of the patches of an image."""

from torch import Tensor, nn

from sslzoo.runtime.errors import UserError


class PatchEncoder(nn.Module):
    """The last feature map of a timm model, (B, C, H, W) -> (B, P, D) with P places row by row.

    A vision transformer gives the tokens of its patches after the last norm, without class and register tokens; other
    networks give the positions of their feature map before pooling.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Raises:
            UserError: the model has no feature map.
        """
        features: Tensor = self.encoder.forward_features(images)  # type: ignore[operator]
        if features.ndim == 3:
            return features[:, getattr(self.encoder, "num_prefix_tokens", 0) :]
        if features.ndim == 4:
            if str(getattr(self.encoder, "output_fmt", "NCHW")).upper().endswith("NCHW"):
                features = features.permute(0, 2, 3, 1)
            return features.flatten(1, 2)
        name = type(self.encoder).__name__
        raise UserError(f"--tokens: {name} has no patches; its last features have shape {tuple(features.shape[1:])}")
