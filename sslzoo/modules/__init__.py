"""Building blocks of methods: backbones, heads, batch norm, momentum teacher, queue, optimizers."""
