"""What did the model look at, can that be believed, and what would trading on it have earned?"""

try:
    import lazy_loader
except ModuleNotFoundError:  # a bare interpreter running `python3 -m workbench`, which makes the environment

    def __getattr__(name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ModuleNotFoundError(
            f"workbench.{name} needs packages that this Python does not have. "
            "Make the environment with 'python3 -m workbench run', or 'pip install -e .' into this one."
        )
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
