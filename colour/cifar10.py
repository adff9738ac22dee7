from load_data import load_horses  # noqa: F401
