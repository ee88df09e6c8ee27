"""The functions of Python and notebooks: `sslzoo.train`, `evaluate`, `compare` and `Run`."""
