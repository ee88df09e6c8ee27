"""Load checkpoints of sslzoo and other projects into timm models; export backbones to timm."""
