from load_data import category_name, load_category  # noqa: F401
