"""The battery of checks that built-in parts pass, for anyone's part."""
